//! Borrowed views of program-visible memory: what a helper gets for a pointer argument.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::raw;

/// A readable range of memory that somebody else may write at the same time.
///
/// INV-6: it stays mapped for `'a`, and all access to it while the view lives is atomic or by programs.
/// Methods panic on ranges outside the view.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    at: *const u8,
    len: usize,
    memory: PhantomData<&'a [u8]>,
}

/// A writable [`Bytes`]. Not exclusive: others may hold views of the same memory.
#[derive(Clone, Copy, Debug)]
pub struct BytesMut<'a>(Bytes<'a>);

impl<'a> From<&'a [u8]> for Bytes<'a> {
    #[inline]
    fn from(slice: &'a [u8]) -> Self {
        Self { at: slice.as_ptr(), len: slice.len(), memory: PhantomData }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Bytes<'a> {
    #[inline]
    fn from(array: &'a [u8; N]) -> Self {
        Self::from(array.as_slice())
    }
}

impl<'a> Bytes<'a> {
    /// A view of `len` bytes at `at`.
    ///
    /// # Safety
    /// INV-6: the range is mapped and readable for `'a`, and nobody holds it as an exclusive Rust reference.
    #[inline]
    pub(crate) unsafe fn new(at: *const u8, len: usize) -> Self {
        Self { at, len, memory: PhantomData }
    }

    /// Bytes.
    #[inline]
    #[must_use]
    pub fn len(self) -> u64 {
        self.len as u64
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Absolute address of the first byte.
    #[inline]
    #[must_use]
    pub fn address(self) -> u64 {
        self.at.expose_provenance() as u64
    }

    /// The part `[offset, offset + len)`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    #[must_use]
    pub fn part(self, offset: u64, len: u64) -> Self {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len());
        assert!(inside, "{len} bytes at {offset} are outside a view of {}", self.len);
        // SAFETY: INV-6: in bounds by the assertion.
        let at = unsafe { self.at.add(offset as usize) };
        Self { at, len: len as usize, memory: PhantomData }
    }

    /// Copies out `into.len()` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    pub fn read(self, offset: u64, into: &mut [u8]) {
        let from = self.part(offset, into.len() as u64);
        // SAFETY: INV-6 for the view; `into` is exclusively ours and as long.
        unsafe { raw::copy(from.at, into.as_mut_ptr(), from.len) }
    }

    /// The byte at `offset`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    #[must_use]
    pub fn byte(self, offset: u64) -> u8 {
        let at = self.part(offset, 1).at;
        // SAFETY: INV-6: one byte inside the view; only loaded from.
        unsafe { AtomicU8::from_ptr(at.cast_mut()) }.load(Relaxed)
    }

    /// `N` bytes at `offset`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    #[must_use]
    pub fn array<const N: usize>(self, offset: u64) -> [u8; N] {
        let mut array = [0; N];
        self.read(offset, &mut array);
        array
    }

    /// The first `BYTES` bytes as `N` little-endian words, the last one padded with zeroes.
    ///
    /// # Panics
    /// If the view is shorter.
    #[inline]
    #[must_use]
    pub fn words<const BYTES: usize, const N: usize>(self) -> [u64; N] {
        let from = self.part(0, BYTES as u64);
        // SAFETY: INV-6: as many bytes as were checked.
        unsafe { raw::load_words::<BYTES, N>(from.at) }
    }

    /// A copy.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        let mut copy = vec![0; self.len];
        self.read(0, &mut copy);
        copy
    }

    /// Whether it equals `bytes`, length included.
    #[inline]
    #[must_use]
    pub fn equals(self, bytes: &[u8]) -> bool {
        // SAFETY: INV-6: as many bytes are compared as the view has.
        self.len == bytes.len() && unsafe { raw::equals(self.at, bytes) }
    }
}

impl<'a> BytesMut<'a> {
    /// A writable view of `len` bytes at `at`.
    ///
    /// # Safety
    /// INV-6: the range is mapped, readable and writable for `'a`, and nobody holds it as a Rust reference.
    #[inline]
    pub(crate) unsafe fn new(at: *mut u8, len: usize) -> Self {
        // SAFETY: INV-6 by the contract.
        Self(unsafe { Bytes::new(at, len) })
    }

    /// The readable view.
    #[inline]
    #[must_use]
    pub fn as_bytes(self) -> Bytes<'a> {
        self.0
    }

    /// Bytes.
    #[inline]
    #[must_use]
    pub fn len(self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The part `[offset, offset + len)`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    #[must_use]
    pub fn part(self, offset: u64, len: u64) -> Self {
        Self(self.0.part(offset, len))
    }

    /// Copies `from` in at `offset`.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    pub fn write(self, offset: u64, from: &[u8]) {
        self.write_bytes(offset, Bytes::from(from));
    }

    /// Copies another view in at `offset`, byte by byte upwards if they overlap.
    ///
    /// # Panics
    /// Outside the view.
    #[inline]
    pub fn write_bytes(self, offset: u64, from: Bytes<'_>) {
        let to = self.0.part(offset, from.len());
        // SAFETY: INV-6 for both views, writable by construction of `self`.
        unsafe { raw::copy(from.at, to.at.cast_mut(), to.len) }
    }

    /// Sets all bytes.
    #[inline]
    pub fn fill(self, byte: u8) {
        // SAFETY: INV-6: the whole view, writable by construction of `self`.
        unsafe { raw::fill(self.0.at.cast_mut(), self.0.len, byte) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Slab;

    #[test]
    fn parts_and_arrays_read_the_right_bytes() {
        let bytes: Vec<u8> = (0..32).collect();
        let view = Bytes::from(bytes.as_slice());
        assert_eq!(view.array::<4>(3), [3, 4, 5, 6]);
        assert_eq!(view.part(8, 8).part(1, 2).to_vec(), [9, 10]);
        assert_eq!(view.byte(31), 31);
        assert!(view.part(32, 0).is_empty());
        assert!(view.part(5, 11).equals(&bytes[5..16]) && !view.part(5, 11).equals(&bytes[5..15]));
    }

    #[test]
    fn a_writable_view_writes_only_its_part() {
        let slab = Slab::new(24).unwrap();
        slab.bytes_mut(8, 8).fill(0xff);
        slab.bytes_mut(0, 24).part(10, 4).write(1, &[1, 2]);
        let expect = [[0; 8], [0xff, 0xff, 0xff, 1, 2, 0xff, 0xff, 0xff], [0; 8]].concat();
        assert_eq!(slab.to_vec(0, 24), expect);
    }
}
