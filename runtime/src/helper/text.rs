//! Kernel functions on strings at any address.
//!
//! They read memory as `bpf_probe_read_kernel` does: the program's own stands for kernel memory, nothing faults. Results
//! and error numbers are the kernel's, which are those of an `int`.
#![forbid(unsafe_code)]

use super::probe;
use crate::abi::ExecContext;

/// Bytes of the longest string that is looked at (`XATTR_SIZE_MAX`).
const LONGEST: u64 = 65536;
/// Bytes read at a time.
const PIECE: usize = 64;

const ENOENT: i32 = -2;
const E2BIG: i32 = -7;
const EFAULT: i32 = -14;

/// A string that is read piece by piece.
struct Text<'a> {
    cx: &'a ExecContext<'a>,
    address: u64,
    /// Number of the first byte in `piece`.
    start: u64,
    len: usize,
    piece: [u8; PIECE],
}

impl<'a> Text<'a> {
    /// The string at an address whose first byte can be read.
    fn new(cx: &'a ExecContext<'a>, address: u64) -> Result<Self, i32> {
        let mut text = Self { cx, address, start: 0, len: 0, piece: [0; PIECE] };
        text.fill(0).map_err(|_| probe::kernel_refusal(address))?;
        Ok(text)
    }

    fn fill(&mut self, at: u64) -> Result<(), i32> {
        self.start = at;
        self.len = probe::kernel_bytes(self.cx, self.address.wrapping_add(at), &mut self.piece);
        if self.len == 0 { Err(EFAULT) } else { Ok(()) }
    }

    fn byte(&mut self, at: u64) -> Result<u8, i32> {
        let inside = at >= self.start && at - self.start < self.len as u64;
        if !inside {
            self.fill(at)?;
        }
        Ok(self.piece[(at - self.start) as usize])
    }
}

fn result(found: Result<i32, i32>) -> i32 {
    found.unwrap_or_else(|error| error)
}

/// Below 65,536.
fn index(at: u64) -> i32 {
    at as i32
}

fn compare(cx: &ExecContext<'_>, one: u64, two: u64, same: impl Fn(u8) -> u8) -> Result<i32, i32> {
    let (mut one, mut two) = (Text::new(cx, one)?, Text::new(cx, two)?);
    for at in 0..LONGEST {
        let (a, b) = (same(one.byte(at)?), same(two.byte(at)?));
        if a != b {
            return Ok(if a < b { -1 } else { 1 });
        }
        if a == 0 {
            return Ok(0);
        }
    }
    Err(E2BIG)
}

pub(super) fn strcmp(cx: &ExecContext<'_>, one: u64, two: u64) -> i32 {
    result(compare(cx, one, two, |byte| byte))
}

pub(super) fn strcasecmp(cx: &ExecContext<'_>, one: u64, two: u64) -> i32 {
    result(compare(cx, one, two, lower))
}

/// The kernel's letters are those of ISO 8859-1.
fn lower(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 32,
        _ => byte,
    }
}

fn find(cx: &ExecContext<'_>, text: u64, count: u64, wanted: u8) -> Result<i32, i32> {
    let mut text = Text::new(cx, text)?;
    for at in 0..count.min(LONGEST) {
        let byte = text.byte(at)?;
        if byte == wanted {
            return Ok(index(at));
        }
        if byte == 0 {
            return Err(ENOENT);
        }
    }
    Err(if count >= LONGEST { E2BIG } else { ENOENT })
}

pub(super) fn strchr(cx: &ExecContext<'_>, text: u64, wanted: u32) -> i32 {
    result(find(cx, text, LONGEST, wanted as u8))
}

pub(super) fn strnchr(cx: &ExecContext<'_>, text: u64, count: u64, wanted: u32) -> i32 {
    result(find(cx, text, count, wanted as u8))
}

pub(super) fn strchrnul(cx: &ExecContext<'_>, text: u64, wanted: u32) -> i32 {
    let find = || {
        let mut text = Text::new(cx, text)?;
        for at in 0..LONGEST {
            let byte = text.byte(at)?;
            if byte == 0 || byte == wanted as u8 {
                return Ok(index(at));
            }
        }
        Err(E2BIG)
    };
    result(find())
}

pub(super) fn strrchr(cx: &ExecContext<'_>, text: u64, wanted: u32) -> i32 {
    let find = || {
        let mut text = Text::new(cx, text)?;
        let mut last = ENOENT;
        for at in 0..LONGEST {
            let byte = text.byte(at)?;
            if byte == wanted as u8 {
                last = index(at);
            }
            if byte == 0 {
                return Ok(last);
            }
        }
        Err(E2BIG)
    };
    result(find())
}

fn length(cx: &ExecContext<'_>, text: u64, count: u64) -> Result<i32, i32> {
    let mut text = Text::new(cx, text)?;
    let most = count.min(LONGEST);
    for at in 0..most {
        if text.byte(at)? == 0 {
            return Ok(index(at));
        }
    }
    if most == LONGEST { Err(E2BIG) } else { Ok(index(most)) }
}

pub(super) fn strlen(cx: &ExecContext<'_>, text: u64) -> i32 {
    result(length(cx, text, LONGEST))
}

pub(super) fn strnlen(cx: &ExecContext<'_>, text: u64, count: u64) -> i32 {
    result(length(cx, text, count))
}

/// Bytes at the start of a string that are (or are not) among others.
fn span(cx: &ExecContext<'_>, text: u64, set: u64, among: bool) -> Result<i32, i32> {
    let (mut text, mut set) = (Text::new(cx, text)?, Text::new(cx, set)?);
    for at in 0..LONGEST {
        let byte = text.byte(at)?;
        if byte == 0 {
            return Ok(index(at));
        }
        let mut other = 0;
        let found = loop {
            if other == LONGEST {
                return Err(E2BIG);
            }
            let member = set.byte(other)?;
            if member == byte || member == 0 {
                break member == byte;
            }
            other += 1;
        };
        if found != among {
            return Ok(index(at));
        }
    }
    Err(E2BIG)
}

pub(super) fn strspn(cx: &ExecContext<'_>, text: u64, accepted: u64) -> i32 {
    result(span(cx, text, accepted, true))
}

pub(super) fn strcspn(cx: &ExecContext<'_>, text: u64, rejected: u64) -> i32 {
    result(span(cx, text, rejected, false))
}

/// Where a string begins inside the first bytes of another.
fn search(cx: &ExecContext<'_>, text: u64, wanted: u64, len: u64) -> Result<i32, i32> {
    let (mut text, mut wanted) = (Text::new(cx, text)?, Text::new(cx, wanted)?);
    for at in 0..LONGEST {
        let mut other = 0;
        while at + other <= len && other < LONGEST {
            let member = wanted.byte(other)?;
            if member == 0 {
                return Ok(index(at));
            }
            // The end of the wanted string may lie one byte further than the text may be read.
            if at + other == len {
                break;
            }
            let byte = text.byte(at + other)?;
            if byte == 0 {
                return Err(ENOENT);
            }
            if byte != member {
                break;
            }
            other += 1;
        }
        if other == LONGEST {
            return Err(E2BIG);
        }
        if at + other == len {
            return Err(ENOENT);
        }
    }
    Err(E2BIG)
}

pub(super) fn strstr(cx: &ExecContext<'_>, text: u64, wanted: u64) -> i32 {
    result(search(cx, text, wanted, LONGEST))
}

pub(super) fn strnstr(cx: &ExecContext<'_>, text: u64, wanted: u64, len: u64) -> i32 {
    result(search(cx, text, wanted, len))
}
