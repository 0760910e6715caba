//! The unsafe room of helpers: one native function a helper, made by one macro.
//!
//! A shim turns registers into typed arguments, calls the body (safe code), and turns a panic of the body into a
//! trap: unwinding must not cross generated code. It may be called by generated code of a verified program, which
//! proved every argument (INV-8), or through [`call_checked`], which checks them first.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use super::registry::Helper;
use super::{ArgumentFault, check, kfunc, map, net, ring, skb, string, tail, trace, world, xdp};
use crate::abi::{ExecContext, HelperFn};
use crate::ctx::ProgramType;
use crate::map::{Map, MapHandle};
use crate::mem::{Bytes, BytesMut, Regions};
use crate::trap::TrapKind;

/// Longest key that is copied to the stack; longer ones are rare and go to the heap.
const SHORT_KEY: usize = 64;

/// A map key in program memory.
#[derive(Clone, Copy)]
pub(super) struct Key<'a>(Bytes<'a>);

impl Key<'_> {
    /// Calls `f` with a private copy, so that no other thread can change the key under the map's hands.
    #[inline]
    pub(super) fn with<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        let len = self.0.len() as usize;
        // The usual sizes, as copies of known length.
        if len == 4 {
            let mut key = [0; 4];
            self.0.read(0, &mut key);
            return f(&key);
        }
        if len == 8 {
            let mut key = [0; 8];
            self.0.read(0, &mut key);
            return f(&key);
        }
        let mut short = [0; SHORT_KEY];
        match short.get_mut(..len) {
            Some(key) => {
                self.0.read(0, key);
                f(key)
            }
            None => f(&self.0.to_vec()),
        }
    }
}

/// What a body returns, as r0.
trait Result0 {
    fn into_r0(self) -> u64;
}
impl Result0 for u64 {
    fn into_r0(self) -> u64 {
        self
    }
}
impl Result0 for i64 {
    fn into_r0(self) -> u64 {
        self.cast_unsigned()
    }
}
/// As the kernel's own functions return an `int`: in the low half of the register.
impl Result0 for i32 {
    fn into_r0(self) -> u64 {
        u64::from(self.cast_unsigned())
    }
}
impl Result0 for () {
    fn into_r0(self) -> u64 {
        0
    }
}

/// r1 to r5 of a call.
struct Args<'a> {
    registers: [u64; 5],
    cx: &'a ExecContext<'a>,
}

/// Each method reads the registers of the given numbers (from 1) as the prototype types them.
///
/// # Safety
/// INV-8, for all of them: the registers satisfy the helper's prototype.
impl<'a> Args<'a> {
    #[inline]
    fn register(&self, number: usize) -> u64 {
        self.registers[number - 1]
    }

    unsafe fn u64(&self, number: usize) -> u64 {
        self.register(number)
    }

    unsafe fn u32(&self, number: usize) -> u32 {
        self.register(number) as u32
    }

    unsafe fn i32(&self, number: usize) -> i32 {
        self.register(number) as i32
    }

    /// Readable memory and its size.
    #[inline]
    unsafe fn input(&self, number: usize, size: usize) -> Bytes<'a> {
        // SAFETY: INV-8: the memory is as long as the size says.
        unsafe { self.bytes(number, self.register(size)) }
    }

    /// Writable memory and its size.
    #[inline]
    unsafe fn out(&self, number: usize, size: usize) -> BytesMut<'a> {
        // SAFETY: INV-8: the memory is as long as the size says.
        unsafe { self.bytes_mut(number, self.register(size)) }
    }

    /// Writable memory of a fixed size.
    #[inline]
    unsafe fn fixed_out(&self, number: usize, size: u64) -> BytesMut<'a> {
        // SAFETY: INV-8: the memory is as long as the prototype says.
        unsafe { self.bytes_mut(number, size) }
    }

    /// A constant string, its zero byte included.
    unsafe fn text(&self, number: usize) -> Bytes<'a> {
        let mut len = 1;
        loop {
            // SAFETY: INV-8: the string ends with a zero byte, and `len` has not passed it.
            let text = unsafe { self.bytes(number, len) };
            if text.byte(len - 1) == 0 {
                return text;
            }
            len += 1;
        }
    }

    #[inline]
    unsafe fn map(&self, number: usize) -> &'a dyn Map {
        // SAFETY: INV-8: the argument is a map.
        &*unsafe { self.handle(number) }.map
    }

    #[inline]
    unsafe fn handle(&self, number: usize) -> &'a MapHandle {
        let handle: *const MapHandle = std::ptr::with_exposed_provenance(self.register(number) as usize);
        // SAFETY: INV-8: a map argument is the address of a handle that the program keeps alive.
        unsafe { &*handle }
    }

    #[inline]
    unsafe fn bytes(&self, number: usize, len: u64) -> Bytes<'a> {
        if len == 0 {
            return Bytes::from(&[]);
        }
        let at: *const u8 = std::ptr::with_exposed_provenance(self.register(number) as usize);
        // SAFETY: INV-8, INV-6: a memory argument points to that many readable bytes for the whole call.
        unsafe { Bytes::new(at, len as usize) }
    }

    #[inline]
    unsafe fn bytes_mut(&self, number: usize, len: u64) -> BytesMut<'a> {
        // A non-null pointer for empty memory.
        let address =
            if len == 0 { self.cx.effects as *const _ as usize } else { self.register(number) as usize };
        let at: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: INV-8, INV-6: a memory argument points to that many writable bytes for the whole call.
        unsafe { BytesMut::new(at, len as usize) }
    }

    #[inline]
    unsafe fn key(&self, map: usize, number: usize) -> Key<'a> {
        // SAFETY: INV-8: the map argument is one.
        let size = unsafe { self.handle(map) }.key_size();
        // SAFETY: INV-8: a key argument points to `key_size` bytes.
        Key(unsafe { self.bytes(number, u64::from(size)) })
    }

    #[inline]
    unsafe fn value(&self, map: usize, number: usize) -> Bytes<'a> {
        // SAFETY: INV-8: the map argument is one.
        let size = unsafe { self.handle(map) }.value_size();
        // SAFETY: INV-8: a value argument points to `value_size` bytes.
        unsafe { self.bytes(number, u64::from(size)) }
    }

    #[inline]
    unsafe fn value_mut(&self, map: usize, number: usize) -> BytesMut<'a> {
        // SAFETY: INV-8: the map argument is one.
        let size = unsafe { self.handle(map) }.value_size();
        // SAFETY: INV-8: a value argument points to `value_size` bytes.
        unsafe { self.bytes_mut(number, u64::from(size)) }
    }
}

/// `name = body(kind(registers), …);`
macro_rules! shims {
    ($($name:ident = $body:path [$($kind:ident($($register:literal),*)),*];)*) => {
        $(
            /// # Safety
            /// INV-8: the registers satisfy the helper's prototype.
            pub(super) unsafe extern "C" fn $name(
                cx: &ExecContext<'_>, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64,
            ) -> u64 {
                let _args = Args { registers: [r1, r2, r3, r4, r5], cx };
                // A byte of its own: the address of `_args` would force the registers into memory.
                let here = 0_u8;
                cx.probe.floor.set(std::ptr::from_ref(&here).expose_provenance() as u64);
                guard(cx, || {
                    // SAFETY: INV-8: by the contract of this function.
                    $body(cx $(, unsafe { _args.$kind($($register),*) })*).into_r0()
                })
            }
        )*
    };
}

shims! {
    map_lookup_elem = map::lookup_elem[map(1), key(1, 2)];
    map_update_elem = map::update_elem[map(1), key(1, 2), value(1, 3), u64(4)];
    map_delete_elem = map::delete_elem[map(1), key(1, 2)];
    map_lookup_percpu_elem = map::lookup_percpu_elem[map(1), key(1, 2), u32(3)];
    map_push_elem = map::push_elem[map(1), value(1, 2), u64(3)];
    map_pop_elem = map::pop_elem[map(1), value_mut(1, 2)];
    map_peek_elem = map::peek_elem[map(1), value_mut(1, 2)];
    ktime_get_ns = world::ktime_get_ns[];
    ktime_get_boot_ns = world::ktime_get_boot_ns[];
    ktime_get_coarse_ns = world::ktime_get_coarse_ns[];
    ktime_get_tai_ns = world::ktime_get_tai_ns[];
    jiffies64 = world::jiffies64[];
    get_prandom_u32 = world::get_prandom_u32[];
    get_smp_processor_id = world::get_smp_processor_id[];
    get_numa_node_id = world::get_numa_node_id[];
    xdp_adjust_head = xdp::adjust_head[i32(2)];
    xdp_adjust_tail = xdp::adjust_tail[i32(2)];
    xdp_adjust_meta = xdp::adjust_meta[i32(2)];
    xdp_get_buff_len = xdp::get_buff_len[];
    xdp_load_bytes = xdp::load_bytes[u32(2), out(3, 4)];
    xdp_store_bytes = xdp::store_bytes[u32(2), input(3, 4)];
    skb_load_bytes = skb::load_bytes[u32(2), out(3, 4)];
    skb_load_bytes_relative = skb::load_bytes_relative[u32(2), out(3, 4), u32(5)];
    skb_store_bytes = skb::store_bytes[u32(2), input(3, 4), u64(5)];
    map_iterate = map::iterate[map(1), u64(2), fixed_out(3, 24)];
    packet_load = skb::packet_load[i32(1), u32(2)];
    skb_pull_data = skb::pull_data[u32(2)];
    l3_csum_replace = skb::l3_csum_replace[u32(2), u64(3), u64(4), u64(5)];
    l4_csum_replace = skb::l4_csum_replace[u32(2), u64(3), u64(4), u64(5)];
    csum_diff = net::csum_diff[input(1, 2), input(3, 4), u32(5)];
    redirect = net::redirect[u32(1), u64(2)];
    redirect_map = net::redirect_map[map(1), u64(2), u64(3)];
    ringbuf_output = ring::output[map(1), input(2, 3), u64(4)];
    ringbuf_reserve = ring::reserve[map(1), u64(2), u64(3)];
    ringbuf_submit = ring::submit[u64(1), u64(2)];
    ringbuf_discard = ring::discard[u64(1), u64(2)];
    ringbuf_query = ring::query[map(1), u64(2)];
    trace_printk = trace::printk[input(1, 2), u64(3), u64(4), u64(5)];
    trace_vprintk = trace::vprintk[input(1, 2), input(3, 4)];
    snprintf = trace::snprintf[out(1, 2), text(3), input(4, 5)];
    strtol = string::strtol[input(1, 2), u64(3), fixed_out(4, 8)];
    strtoul = string::strtoul[input(1, 2), u64(3), fixed_out(4, 8)];
    strncmp = string::strncmp[input(1, 2), text(3)];
    section = kfunc::section[];
    irq_save = kfunc::irq_save[fixed_out(1, 8)];
    irq_restore = kfunc::irq_restore[fixed_out(1, 8)];
    iter_num_new = kfunc::iter_num_new[fixed_out(1, 8), i32(2), i32(3)];
    iter_num_next = kfunc::iter_num_next[fixed_out(1, 8)];
    iter_num_destroy = kfunc::iter_num_destroy[fixed_out(1, 8)];
}

/// `bpf_tail_call`: 1 if a program ran in place of the caller, whose r0 is in [`ExecContext::tail_result`].
///
/// # Safety
/// INV-8: the registers satisfy the helper's prototype.
pub(super) unsafe extern "C" fn tail_call(
    cx: &ExecContext<'_>,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    let args = Args { registers: [r1, r2, r3, r4, r5], cx };
    let here = 0_u8;
    cx.probe.floor.set(std::ptr::from_ref(&here).expose_provenance() as u64);
    let done = guard(cx, || {
        // SAFETY: INV-8: by the contract of this function.
        let map = unsafe { args.map(2) };
        // SAFETY: INV-8: as above.
        tail::tail_call(cx, map, unsafe { args.u32(3) })
    });
    match TrapKind::from_code(cx.trap.get()) {
        None => done,
        // The target trapped: its frames are gone, and nothing here needs to be dropped (INV-7).
        Some(kind) => trap(cx, kind),
    }
}

/// [`packet_load`](super::packet_load) as generated code calls it: r1 is the offset, r2 the size.
pub const PACKET_LOAD: HelperFn = packet_load;

/// One step over a map for `bpf_for_each_map_elem`, as generated code calls it: r1 is the map, r2 the cursor (0 at
/// first), r3 points to [`MAP_CURSOR_BYTES`](super::MAP_CURSOR_BYTES). Gives the address of the value, 0 at the end.
pub const MAP_ITERATE: HelperFn = map_iterate;

/// Runs a body; a panic becomes `TrapKind::HelperPanic`.
#[inline]
fn guard(cx: &ExecContext<'_>, body: impl FnOnce() -> u64) -> u64 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(r0) => r0,
        Err(payload) => panicked(cx, payload),
    }
}

// Apart, so that a shim saves no registers for it.
#[cold]
#[inline(never)]
fn panicked(cx: &ExecContext<'_>, payload: Box<dyn Any + Send>) -> u64 {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic");
    cx.effects.set_panic(message);
    // INV-7: nothing with a destructor may be alive when native frames are left.
    drop(payload);
    trap(cx, TrapKind::HelperPanic)
}

/// Stops the run: leaves native code, or returns to the interpreter, which looks at `trap`.
#[cold]
fn trap(cx: &ExecContext<'_>, kind: TrapKind) -> u64 {
    cx.trap.set(kind.code());
    if let Some(exit) = cx.trap_exit {
        exit(cx);
    }
    0
}

/// Calls a helper with arguments that nobody verified: checks them against its prototype and `regions` first.
///
/// # Errors
/// [`ArgumentFault`] for the first argument that the prototype does not allow, or a helper without a body.
///
/// # Panics
/// In a native run, whose traps would skip the clean-up here.
pub fn call_checked(
    helper: &Helper,
    program_type: ProgramType,
    cx: &ExecContext<'_>,
    regions: &Regions<'_>,
    registers: [u64; 5],
) -> Result<u64, ArgumentFault> {
    assert!(cx.trap_exit.is_none(), "native runs call helpers directly");
    let function = check::arguments(helper, program_type, cx, regions, registers)?;
    let [r1, r2, r3, r4, r5] = registers;
    let _probing = Probing::start(&cx.probe, regions);
    // SAFETY: INV-8: the arguments were checked against the prototype just now.
    Ok(unsafe { function(cx, r1, r2, r3, r4, r5) })
}

/// What helpers that look into memory beyond their arguments need to know of the call.
#[derive(Default)]
pub struct Probe {
    /// The regions of an interpreted run, while a helper runs; empty in native runs.
    regions: Cell<Option<NonNull<Regions<'static>>>>,
    /// Address below all frames of the program on the native stack, set when a helper is entered.
    floor: Cell<u64>,
}

/// Clears the probe again, whatever happens.
struct Probing<'a>(&'a Probe);

impl<'a> Probing<'a> {
    fn start(probe: &'a Probe, regions: &'a Regions<'_>) -> Self {
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
    /// Calls `f` with the regions of an interpreted run, if it is one.
    fn regions<R>(&self, f: impl FnOnce(&Regions<'_>) -> R) -> Option<R> {
        let regions = self.regions.get()?;
        // SAFETY: INV-9: only `Probing` sets the pointer, and takes it back before its borrow ends.
        Some(f(unsafe { regions.as_ref() }))
    }
}

/// Copies what the program could read itself at `address` (its stack, packet, maps); the number of bytes that
/// could be read, which may be fewer than `into` has. Never faults, whatever the address.
pub(super) fn peek(cx: &ExecContext<'_>, address: u64, into: &mut [u8]) -> usize {
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
