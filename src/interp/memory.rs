//! The interpreter's view of memory: frames, context fields, and everything else by [`Regions`].
#![forbid(unsafe_code)]

use beelift_runtime::abi::ExecContext;
use beelift_runtime::ctx::{ContextLayout, FieldKind};
use beelift_runtime::helper::{DRAIN_BYTES, drain_words};
use beelift_runtime::mem::{
    AtomicOp as MemAtomicOp, AtomicSize, BytesMut, Fault, RegionKind, Regions, SharedBytes,
};

use super::{FRAME_SIZE, word};
use crate::isa::semantics::{Concrete, extend_load};
use crate::isa::{AtomicOp, Sign, Size, Width};

/// Bytes from frame to frame. Only the last [`FRAME_SIZE`] of them are visible, so that an access past the end of
/// a frame does not hit the next one.
pub(super) const FRAME_STRIDE: u64 = 4096;

/// Where a callback's key lies in the hidden part below its frame, with room around it.
const KEY_OFFSET: u64 = 1024;
/// Longest key shown to a callback.
const KEY_LONGEST: u64 = FRAME_STRIDE - FRAME_SIZE - KEY_OFFSET - 512;

/// What one run may touch.
pub(super) struct Memory<'a> {
    regions: Regions<'a>,
    stack: &'a SharedBytes,
    /// Frames in use.
    frames: u64,
    layout: ContextLayout,
    context: u64,
}

/// An access to memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl<'a> Memory<'a> {
    pub(super) fn new(
        regions: Regions<'a>,
        stack: &'a SharedBytes,
        layout: ContextLayout,
        cx: &ExecContext<'_>,
    ) -> Self {
        Self { regions, stack, frames: 0, layout, context: cx.context.get() }
    }

    /// Opens a frame and returns its r10. Its bytes are zero.
    pub(super) fn push_frame(&mut self) -> u64 {
        self.frames += 1;
        let start = self.frames * FRAME_STRIDE - FRAME_SIZE;
        self.stack.fill(start, FRAME_SIZE, 0);
        self.regions.push(RegionKind::Stack, self.stack, start, FRAME_SIZE);
        self.stack.address() + start + FRAME_SIZE
    }

    /// Closes the innermost frame: nothing else is shown after it.
    pub(super) fn pop_frame(&mut self) {
        self.regions.pop();
        self.frames -= 1;
    }

    /// Shows a key to the callback whose frame comes next, and returns its address; `None` if it is too long.
    pub(super) fn push_key(&mut self, key: &[u8]) -> Option<u64> {
        let start = self.frames * FRAME_STRIDE + KEY_OFFSET;
        let len = key.len() as u64;
        if len > KEY_LONGEST {
            return None;
        }
        self.stack.write(start, key);
        self.regions.push(RegionKind::Stack, self.stack, start, len);
        Some(self.stack.address() + start)
    }

    /// Where a sample of a ring buffer is described to a callback, whose frame comes next.
    pub(super) fn sample_place(&self) -> BytesMut<'a> {
        self.stack.bytes_mut(self.frames * FRAME_STRIDE + KEY_OFFSET, u64::from(DRAIN_BYTES))
    }

    /// Shows the callback its dynptr there.
    pub(super) fn push_sample(&mut self) {
        let start = self.frames * FRAME_STRIDE + KEY_OFFSET + drain_words::DYNPTR as u64; // 8
        self.regions.push(RegionKind::Stack, self.stack, start, 16);
    }

    /// Hides the key (or sample) again, after the callback's frame.
    pub(super) fn pop_key(&mut self) {
        self.regions.pop();
    }

    /// What helpers may touch, too.
    pub(super) const fn regions(&self) -> &Regions<'a> {
        &self.regions
    }

    pub(super) fn load(&self, address: u64, size: Size, sign: Sign) -> Result<u64, Fault> {
        let place = self.place(address, size, Direction::Read)?;
        let raw = match place {
            Place::Plain(address) => self.regions.load(address, word(size))?,
            // The pointer takes the place of a number of four bytes; it cannot be sign-extended.
            Place::Pointer(address) if sign == Sign::Zero => {
                return self.regions.load(address, word(Size::DW));
            }
            Place::Pointer(_) => return Err(fault(address, size, Direction::Read)),
        };
        Ok(extend_load(&mut Concrete, size, sign, raw))
    }

    pub(super) fn store(&self, address: u64, size: Size, value: u64) -> Result<(), Fault> {
        match self.place(address, size, Direction::Write)? {
            Place::Plain(address) => self.regions.store(address, word(size), value),
            Place::Pointer(_) => Err(fault(address, size, Direction::Write)),
        }
    }

    /// Does an atomic operation and returns the old value. Contexts know none.
    pub(super) fn atomic(
        &self,
        op: AtomicOp,
        width: Width,
        address: u64,
        src: u64,
        r0: u64,
    ) -> Result<u64, Fault> {
        let (size, atomic_size) = match width {
            Width::W32 => (Size::W, AtomicSize::W32),
            Width::W64 => (Size::DW, AtomicSize::W64),
        };
        if self.context_offset(address).is_some() {
            return Err(fault(address, size, Direction::Write));
        }
        let op = match op {
            AtomicOp::Add => MemAtomicOp::Add,
            AtomicOp::Or => MemAtomicOp::Or,
            AtomicOp::And => MemAtomicOp::And,
            AtomicOp::Xor => MemAtomicOp::Xor,
            AtomicOp::Xchg => MemAtomicOp::Exchange,
            AtomicOp::CmpXchg => return self.regions.compare_exchange(address, atomic_size, r0, src),
        };
        self.regions.atomic(address, atomic_size, op, src)
    }

    /// Distance from the context, if the address means one of its fields.
    fn context_offset(&self, address: u64) -> Option<u32> {
        let ContextLayout::Fields { native_size, .. } = self.layout else { return None };
        let offset = address.wrapping_sub(self.context);
        (offset < u64::from(native_size)).then_some(offset as u32) // Smaller than a u16.
    }

    /// Where an access of the program really goes.
    fn place(&self, address: u64, size: Size, direction: Direction) -> Result<Place, Fault> {
        let refused = fault(address, size, direction);
        let Some(offset) = self.context_offset(address) else {
            return Ok(Place::Plain(address));
        };
        let field = self.layout.field(offset, size.bytes()).ok_or(refused)?;
        let allowed = match direction {
            Direction::Read => field.allows_read(offset, size.bytes()),
            Direction::Write => field.allows_write(offset, size.bytes()),
        };
        if !allowed {
            return Err(refused);
        }
        let native = self.context + u64::from(field.native_offset);
        match field.kind {
            FieldKind::Scalar => Ok(Place::Plain(native + u64::from(offset) - u64::from(field.offset))),
            FieldKind::PacketData
            | FieldKind::PacketEnd
            | FieldKind::PacketMeta
            | FieldKind::Object { .. } => Ok(Place::Pointer(native)),
            FieldKind::KernelOnly => Err(refused),
        }
    }
}

/// Where an access really goes.
enum Place {
    /// To that address.
    Plain(u64),
    /// To the 64-bit pointer at that address.
    Pointer(u64),
}

fn fault(address: u64, size: Size, direction: Direction) -> Fault {
    Fault { address, len: u64::from(size.bytes()), write: direction == Direction::Write }
}
