//! The unsafe room of helpers: one native function a helper, made by one macro.
//!
//! A shim turns registers into typed arguments, calls the body (safe code), and turns a panic of the body into a
//! trap: unwinding must not cross generated code. It may be called by generated code of a verified program, which
//! proved every argument (INV-8), or through [`call_checked`], which checks them first.

mod direct;
mod dynptr;
mod host;
mod object;
mod peek;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::registry::Helper;
use super::{
    ArgumentFault, bits, check, cookie, cpumask, drain, dynptr as dynptrs, kfunc, lock, map, net,
    object as objects, perf, probe, ring, room, route, skb, skb_state, socket, storage, string, tail, task,
    text, timer, trace, tunnel, vlan, world, xdp,
};
use crate::abi::{ExecContext, HelperFn};
use crate::ctx::ProgramType;
use crate::heap::Anchor;
use crate::map::{Map, MapHandle};
use crate::mem::{Bytes, BytesMut, Regions};
use crate::trap::TrapKind;

pub use direct::{for_host, for_map, specialises};
pub(super) use dynptr::{DynptrAt, parse as parse_dynptr};
pub(super) use host::{host_function, host_map, host_memory, host_memory_mut};
pub use object::OBJECT_LOAD;
pub(super) use object::{per_cpu_ptr, this_cpu_ptr};
pub use peek::Probe;
use peek::Probing;
pub(super) use peek::peek;

/// Keys up to this size are copied to a small buffer.
const SHORT_KEY: usize = 64;
/// Longest key that a program can have on its stack; longer ones are in map values, and are copied to the heap.
const LONG_KEY: usize = 512;

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
            None => self.with_long(f),
        }
    }

    // Apart, so that shorter keys do not pay for its frame.
    #[inline(never)]
    fn with_long<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        let mut long = [0; LONG_KEY];
        match long.get_mut(..self.0.len() as usize) {
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
pub(super) struct Args<'a> {
    registers: [u64; 5],
    pub(super) cx: &'a ExecContext<'a>,
}

/// Each method reads the registers of the given numbers (from 1) as the prototype types them.
///
/// # Safety
/// INV-8, for all of them: the registers satisfy the helper's prototype.
impl<'a> Args<'a> {
    #[inline]
    pub(super) fn register(&self, number: usize) -> u64 {
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

    /// Readable memory of a fixed size.
    #[inline]
    unsafe fn fixed_in(&self, number: usize, size: u64) -> Bytes<'a> {
        // SAFETY: INV-8: the memory is as long as the prototype says.
        unsafe { self.bytes(number, size) }
    }

    /// The word of a spin lock in a map value or an object.
    unsafe fn lock_word(&self, number: usize) -> &'a AtomicU32 {
        let at: *mut u32 = std::ptr::with_exposed_provenance_mut(self.register(number) as usize);
        // SAFETY: INV-8, INV-3, INV-16: a lock is an aligned word of a map value, which the program keeps alive, or of an
        // object.
        unsafe { AtomicU32::from_ptr(at) }
    }

    /// The head of a list or the root of a tree.
    unsafe fn anchor(&self, number: usize) -> &'a Anchor {
        let at: *const Anchor = std::ptr::with_exposed_provenance(self.register(number) as usize);
        // SAFETY: INV-8, INV-3, INV-16: a collection is two aligned words of a map value or an object.
        unsafe { &*at }
    }

    /// A kptr.
    unsafe fn word(&self, number: usize) -> &'a AtomicU64 {
        let at: *mut u64 = std::ptr::with_exposed_provenance_mut(self.register(number) as usize);
        // SAFETY: INV-8, INV-3, INV-16: a kptr is an aligned word of a map value or an object.
        unsafe { AtomicU64::from_ptr(at) }
    }

    /// A dynptr on the stack.
    unsafe fn dynptr(&self, number: usize) -> DynptrAt<'a> {
        // SAFETY: INV-8: the argument points to the 16 bytes of a dynptr, which helpers alone write.
        let place = unsafe { self.bytes_mut(number, dynptrs::SIZE) };
        // SAFETY: INV-8: as above.
        unsafe { DynptrAt::new(place) }
    }

    /// A dynptr at a distance from where a register points to.
    unsafe fn dynptr_behind(&self, number: usize, distance: u64) -> DynptrAt<'a> {
        // SAFETY: INV-8: engines give memory that has room for the dynptr there.
        let place = unsafe { self.bytes_mut(number, distance + dynptrs::SIZE) }.part(distance, dynptrs::SIZE);
        // SAFETY: INV-8: the first step writes it before it is read, and nobody else does.
        unsafe { DynptrAt::new(place) }
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

    /// A value, or null.
    unsafe fn value_or_null(&self, map: usize, number: usize) -> Option<Bytes<'a>> {
        // SAFETY: INV-8: as for `value`, unless it is null.
        (self.register(number) != 0).then(|| unsafe { self.value(map, number) })
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
                cx.probe.set_floor(std::ptr::from_ref(&here).expose_provenance() as u64);
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
    dynptr_from_skb = dynptrs::from_skb[u64(2), dynptr(3)];
    dynptr_from_xdp = dynptrs::from_xdp[u64(2), dynptr(3)];
    dynptr_slice = dynptrs::slice[dynptr(1), u32(2), u32(4)];
    dynptr_slice_to_write = dynptrs::slice_to_write[dynptr(1), u32(2), u32(4)];
    dynptr_adjust = dynptrs::adjust[dynptr(1), u32(2), u32(3)];
    dynptr_is_null = dynptrs::is_null[dynptr(1)];
    dynptr_is_read_only = dynptrs::is_read_only[dynptr(1)];
    dynptr_size = dynptrs::size[dynptr(1)];
    dynptr_clone = dynptrs::clone[dynptr(1), dynptr(2)];
    dynptr_copy = dynptrs::copy[dynptr(1), u32(2), dynptr(3), u32(4), u32(5)];
    dynptr_memset = dynptrs::memset[dynptr(1), u32(2), u32(3), u32(4)];
    strcmp = text::strcmp[u64(1), u64(2)];
    strcasecmp = text::strcasecmp[u64(1), u64(2)];
    strchr = text::strchr[u64(1), u32(2)];
    strchrnul = text::strchrnul[u64(1), u32(2)];
    strnchr = text::strnchr[u64(1), u64(2), u32(3)];
    strrchr = text::strrchr[u64(1), u32(2)];
    strlen = text::strlen[u64(1)];
    strnlen = text::strnlen[u64(1), u64(2)];
    strspn = text::strspn[u64(1), u64(2)];
    strcspn = text::strcspn[u64(1), u64(2)];
    strstr = text::strstr[u64(1), u64(2)];
    strnstr = text::strnstr[u64(1), u64(2), u64(3)];
    arena_alloc_pages = kfunc::arena_alloc_pages[map(1), u64(2), u32(3), i32(4), u64(5)];
    arena_free_pages = kfunc::arena_free_pages[map(1), u64(2), u32(3)];
    arena_reserve_pages = kfunc::arena_reserve_pages[map(1), u64(2), u32(3)];
    object_new = objects::new[u64(1)];
    object_drop = objects::drop_object[u64(1)];
    object_acquire = objects::acquire[u64(1)];
    kptr_xchg = objects::exchange[word(1), u64(2)];
    list_push_front = objects::push_front[anchor(1), u64(2)];
    list_push_back = objects::push_back[anchor(1), u64(2)];
    list_pop_front = objects::pop_front[anchor(1)];
    list_pop_back = objects::pop_back[anchor(1)];
    list_front = objects::front[anchor(1)];
    list_back = objects::back[anchor(1)];
    tree_add = objects::tree_add[anchor(1), u64(2), u64(3), u64(4)];
    tree_remove = objects::tree_remove[anchor(1), u64(2)];
    tree_first = objects::tree_first[anchor(1)];
    tree_root = objects::tree_root[anchor(1)];
    tree_left = objects::tree_left[anchor(1), u64(2)];
    tree_right = objects::tree_right[anchor(1), u64(2)];
    percpu_object_new = objects::percpu_new[u64(1)];
    res_lock = lock::try_lock[lock_word(1)];
    res_unlock = lock::resilient_unlock[lock_word(1)];
    res_lock_irq = lock::try_lock_irq[lock_word(1), fixed_out(2, 8)];
    res_unlock_irq = lock::resilient_unlock_irq[lock_word(1), fixed_out(2, 8)];
    iter_bits_new = bits::new[fixed_out(1, 16), u64(2), u32(3)];
    iter_bits_next = bits::next[fixed_out(1, 16)];
    iter_bits_destroy = bits::destroy[fixed_out(1, 16)];
    cpumask_create = cpumask::create[];
    cpumask_first = cpumask::first[u64(1)];
    cpumask_first_zero = cpumask::first_zero[u64(1)];
    cpumask_first_and = cpumask::first_and[u64(1), u64(2)];
    cpumask_set_cpu = cpumask::set_cpu[u32(1), u64(2)];
    cpumask_clear_cpu = cpumask::clear_cpu[u32(1), u64(2)];
    cpumask_test_cpu = cpumask::test_cpu[u32(1), u64(2)];
    cpumask_test_and_set_cpu = cpumask::test_and_set_cpu[u32(1), u64(2)];
    cpumask_test_and_clear_cpu = cpumask::test_and_clear_cpu[u32(1), u64(2)];
    cpumask_set_all = cpumask::set_all[u64(1)];
    cpumask_clear = cpumask::clear[u64(1)];
    cpumask_and = cpumask::and[u64(1), u64(2), u64(3)];
    cpumask_or = cpumask::or[u64(1), u64(2), u64(3)];
    cpumask_xor = cpumask::xor[u64(1), u64(2), u64(3)];
    cpumask_copy = cpumask::copy[u64(1), u64(2)];
    cpumask_equal = cpumask::equal[u64(1), u64(2)];
    cpumask_intersects = cpumask::intersects[u64(1), u64(2)];
    cpumask_subset = cpumask::subset[u64(1), u64(2)];
    cpumask_empty = cpumask::empty[u64(1)];
    cpumask_full = cpumask::full[u64(1)];
    cpumask_weight = cpumask::weight[u64(1)];
    cpumask_populate = cpumask::populate[u64(1), input(2, 3)];
    get_current_pid_tgid = task::pid_tgid[];
    get_current_uid_gid = task::uid_gid[];
    get_current_comm = task::comm[out(1, 2)];
    get_current_cgroup_id = task::cgroup_id[];
    get_current_ancestor_cgroup_id = task::ancestor_cgroup_id[u32(1)];
    get_ns_current_pid_tgid = task::ns_pid_tgid[u64(1), u64(2), out(3, 4)];
    get_netns_cookie = task::netns_cookie[];
    get_func_ip = task::func_ip[];
    get_attach_cookie = task::attach_cookie[];
    get_retval = task::get_retval[];
    set_retval = task::set_retval[i32(1)];
    probe_read = probe::read[out(1, 2), u64(3)];
    probe_read_str = probe::read_str[out(1, 2), u64(3)];
    probe_read_user = probe::read_user[out(1, 2), u64(3)];
    probe_read_user_str = probe::read_user_str[out(1, 2), u64(3)];
    probe_read_kernel = probe::read_kernel[out(1, 2), u64(3)];
    probe_read_kernel_str = probe::read_kernel_str[out(1, 2), u64(3)];
    get_stack = probe::get_stack[out(2, 3), u64(4)];
    perf_event_output = perf::output[map(2), u64(3), input(4, 5)];
    perf_event_read = perf::read[map(1), u64(2)];
    perf_event_read_value = perf::read_value[map(1), u64(2), out(3, 4)];
    spin_lock = lock::lock[lock_word(1)];
    spin_unlock = lock::unlock[lock_word(1)];
    timer_init = timer::init[u64(1), map(2), u64(3)];
    timer_set_callback = timer::set_callback[u64(1), u64(2)];
    timer_start = timer::start[u64(1), u64(2), u64(3)];
    timer_cancel = timer::cancel[u64(1)];
    dynptr_from_mem = dynptrs::from_mem[out(1, 2), u64(3), dynptr(4)];
    dynptr_read = dynptrs::read[out(1, 2), dynptr(3), u64(4), u64(5)];
    dynptr_write = dynptrs::write[dynptr(1), u64(2), input(3, 4), u64(5)];
    dynptr_data = dynptrs::data[dynptr(1), u64(2), u64(3)];
    ringbuf_reserve_dynptr = dynptrs::reserve[map(1), u64(2), u64(3), dynptr(4)];
    ringbuf_submit_dynptr = dynptrs::submit[dynptr(1), u64(2)];
    ringbuf_discard_dynptr = dynptrs::discard[dynptr(1), u64(2)];
    skb_vlan_push = vlan::push[u32(2), u32(3)];
    skb_vlan_pop = vlan::pop[];
    skb_change_proto = room::change_proto[u32(2), u64(3)];
    skb_change_type = skb_state::change_type[u32(2)];
    skb_change_tail = room::change_tail[u32(2), u64(3)];
    skb_change_head = room::change_head[u32(2), u64(3)];
    skb_adjust_room = room::adjust_room[i32(2), u32(3), u64(4)];
    skb_ecn_set_ce = skb_state::ecn_set_ce[];
    skb_set_tstamp = skb_state::set_tstamp[u64(2), u32(3)];
    get_hash_recalc = skb_state::get_hash_recalc[];
    set_hash = skb_state::set_hash[u32(2)];
    set_hash_invalid = skb_state::set_hash_invalid[];
    csum_update = skb_state::csum_update[];
    csum_level = skb_state::csum_level[u64(2)];
    skb_no_number = skb_state::no_number[];
    skb_get_xfrm_state = skb_state::get_xfrm_state[out(3, 4)];
    get_socket_uid = skb_state::socket_uid[];
    skb_get_tunnel_key = tunnel::get_key[out(2, 3), u64(4)];
    skb_set_tunnel_key = tunnel::set_key[input(2, 3), u64(4)];
    skb_get_tunnel_opt = tunnel::get_options[out(2, 3)];
    skb_set_tunnel_opt = tunnel::set_options[input(2, 3)];
    clone_redirect = route::clone_redirect[u32(2), u64(3)];
    redirect_neigh = route::redirect_neigh[u32(1), input(2, 3), u64(4)];
    redirect_peer = route::redirect_peer[u32(1), u64(2)];
    fib_lookup = route::fib_lookup[out(2, 3), u32(4)];
    check_mtu = route::check_mtu[u32(2), fixed_out(3, 4), i32(4), u64(5)];
    sk_lookup_tcp = socket::lookup_tcp[input(2, 3), u64(4), u64(5)];
    sk_lookup_udp = socket::lookup_udp[input(2, 3), u64(4), u64(5)];
    skc_lookup_tcp = socket::lookup_any_tcp[input(2, 3), u64(4), u64(5)];
    sk_release = socket::release[];
    sk_fullsock = socket::full[u64(1)];
    tcp_sock = socket::tcp[u64(1)];
    get_listener_sock = socket::listener[u64(1)];
    sk_storage_get = storage::sk_get[map(1), u64(2), value_or_null(1, 3), u64(4)];
    sk_storage_delete = storage::sk_delete[map(1), u64(2)];
    current_task_under_cgroup = storage::task_under_cgroup[map(1), u32(2)];
    skb_under_cgroup = storage::packet_under_cgroup[];
    get_stackid = storage::get_stackid[map(2), u64(3)];
    user_ringbuf_drain = drain::step[map(1), u64(2), fixed_out(3, 24), u64(4), dynptr_behind(3, 8)];
    sk_assign = socket::assign[u64(2), u64(3)];
    tcp_check_syncookie = cookie::check[u64(1), input(2, 3), input(4, 5)];
    tcp_gen_syncookie = cookie::generate[u64(1), input(2, 3), input(4, 5)];
    tcp_raw_gen_syncookie_ipv4 = cookie::raw_generate_v4[fixed_in(1, 20), input(2, 3)];
    tcp_raw_gen_syncookie_ipv6 = cookie::raw_generate_v6[fixed_in(1, 40), input(2, 3)];
    tcp_raw_check_syncookie_ipv4 = cookie::raw_check_v4[fixed_in(1, 20), fixed_in(2, 20)];
    tcp_raw_check_syncookie_ipv6 = cookie::raw_check_v6[fixed_in(1, 40), fixed_in(2, 20)];
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
    cx.probe.set_floor(std::ptr::from_ref(&here).expose_provenance() as u64);
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

/// `bpf_get_current_task`: traps where nobody knows the task.
///
/// # Safety
/// INV-8: the registers satisfy the helper's prototype.
pub(super) unsafe extern "C" fn get_current_task(
    cx: &ExecContext<'_>,
    _r1: u64,
    _r2: u64,
    _r3: u64,
    _r4: u64,
    _r5: u64,
) -> u64 {
    let task = guard(cx, || task::current_task(cx));
    match TrapKind::from_code(cx.trap.get()) {
        None => task,
        Some(kind) => trap(cx, kind),
    }
}

/// [`packet_load`](super::packet_load) as generated code calls it: r1 is the offset, r2 the size.
pub const PACKET_LOAD: HelperFn = packet_load;

/// One step over a map for `bpf_for_each_map_elem`, as generated code calls it: r1 is the map, r2 the cursor (0 at
/// first), r3 points to [`MAP_CURSOR_BYTES`](super::MAP_CURSOR_BYTES). Gives the address of the value, 0 at the end.
pub const MAP_ITERATE: HelperFn = map_iterate;

/// One step of `bpf_user_ringbuf_drain` for engines that call no native code: see [`DRAIN_BYTES`](super::DRAIN_BYTES),
/// of which `out` has as many.
pub fn drain_step(cx: &ExecContext<'_>, map: &dyn Map, count: u64, out: BytesMut<'_>, flags: u64) -> u64 {
    let place = out.part(8, dynptrs::SIZE);
    // SAFETY: INV-8: a step makes no view of the dynptr's memory, so whatever stands there is as good.
    let dynptr = unsafe { DynptrAt::new(place) };
    drain::step(cx, map, count, out, flags, dynptr)
}

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
