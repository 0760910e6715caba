//! The kernel's format strings: `bpf_trace_printk`, `bpf_trace_vprintk`, `bpf_snprintf`.
//!
//! Pure: bytes, numbers and a way to look at memory in; bytes out. Conversions are those that the kernel lets
//! programs use; what needs the kernel's symbols (`%ps`, `%pS`, `%pB`) prints the number.
#![forbid(unsafe_code)]

use super::errno::{EINVAL, ENOSPC};

/// Bytes the kernel has for strings and addresses that it copies before printing.
const COPIES: usize = 512;
/// Widest field.
const WIDEST: usize = 1 << 20;

/// Copies up to `into.len()` bytes from an address; the number of bytes that could be read.
pub(super) type Peek<'a> = &'a dyn Fn(u64, &mut [u8]) -> usize;

/// Where output goes: as much as fits, and a count of all of it.
pub(super) struct Output<'a> {
    buffer: &'a mut [u8],
    written: usize,
}

impl<'a> Output<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    /// Bytes that were printed, whether they fit or not.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.written) {
            *place = byte;
        }
        self.written += 1;
    }

    fn repeat(&mut self, byte: u8, count: usize) {
        for _ in 0..count.min(WIDEST) {
            self.byte(byte);
        }
    }

    /// `text` in a field: blanks before it, or behind it if aligned to the left.
    fn field(&mut self, text: &[u8], spec: &Spec) {
        let padding = spec.width.saturating_sub(text.len());
        if !spec.left {
            self.repeat(b' ', padding);
        }
        for &byte in text {
            self.byte(byte);
        }
        if spec.left {
            self.repeat(b' ', padding);
        }
    }
}

/// Flags and width of one conversion.
#[derive(Clone, Copy, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    width: usize,
}

/// One conversion.
enum Conversion {
    Char,
    String,
    Signed(Length),
    Unsigned(Length),
    Hex(Length, Case),
    Pointer,
    /// `%ps` and its like.
    Symbol,
    Ip4 {
        zeros: bool,
    },
    Ip6 {
        colons: bool,
    },
}

#[derive(Clone, Copy)]
enum Length {
    Int,
    Long,
}

#[derive(Clone, Copy)]
enum Case {
    Lower,
    Upper,
}

/// Prints `format` (up to its first zero byte) with `arguments`.
///
/// # Errors
/// Negative error numbers, as the kernel's.
pub(super) fn print(
    format: &[u8],
    arguments: &[u64],
    peek: Peek<'_>,
    out: &mut Output<'_>,
) -> Result<(), i64> {
    let end = format.iter().position(|&byte| byte == 0).ok_or(EINVAL)?;
    let format = &format[..end];
    // The kernel looks at the whole string before it prints any of it.
    conversions(format).filter(|&wanted| wanted <= arguments.len()).ok_or(EINVAL)?;
    let mut arguments = arguments.iter();
    let mut copies = COPIES;
    let mut rest = format;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.byte(byte);
            continue;
        }
        if let Some(tail) = rest.strip_prefix(b"%") {
            out.byte(b'%');
            rest = tail;
            continue;
        }
        let (spec, conversion, tail) = conversion(rest)?;
        rest = tail;
        let value = *arguments.next().ok_or(EINVAL)?;
        argument(value, &spec, &conversion, peek, &mut copies, out)?;
    }
    Ok(())
}

/// How many arguments a format takes; `None` if a byte or conversion is not allowed.
#[must_use]
pub fn conversions(format: &[u8]) -> Option<usize> {
    let mut count = 0;
    let mut rest = format;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        // Bytes of UTF-8 pass, control characters do not.
        let printable = !byte.is_ascii_control() || is_space(byte);
        if !printable {
            return None;
        }
        if byte != b'%' {
            continue;
        }
        if let Some(tail) = rest.strip_prefix(b"%") {
            rest = tail;
            continue;
        }
        count += 1;
        (_, _, rest) = conversion(rest).ok()?;
    }
    Some(count)
}

/// The conversion behind a `%`, and what follows it.
fn conversion(text: &[u8]) -> Result<(Spec, Conversion, &[u8]), i64> {
    let mut spec = Spec::default();
    let mut rest = text;
    while let Some((&flag, tail)) = rest.split_first() {
        match flag {
            b'0' => spec.zero = true,
            b'+' => spec.plus = true,
            b'-' => spec.left = true,
            b' ' => spec.space = true,
            _ => break,
        }
        rest = tail;
    }
    while let Some((&digit @ b'0'..=b'9', tail)) = rest.split_first() {
        spec.width = (spec.width * 10 + usize::from(digit - b'0')).min(WIDEST);
        rest = tail;
    }
    let (&kind, tail) = rest.split_first().ok_or(EINVAL)?;
    match kind {
        b'p' => pointer(tail).map(|(conversion, tail)| (spec, conversion, tail)),
        b's' => ends_word(tail).then_some((spec, Conversion::String, tail)).ok_or(EINVAL),
        b'c' => Ok((spec, Conversion::Char, tail)),
        _ => {
            let (length, rest) = match rest {
                [b'l', b'l', tail @ ..] | [b'l', tail @ ..] => (Length::Long, tail),
                _ => (Length::Int, rest),
            };
            let (&kind, tail) = rest.split_first().ok_or(EINVAL)?;
            let conversion = match kind {
                b'd' | b'i' => Conversion::Signed(length),
                b'u' => Conversion::Unsigned(length),
                b'x' => Conversion::Hex(length, Case::Lower),
                b'X' => Conversion::Hex(length, Case::Upper),
                _ => return Err(EINVAL),
            };
            Ok((spec, conversion, tail))
        }
    }
}

/// What follows `%p`.
fn pointer(tail: &[u8]) -> Result<(Conversion, &[u8]), i64> {
    if ends_word(tail) {
        return Ok((Conversion::Pointer, tail));
    }
    match tail {
        [b'k' | b'u', b's', tail @ ..] if ends_word(tail) => Ok((Conversion::String, tail)),
        [b'k' | b'u', b's', ..] => Err(EINVAL),
        [b'K' | b'x', tail @ ..] => Ok((Conversion::Pointer, tail)),
        [b's' | b'S' | b'B', tail @ ..] => Ok((Conversion::Symbol, tail)),
        [b'i', b'4', tail @ ..] => Ok((Conversion::Ip4 { zeros: true }, tail)),
        [b'I', b'4', tail @ ..] => Ok((Conversion::Ip4 { zeros: false }, tail)),
        [b'i', b'6', tail @ ..] => Ok((Conversion::Ip6 { colons: false }, tail)),
        [b'I', b'6', tail @ ..] => Ok((Conversion::Ip6 { colons: true }, tail)),
        _ => Err(EINVAL),
    }
}

/// Nothing, white space or punctuation follows.
fn ends_word(tail: &[u8]) -> bool {
    // The kernel's character table is Latin-1.
    const LATIN1: [u8; 2] = [0xd7, 0xf7];
    tail.first().is_none_or(|&byte| {
        is_space(byte) || byte.is_ascii_punctuation() || matches!(byte, 0xa0..=0xbf) || LATIN1.contains(&byte)
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Prints one argument.
fn argument(
    value: u64,
    spec: &Spec,
    conversion: &Conversion,
    peek: Peek<'_>,
    copies: &mut usize,
    out: &mut Output<'_>,
) -> Result<(), i64> {
    match *conversion {
        Conversion::Char => {
            take(copies, 1)?;
            out.field(&[value as u8], spec);
        }
        Conversion::String => {
            let mut text = [0; COPIES];
            let room = (*copies).min(COPIES);
            if room == 0 {
                return Err(ENOSPC);
            }
            let text = &mut text[..room];
            let read = peek(value, text);
            // Memory that cannot be read prints as nothing; a string too long is cut.
            let end = text[..read].iter().position(|&byte| byte == 0);
            let len = match end {
                Some(end) => end,
                None if read == room => room - 1,
                None => 0,
            };
            take(copies, len + 1)?;
            out.field(&text[..len], spec);
        }
        Conversion::Signed(length) => {
            take_number(copies, length)?;
            let value = match length {
                Length::Int => i64::from(value as i32),
                Length::Long => value.cast_signed(),
            };
            let sign = match value {
                ..0 => Some(b'-'),
                0.. if spec.plus => Some(b'+'),
                0.. if spec.space => Some(b' '),
                0.. => None,
            };
            number(value.unsigned_abs(), 10, sign, Case::Lower, spec, out);
        }
        Conversion::Unsigned(length) => {
            take_number(copies, length)?;
            number(cut(value, length), 10, None, Case::Lower, spec, out);
        }
        Conversion::Hex(length, case) => {
            take_number(copies, length)?;
            number(cut(value, length), 16, None, case, spec, out);
        }
        Conversion::Pointer => {
            take_number(copies, Length::Long)?;
            let spec = if spec.width == 0 { Spec { width: 16, zero: true, ..*spec } } else { *spec };
            number(value, 16, None, Case::Lower, &spec, out);
        }
        Conversion::Symbol => {
            take_number(copies, Length::Long)?;
            let mut digits = [0; 18];
            let mut text = Output::new(&mut digits);
            text.byte(b'0');
            text.byte(b'x');
            number(value, 16, None, Case::Lower, &Spec::default(), &mut text);
            let len = text.written();
            out.field(&digits[..len], spec);
        }
        Conversion::Ip4 { zeros } => {
            let address: [u8; 4] = look(value, peek, copies)?;
            let mut buffer = [0; 15];
            let mut text = Output::new(&mut buffer);
            for (i, byte) in address.into_iter().enumerate() {
                if i > 0 {
                    text.byte(b'.');
                }
                let digits =
                    if zeros { Spec { width: 3, zero: true, ..Spec::default() } } else { Spec::default() };
                number(u64::from(byte), 10, None, Case::Lower, &digits, &mut text);
            }
            // Widths are not applied to addresses: the kernel prints them before it looks at the width.
            let len = text.written();
            out.field(&buffer[..len], &Spec::default());
        }
        Conversion::Ip6 { colons } => {
            let address: [u8; 16] = look(value, peek, copies)?;
            let mut buffer = [0; 39];
            let mut text = Output::new(&mut buffer);
            for (i, pair) in address.chunks_exact(2).enumerate() {
                if colons && i > 0 {
                    text.byte(b':');
                }
                for byte in pair {
                    let digits = Spec { width: 2, zero: true, ..Spec::default() };
                    number(u64::from(*byte), 16, None, Case::Lower, &digits, &mut text);
                }
            }
            // Widths are not applied to addresses: the kernel prints them before it looks at the width.
            let len = text.written();
            out.field(&buffer[..len], &Spec::default());
        }
    }
    Ok(())
}

/// Copies an address out of memory; what cannot be read is zero.
fn look<const N: usize>(at: u64, peek: Peek<'_>, copies: &mut usize) -> Result<[u8; N], i64> {
    take(copies, N)?;
    let mut bytes = [0; N];
    if peek(at, &mut bytes) < N {
        bytes = [0; N];
    }
    Ok(bytes)
}

/// Uses up room for copies.
fn take(copies: &mut usize, len: usize) -> Result<(), i64> {
    *copies = copies.checked_sub(len).ok_or(ENOSPC)?;
    Ok(())
}

/// Numbers are kept aligned among the copies.
fn take_number(copies: &mut usize, length: Length) -> Result<(), i64> {
    let size = match length {
        Length::Int => 4,
        Length::Long => 8,
    };
    *copies -= *copies % size;
    take(copies, size)
}

fn cut(value: u64, length: Length) -> u64 {
    match length {
        Length::Int => u64::from(value as u32),
        Length::Long => value,
    }
}

/// Digits in a field, with a sign.
fn number(value: u64, base: u64, sign: Option<u8>, case: Case, spec: &Spec, out: &mut Output<'_>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = value;
    loop {
        let digit = (left % base) as u8;
        let letter = match case {
            Case::Lower => b'a',
            Case::Upper => b'A',
        };
        start -= 1;
        digits[start] = if digit < 10 { b'0' + digit } else { letter + digit - 10 };
        left /= base;
        if left == 0 {
            break;
        }
    }
    let digits = &digits[start..];
    let padding = spec.width.saturating_sub(digits.len() + usize::from(sign.is_some()));
    let zeros = spec.zero && !spec.left;
    if !spec.left && !zeros {
        out.repeat(b' ', padding);
    }
    if let Some(sign) = sign {
        out.byte(sign);
    }
    if zeros {
        out.repeat(b'0', padding);
    }
    for &digit in digits {
        out.byte(digit);
    }
    if spec.left {
        out.repeat(b' ', padding);
    }
}
