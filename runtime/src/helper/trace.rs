//! Helpers that print.
#![forbid(unsafe_code)]

use super::errno::EINVAL;
use super::format::{self, Output};
use super::shim::peek;
use crate::abi::ExecContext;
use crate::mem::{Bytes, BytesMut};

/// Longest line, its end included (`MAX_TRACE_PRINTK_BUF`).
const LINE: usize = 1024;
/// Most arguments of the helpers that take an array.
const ARGUMENTS: usize = 12;
/// Longest format string that is copied; the kernel has no limit of its own, a map value does.
const FORMAT: usize = 4096;

/// Prints `format` into `out`; the number of bytes, or a negative error number.
fn print(
    cx: &ExecContext<'_>,
    format: Bytes<'_>,
    arguments: &[u64],
    out: &mut Output<'_>,
) -> Result<i64, i64> {
    let mut copy = [0; FORMAT];
    let len = format.len().min(FORMAT as u64);
    let copy = &mut copy[..len as usize];
    format.part(0, len).read(0, copy);
    format::print(copy, arguments, &|address, into| peek(cx, address, into), out)?;
    Ok(out.written() as i64)
}

fn trace(cx: &ExecContext<'_>, format: Bytes<'_>, arguments: &[u64]) -> i64 {
    let mut line = [0; LINE];
    let mut out = Output::new(&mut line);
    let len = match print(cx, format, arguments, &mut out) {
        Ok(len) => len,
        Err(errno) => return errno,
    };
    let shown = &line[..(len as usize).min(LINE - 1)];
    cx.environment.trace(&String::from_utf8_lossy(shown));
    len
}

pub(super) fn printk(cx: &ExecContext<'_>, format: Bytes<'_>, a: u64, b: u64, c: u64) -> i64 {
    trace(cx, format, &[a, b, c])
}

/// The arguments of an array of words.
fn words(args: Bytes<'_>, buffer: &mut [u64; ARGUMENTS]) -> Option<usize> {
    let count = usize::try_from(args.len() / 8).ok().filter(|&count| count <= ARGUMENTS)?;
    if !args.len().is_multiple_of(8) {
        return None;
    }
    for (i, word) in buffer.iter_mut().take(count).enumerate() {
        *word = u64::from_le_bytes(args.array(8 * i as u64));
    }
    Some(count)
}

pub(super) fn vprintk(cx: &ExecContext<'_>, format: Bytes<'_>, args: Bytes<'_>) -> i64 {
    let mut buffer = [0; ARGUMENTS];
    let Some(count) = words(args, &mut buffer) else { return EINVAL };
    trace(cx, format, &buffer[..count])
}

pub(super) fn snprintf(cx: &ExecContext<'_>, into: BytesMut<'_>, format: Bytes<'_>, args: Bytes<'_>) -> i64 {
    let mut buffer = [0; ARGUMENTS];
    let Some(count) = words(args, &mut buffer) else { return EINVAL };
    let mut line = [0; LINE];
    let mut out = Output::new(&mut line);
    let len = match print(cx, format, &buffer[..count], &mut out) {
        Ok(len) => len,
        Err(errno) => return errno,
    };
    // As much as fits with a zero byte behind it; the result counts all of it.
    if let Some(room) = into.len().checked_sub(1) {
        let shown = (len as u64).min(room).min(LINE as u64 - 1);
        into.write(0, &line[..shown as usize]);
        into.write(shown, &[0]);
    }
    len + 1
}
