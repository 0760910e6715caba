//! String helpers: numbers out of text, comparison.
#![forbid(unsafe_code)]

use super::errno::{EINVAL, ERANGE};
use crate::abi::ExecContext;
use crate::mem::{Bytes, BytesMut};

/// Longest text that is looked at; digits of a 64-bit number and their prefix fit many times.
const TEXT: usize = 64;

/// A number with its sign, and how many bytes it took.
struct Parsed {
    negative: bool,
    magnitude: u64,
    used: i64,
}

/// The number at the start of `text`: white space, a sign, a prefix, digits. `flags` is the base, or 0 to tell it
/// from the prefix.
fn parse(text: Bytes<'_>, flags: u64) -> Result<Parsed, i64> {
    let base = match flags {
        0 | 8 | 10 | 16 => flags,
        _ => return Err(EINVAL),
    };
    let at = |i: u64| if i < text.len() { text.byte(i) } else { 0 };
    let mut i = 0;
    while matches!(at(i), b' ' | b'\t'..=b'\r' | 0xa0) {
        i += 1;
    }
    let negative = at(i) == b'-';
    if negative {
        i += 1;
    }
    // The kernel copies what is left into a buffer of its own before it looks for digits.
    let end = text.len().min(i + TEXT as u64 - 1);
    let hex_prefix = at(i) == b'0' && matches!(at(i + 1), b'x' | b'X');
    let base = match base {
        0 if hex_prefix && at(i + 2).is_ascii_hexdigit() => 16,
        0 if at(i) == b'0' => 8,
        0 => 10,
        given => given,
    };
    if base == 16 && hex_prefix {
        i += 2;
    }
    let first = i;
    let mut magnitude: u64 = 0;
    while i < end
        && let Some(digit) = char::from(at(i)).to_digit(base as u32)
    {
        magnitude = magnitude
            .checked_mul(base)
            .and_then(|scaled| scaled.checked_add(u64::from(digit)))
            .ok_or(ERANGE)?;
        i += 1;
    }
    if i == first {
        return Err(EINVAL);
    }
    Ok(Parsed { negative, magnitude, used: i as i64 })
}

pub(super) fn strtol(_cx: &ExecContext<'_>, text: Bytes<'_>, flags: u64, into: BytesMut<'_>) -> i64 {
    into.fill(0);
    let parsed = match parse(text, flags) {
        Ok(parsed) => parsed,
        Err(errno) => return errno,
    };
    let limit = i64::MAX.cast_unsigned() + u64::from(parsed.negative);
    if parsed.magnitude > limit {
        return ERANGE;
    }
    let value = if parsed.negative { parsed.magnitude.wrapping_neg() } else { parsed.magnitude };
    into.write(0, &value.to_le_bytes());
    parsed.used
}

pub(super) fn strtoul(_cx: &ExecContext<'_>, text: Bytes<'_>, flags: u64, into: BytesMut<'_>) -> i64 {
    into.fill(0);
    match parse(text, flags) {
        Ok(parsed) if parsed.negative => EINVAL,
        Ok(parsed) => {
            into.write(0, &parsed.magnitude.to_le_bytes());
            parsed.used
        }
        Err(errno) => errno,
    }
}

pub(super) fn strncmp(_cx: &ExecContext<'_>, first: Bytes<'_>, second: Bytes<'_>) -> i64 {
    for i in 0..first.len() {
        let other = if i < second.len() { second.byte(i) } else { 0 };
        let byte = first.byte(i);
        if byte != other {
            return if byte < other { -1 } else { 1 };
        }
        if byte == 0 {
            break;
        }
    }
    0
}
