//! Helpers that read memory at any address, and stacks.
//!
//! Memory of the program itself (its stack, packet, maps) stands for kernel memory, as it is in the kernel; all else is
//! the environment's to read. No address faults.
#![forbid(unsafe_code)]

use super::errno::{EFAULT, EINVAL, ERANGE};
use super::shim::peek;
use crate::abi::ExecContext;
use crate::environment::Unreadable;
use crate::mem::BytesMut;

/// Whose memory it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    User,
    Kernel,
}

/// Bytes copied at a time.
const PIECE: usize = 256;

/// User space ends here on x86-64 (a page before the half ends).
const USER_END: u64 = (1 << 47) - 4096;
/// Kernel space begins here.
const KERNEL_START: u64 = 0xffff_8000_0000_0000;

fn copy(cx: &ExecContext<'_>, space: Space, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
    let own = peek(cx, address, into);
    match space {
        Space::Kernel if own == into.len() => Ok(()),
        Space::Kernel => cx.environment.read_kernel(address, into),
        Space::User if own > 0 => Err(Unreadable),
        Space::User => cx.environment.read_user(address, into),
    }
}

/// As many bytes of kernel memory at an address as can be read.
pub(super) fn kernel_bytes(cx: &ExecContext<'_>, address: u64, into: &mut [u8]) -> usize {
    let own = peek(cx, address, into);
    if own > 0 {
        return own;
    }
    let readable =
        (1..=into.len()).rev().find(|&len| cx.environment.read_kernel(address, &mut into[..len]).is_ok());
    readable.unwrap_or(0)
}

/// Why there is none.
pub(super) fn kernel_refusal(address: u64) -> i32 {
    refusal(Space::Kernel, address) as i32 // an error number
}

fn read_space(cx: &ExecContext<'_>, space: Space, into: BytesMut<'_>, address: u64) -> i64 {
    let mut piece = [0; PIECE];
    let mut at = 0;
    while at < into.len() {
        let piece = &mut piece[..(into.len() - at).min(PIECE as u64) as usize];
        if copy(cx, space, address.wrapping_add(at), piece).is_err() {
            into.fill(0);
            return refusal(space, address);
        }
        into.write(at, piece);
        at += piece.len() as u64;
    }
    // Nothing was looked at; the kernel looks at the address all the same.
    match space {
        Space::User if into.is_empty() && address > USER_END => EFAULT,
        Space::Kernel if into.is_empty() && address < KERNEL_START && peek(cx, address, &mut [0]) == 0 => {
            ERANGE
        }
        Space::User | Space::Kernel => 0,
    }
}

/// Why memory cannot be read: addresses that no kernel memory has are refused before anything else.
fn refusal(space: Space, address: u64) -> i64 {
    let kernel_half = address >= KERNEL_START;
    if space == Space::Kernel && !kernel_half { ERANGE } else { EFAULT }
}

/// A string and its end: how many bytes, or why not. What is behind it stays as it is.
fn read_string(cx: &ExecContext<'_>, space: Space, into: BytesMut<'_>, address: u64) -> i64 {
    let mut at = 0;
    while at < into.len() {
        let mut byte = [0];
        if copy(cx, space, address.wrapping_add(at), &mut byte).is_err() {
            into.fill(0);
            return refusal(space, address);
        }
        if at + 1 == into.len() {
            byte = [0];
        }
        into.write(at, &byte);
        at += 1;
        if byte == [0] {
            return at as i64;
        }
    }
    0
}

/// Whose memory the old helpers read.
fn space_of(address: u64) -> Space {
    if address < USER_END { Space::User } else { Space::Kernel }
}

/// The program's own memory lies in user space here, and in the kernel there.
fn old_space(cx: &ExecContext<'_>, address: u64) -> Space {
    let mut byte = [0];
    if peek(cx, address, &mut byte) == 1 { Space::Kernel } else { space_of(address) }
}

pub(super) fn read(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_space(cx, old_space(cx, address), into, address)
}

pub(super) fn read_str(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_string(cx, old_space(cx, address), into, address)
}

pub(super) fn read_user(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_space(cx, Space::User, into, address)
}

pub(super) fn read_user_str(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_string(cx, Space::User, into, address)
}

pub(super) fn read_kernel(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_space(cx, Space::Kernel, into, address)
}

pub(super) fn read_kernel_str(cx: &ExecContext<'_>, into: BytesMut<'_>, address: u64) -> i64 {
    read_string(cx, Space::Kernel, into, address)
}

/// `BPF_F_SKIP_FIELD_MASK`
pub(super) const SKIP: u64 = 0xff;
/// `BPF_F_USER_STACK`
pub(super) const USER_STACK: u64 = 1 << 8;
/// `BPF_F_USER_BUILD_ID`
const BUILD_ID: u64 = 1 << 11;
/// Most frames of a stack (`PERF_MAX_STACK_DEPTH`).
pub(super) const FRAMES: usize = 127;

pub(super) fn get_stack(cx: &ExecContext<'_>, into: BytesMut<'_>, flags: u64) -> i64 {
    let fail = |errno| {
        into.fill(0);
        errno
    };
    if flags & !(SKIP | USER_STACK | BUILD_ID) != 0 || flags & BUILD_ID != 0 {
        return fail(EINVAL);
    }
    if !into.len().is_multiple_of(8) {
        return fail(EINVAL);
    }
    let mut frames = [0; FRAMES + SKIP as usize];
    let Some(found) = cx.environment.stack(flags & USER_STACK != 0, &mut frames) else {
        return fail(EFAULT);
    };
    let skip = (flags & SKIP) as usize;
    let frames = &frames[..found.min(frames.len())];
    let Some(frames) = frames.get(skip..) else { return fail(EFAULT) };
    let count = frames.len().min(FRAMES).min((into.len() / 8) as usize);
    for (i, frame) in (0..).zip(&frames[..count]) {
        into.write(8 * i, &frame.to_ne_bytes());
    }
    let used = 8 * count as u64;
    into.part(used, into.len() - used).fill(0);
    used as i64
}
