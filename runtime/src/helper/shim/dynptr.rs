//! A dynptr in program memory: 16 bytes that helpers alone read and write.
//!
//! Word 0 is the address of the memory, or 1 for a packet; 0 is no dynptr. Word 1 holds the size, the kind and whether
//! it is read-only (lower half), and the offset of what is left of the memory (upper half).

use crate::helper::DynptrKind;
use crate::mem::{Bytes, BytesMut};

/// Most bytes a dynptr can reach (24 bits).
const SIZE_MAX: u32 = (1 << 24) - 1;
const KIND_SHIFT: u32 = 28;
const READ_ONLY: u32 = 1 << 31;

/// What a dynptr says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::helper) struct DynptrInfo {
    pub(in crate::helper) kind: DynptrKind,
    pub(in crate::helper) read_only: bool,
    /// Bytes from `offset` on.
    pub(in crate::helper) size: u32,
    /// Bytes of the memory that it does not reach any more.
    pub(in crate::helper) offset: u32,
    /// Address of the memory; meaningless for packets.
    pub(in crate::helper) address: u64,
}

/// The place of a dynptr.
#[derive(Clone, Copy, Debug)]
pub(in crate::helper) struct DynptrAt<'a> {
    place: BytesMut<'a>,
}

impl<'a> DynptrAt<'a> {
    /// Most bytes a dynptr can reach.
    pub(in crate::helper) const SIZE_MAX: u32 = SIZE_MAX;

    /// # Safety
    /// INV-8: the 16 bytes were written by the methods here, or are written before they are read.
    pub(super) unsafe fn new(place: BytesMut<'a>) -> Self {
        Self { place }
    }

    /// Makes it one of this memory, of at most [`DynptrAt::SIZE_MAX`] bytes.
    pub(in crate::helper) fn set(self, kind: DynptrKind, memory: BytesMut<'_>) {
        self.write(memory.as_bytes().address(), memory.len() as u32, kind, false);
    }

    /// Makes it one of a packet.
    pub(in crate::helper) fn set_packet(self, kind: DynptrKind, size: u32, read_only: bool) {
        self.write(1, size, kind, read_only);
    }

    /// Makes it none.
    pub(in crate::helper) fn clear(self) {
        self.place.fill(0);
    }

    /// Makes it what another one is.
    pub(in crate::helper) fn become_like(self, other: Self) {
        let words: [u8; 16] = other.place.as_bytes().array(0);
        self.place.write(0, &words);
    }

    /// Leaves `size` bytes from `start` on; the caller has checked that they are there.
    pub(in crate::helper) fn narrow(self, start: u32, size: u32) {
        let place = self.place.as_bytes();
        let (state, offset) = (u32::from_ne_bytes(place.array(8)), u32::from_ne_bytes(place.array(12)));
        self.place.write(8, &(state & !SIZE_MAX | size).to_ne_bytes());
        self.place.write(12, &offset.wrapping_add(start).to_ne_bytes());
    }

    /// What it says; `None` if it is none.
    pub(in crate::helper) fn info(self) -> Option<DynptrInfo> {
        parse(self.place.as_bytes())
    }

    /// `len` bytes of its memory at `offset`; `None` outside, and for packets.
    pub(in crate::helper) fn memory(self, offset: u64, len: u64) -> Option<BytesMut<'a>> {
        let info = self.info()?;
        let inside = offset.checked_add(len).is_some_and(|end| end <= u64::from(info.size));
        if !inside || matches!(info.kind, DynptrKind::Skb | DynptrKind::Xdp) {
            return None;
        }
        let address = info.address + u64::from(info.offset) + offset;
        let at: *mut u8 = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: INV-8, INV-6: the words were written for memory of that size, which the verifier keeps a program from
        // using after its end; the checks of the interpreter look it up again.
        Some(unsafe { BytesMut::new(at, len as usize) })
    }

    fn write(self, address: u64, size: u32, kind: DynptrKind, read_only: bool) {
        let number = match kind {
            DynptrKind::Any | DynptrKind::Local => 1_u32,
            DynptrKind::Ringbuf => 2,
            DynptrKind::Skb => 3,
            DynptrKind::Xdp => 4,
        };
        let state = (size & SIZE_MAX) | number << KIND_SHIFT | if read_only { READ_ONLY } else { 0 };
        self.place.write(0, &address.to_ne_bytes());
        self.place.write(8, &u64::from(state).to_ne_bytes());
    }
}

/// What the 16 bytes of a dynptr say; `None` if they are none.
pub(in crate::helper) fn parse(place: Bytes<'_>) -> Option<DynptrInfo> {
    let address = u64::from_ne_bytes(place.array(0));
    let state = u32::from_ne_bytes(place.array(8));
    let offset = u32::from_ne_bytes(place.array(12));
    let kind = match state >> KIND_SHIFT & 7 {
        1 => DynptrKind::Local,
        2 => DynptrKind::Ringbuf,
        3 => DynptrKind::Skb,
        4 => DynptrKind::Xdp,
        _ => return None,
    };
    (address != 0).then_some(DynptrInfo {
        kind,
        read_only: state & READ_ONLY != 0,
        size: state & SIZE_MAX,
        offset,
        address,
    })
}
