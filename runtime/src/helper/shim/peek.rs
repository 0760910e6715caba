//! Looking into memory that is no argument: what the program could read itself, at any address, without a fault.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::abi::ExecContext;
use crate::heap::heap;
use crate::mem::{Bytes, BytesMut, Regions};

/// What helpers that look into memory beyond their arguments need to know of the call.
#[derive(Default)]
pub struct Probe {
    /// The regions of an interpreted run, while a helper runs; empty in native runs.
    regions: Cell<Option<NonNull<Regions<'static>>>>,
    /// Address below all frames of the program on the native stack, set when a helper is entered.
    floor: Cell<u64>,
}

/// Clears the probe again, whatever happens.
pub(super) struct Probing<'a>(&'a Probe);

impl<'a> Probing<'a> {
    pub(super) fn start(probe: &'a Probe, regions: &'a Regions<'_>) -> Self {
        probe.regions.set(Some(NonNull::from(regions).cast()));
        Self(probe)
    }
}

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.regions.set(None);
    }
}

impl Probe {
    /// A helper was entered in a frame above this address.
    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.set(floor);
    }

    /// Calls `f` with the regions of an interpreted run, if it is one.
    fn regions<R>(&self, f: impl FnOnce(&Regions<'_>) -> R) -> Option<R> {
        let regions = self.regions.get()?;
        // SAFETY: INV-9: only `Probing` sets the pointer, and takes it back before its borrow ends.
        Some(f(unsafe { regions.as_ref() }))
    }
}

/// Copies what the program could read itself at `address` (its stack, packet, maps, objects); the number of bytes that
/// could be read, which may be fewer than `into` has. Never faults, whatever the address.
pub(in crate::helper) fn peek(cx: &ExecContext<'_>, address: u64, into: &mut [u8]) -> usize {
    let interpreted = cx.probe.regions(|regions| {
        let mut read = 0;
        while read < into.len()
            && regions.copy_out(address.wrapping_add(read as u64), &mut into[read..=read]).is_ok()
        {
            read += 1;
        }
        read
    });
    if let Some(read) = interpreted {
        return read;
    }
    let Some(bytes) = native_bytes(cx, address, into.len() as u64) else { return 0 };
    bytes.read(0, &mut into[..bytes.len() as usize]);
    bytes.len() as usize
}

/// Up to `len` bytes at an address in a native run.
fn native_bytes<'a>(cx: &'a ExecContext<'a>, address: u64, len: u64) -> Option<Bytes<'a>> {
    if let Some(slab) = cx.maps.iter().find_map(|handle| handle.map.memory(address)) {
        let offset = slab.offset_of(address, 1)?;
        return Some(slab.bytes(offset, len.min(slab.len() - offset)));
    }
    if let Some(frame) = cx.ctx.frame()
        && (frame.data_meta()..frame.data_end()).contains(&address)
    {
        return frame.memory(address, len.min(frame.data_end() - address)).map(BytesMut::as_bytes);
    }
    if let Some(heap) = heap()
        && let Some(piece) = heap.piece(address, 1)
    {
        let end = heap.address_of(piece.start) + u64::from(piece.of.size);
        let len = len.min(end - address);
        return Some(heap.memory().bytes(heap.memory().offset_of(address, len)?, len));
    }
    // The program's frames lie between the entry trampoline's and the helper's.
    let (floor, ceiling) = (cx.probe.floor.get(), cx.saved_sp.get());
    if cx.trap_exit.is_some() && (floor..ceiling).contains(&address) {
        let len = len.min(ceiling - address) as usize;
        // SAFETY: INV-4: this thread's stack from the helper's frame to the frame that runs the program is mapped,
        // and stays so for the call.
        return Some(unsafe { Bytes::new(std::ptr::with_exposed_provenance(address as usize), len) });
    }
    None
}
