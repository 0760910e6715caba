//! The stack of one frame: slots of eight bytes, each byte of a known kind, one spilled register a slot.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::Register;
use super::frame::SHARED;

/// What a stack byte holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Byte {
    /// Never written on this path.
    Invalid,
    /// Part of the slot's spilled register.
    Spill,
    /// Something.
    Misc,
    /// Zero.
    Zero,
    /// Part of an object that only helpers and kfuncs touch (see [`SpecialSlot`]).
    Special,
}

/// Kinds of objects that live in stack slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    /// A dynptr (two slots).
    Dynptr(DynptrType),
    /// An open-coded iterator of that type.
    Iterator(&'static str),
    /// Saved interrupt flags.
    IrqFlag {
        /// Saved by taking a lock.
        lock: bool,
    },
}

/// What a dynptr points to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum DynptrType {
    /// Memory of a map value.
    Local,
    /// A reserved ring buffer record.
    Ringbuf,
    /// An skb.
    Skb,
    /// An XDP buffer.
    Xdp,
    /// The metadata of an skb.
    SkbMeta,
}

/// State of an object in stack slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SpecialSlot {
    /// What it is.
    pub(crate) special: Special,
    /// Whether this is its first (lowest) slot.
    pub(crate) first: bool,
    /// Reference it holds; 0: none.
    pub(crate) object: u32,
    /// Identity (dynptr).
    pub(crate) id: u32,
    /// Iterator: still yielding.
    pub(crate) active: bool,
    /// Iterator: calls of `next` so far. Only stops infinite-loop detection, never compared.
    pub(crate) depth: u32,
    /// Iterator: what protects it and what it yields.
    pub(crate) protection: Protection,
}

/// What keeps an iterator and its elements valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    /// Nothing is needed.
    None,
    /// The RCU read section it was made in.
    Section,
    /// That section was left.
    Lost,
}

impl SpecialSlot {
    /// An object that holds nothing yet.
    pub(crate) const NEW: Self = Self {
        special: Special::IrqFlag { lock: false },
        first: true,
        object: 0,
        id: 0,
        active: true,
        depth: 0,
        protection: Protection::None,
    };
}

/// Eight bytes of stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// Kind of each byte, lowest address first.
    pub(crate) bytes: [Byte; 8],
    /// The register spilled here; valid when `bytes[0]` is `Spill`.
    pub(crate) spilled: Register,
    /// The object here; valid when the bytes are `Special`.
    pub(crate) special: Option<SpecialSlot>,
}

impl Slot {
    /// Never written.
    pub(crate) const INVALID: Self =
        Self { bytes: [Byte::Invalid; 8], spilled: Register::UNINIT, special: None };

    /// The kinds of all bytes as one number, to compare slots by.
    #[inline]
    pub(crate) fn pattern(&self) -> u64 {
        let [a, b, c, d, e, f, g, h] = self.bytes;
        let bytes = [a as u8, b as u8, c as u8, d as u8, e as u8, f as u8, g as u8, h as u8];
        u64::from_le_bytes(bytes)
    }
    /// Whether all eight bytes are those of one register.
    #[inline]
    pub(crate) fn is_whole_spill(&self) -> bool {
        self.pattern() == u64::from_le_bytes([Byte::Spill as u8; 8])
    }
    /// Whether no byte belongs to a register or an object.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.bytes.iter().all(|byte| matches!(byte, Byte::Invalid | Byte::Misc | Byte::Zero))
    }
    /// Whether a register is spilled here.
    #[inline]
    pub(crate) fn is_spill(&self) -> bool {
        self.bytes[0] == Byte::Spill
    }
    /// Whether a number is spilled here.
    #[inline]
    pub(crate) fn is_scalar_spill(&self) -> bool {
        self.is_spill() && self.spilled.is_scalar()
    }
    /// Whether part of it is a spill or an object.
    pub(crate) fn is_special(&self) -> bool {
        self.bytes.iter().any(|byte| matches!(byte, Byte::Spill | Byte::Special))
    }
    /// Bytes of the spilled register that are still in place.
    pub(crate) fn spill_size(&self) -> usize {
        self.bytes.iter().take_while(|byte| **byte == Byte::Spill).count()
    }
    /// Forgets the spilled register; written bytes stay written.
    pub(crate) fn scrub(&mut self) {
        for byte in &mut self.bytes {
            if *byte != Byte::Invalid {
                *byte = Byte::Misc;
            }
        }
        self.spilled = Register::UNINIT;
        self.special = None;
    }
}

/// Slots that are shared or copied together.
const PAGE: usize = 4;

/// The stack of one frame. Slot 0 is `[r10-8, r10)`, slot 1 `[r10-16, r10-8)`, and so on. Copies share their pages
/// until one is changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stack {
    pages: Vec<Rc<[Slot; PAGE]>>,
    len: usize,
}

impl Stack {
    /// Slot index and byte in the slot of an offset from r10 (-512 to -1).
    #[inline]
    pub(crate) const fn place(off: i64) -> (usize, usize) {
        let from_top = (-off - 1) as usize; // callers checked the range
        (from_top / 8, 7 - from_top % 8)
    }
    const PAGE_BYTES: u64 = (size_of::<[Slot; PAGE]>() + SHARED) as u64;

    fn own_bytes(&self) -> u64 {
        (size_of::<Self>() + SHARED + self.pages.capacity() * size_of::<Rc<[Slot; PAGE]>>()) as u64
    }
    /// Bytes of what it does not share with another stack.
    pub(super) fn bytes_beside(&self, other: Option<&Self>) -> u64 {
        let theirs = other.map_or(&[][..], |other| &other.pages);
        let differs = |(at, page): &(usize, &Rc<[Slot; PAGE]>)| {
            theirs.get(*at).is_none_or(|theirs| !Rc::ptr_eq(theirs, page))
        };
        self.own_bytes() + self.pages.iter().enumerate().filter(differs).count() as u64 * Self::PAGE_BYTES
    }
    /// Bytes of what nobody else shares.
    pub(super) fn bytes_alone(&self) -> u64 {
        let alone = self.pages.iter().filter(|page| Rc::strong_count(page) == 1).count();
        self.own_bytes() + alone as u64 * Self::PAGE_BYTES
    }
    /// Slots in use.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    /// Makes room down to an offset.
    pub(crate) fn grow(&mut self, lowest: i64) {
        self.reach(Self::place(lowest).0);
    }
    fn reach(&mut self, index: usize) {
        while self.pages.len() <= index / PAGE {
            self.pages.push(Rc::new([Slot::INVALID; PAGE]));
        }
        self.len = self.len.max(index + 1);
    }
    /// A slot; beyond those in use, an invalid one.
    #[inline]
    pub(crate) fn slot(&self, index: usize) -> &Slot {
        static INVALID: Slot = Slot::INVALID;
        self.pages.get(index / PAGE).map_or(&INVALID, |page| &page[index % PAGE])
    }
    /// A slot to change.
    #[inline]
    pub(crate) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        self.reach(index);
        &mut Rc::make_mut(&mut self.pages[index / PAGE])[index % PAGE]
    }
    /// Kind of a byte.
    #[inline]
    pub(crate) fn byte(&self, off: i64) -> Byte {
        let (slot, byte) = Self::place(off);
        self.slot(slot).bytes[byte]
    }
    /// All slots in use.
    #[inline]
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.pages.iter().flat_map(|page| page.iter()).take(self.len)
    }
    /// Changes every slot that `wanted` picks. Pages without one stay shared.
    pub(crate) fn change(&mut self, wanted: impl Fn(&Slot) -> bool, mut change: impl FnMut(&mut Slot)) {
        for page in &mut self.pages {
            if page.iter().any(&wanted) {
                Rc::make_mut(page).iter_mut().filter(|slot| wanted(slot)).for_each(&mut change);
            }
        }
    }
}
