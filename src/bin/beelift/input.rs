//! Inputs of a run: packets and contexts from hex, files, captures and vector files.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::capture::{self, CaptureError, Frame};
use crate::failure::Failure;

/// One input of a program.
#[derive(Default)]
pub(crate) struct Input {
    /// Name in the output.
    pub(crate) name: String,
    /// Packet (or buffer) bytes.
    pub(crate) packet: Option<Vec<u8>>,
    /// UAPI context bytes.
    pub(crate) context: Option<Vec<u8>>,
    /// Time of capture.
    pub(crate) timestamp: Duration,
}

/// Offset and bytes of a field of the context, from its name and a value.
pub(crate) type ContextField<'a> = &'a dyn Fn(&str, &str) -> Result<(usize, Vec<u8>), Failure>;

/// Inputs by the options that name them.
pub(crate) struct Sources<'a> {
    pub(crate) packet: Option<&'a str>,
    pub(crate) pcap: Option<&'a Path>,
    pub(crate) context: Option<&'a str>,
    pub(crate) vectors: Option<&'a Path>,
}

impl Sources<'_> {
    /// All inputs, in order. Without any option: none.
    pub(crate) fn read(&self, context_field: ContextField<'_>) -> Result<Vec<Input>, Failure> {
        let context = self.context.map(|text| parse_context(text, context_field)).transpose()?;
        if let Some(path) = self.vectors {
            if self.packet.is_some() || self.pcap.is_some() {
                return Err(Failure::usage("--vectors names the packets: leave out --packet and --pcap"));
            }
            return read_vectors(path, context.as_deref());
        }
        if let Some(path) = self.pcap {
            if self.packet.is_some() {
                return Err(Failure::usage("--packet and --pcap exclude each other"));
            }
            let frames = frames(path)?;
            let inputs = frames.into_iter().enumerate().map(|(index, frame)| Input {
                name: format!("packet {}", index + 1),
                packet: Some(frame.bytes),
                context: context.clone(),
                timestamp: frame.timestamp,
            });
            return Ok(inputs.collect());
        }
        let packet = self.packet.map(hex_or_file).transpose()?;
        if packet.is_none() && context.is_none() {
            return Ok(Vec::new());
        }
        Ok(vec![Input { name: "input".to_owned(), packet, context, timestamp: Duration::ZERO }])
    }
}

/// Frames of a capture file.
fn frames(path: &Path) -> Result<Vec<Frame>, Failure> {
    let file = File::open(path).map_err(|error| Failure::failure(error).at(path.display()))?;
    capture::read(file).map_err(|error| about_capture(path, &error))
}

/// What is wrong with a capture, for a person.
pub(crate) fn about_capture(path: &Path, error: &CaptureError) -> Failure {
    let place = error.place().map_or_else(String::new, |place| format!(": {place}"));
    let failure = Failure::failure(error).at(format!("{}{place}", path.display()));
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// `HEX` or `@FILE`.
pub(crate) fn hex_or_file(text: &str) -> Result<Vec<u8>, Failure> {
    match text.strip_prefix('@') {
        Some(path) => std::fs::read(path).map_err(|error| Failure::failure(error).at(path)),
        None => from_hex(text),
    }
}

/// `HEX`, `@FILE` or `FIELD=VALUE,…`.
fn parse_context(text: &str, field: ContextField<'_>) -> Result<Vec<u8>, Failure> {
    if !text.contains('=') {
        return hex_or_file(text);
    }
    let mut bytes = Vec::new();
    for assignment in text.split(',') {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Failure::usage(format!("`{assignment}` is no FIELD=VALUE")));
        };
        let (offset, value) = field(name.trim(), value.trim())?;
        let end = offset + value.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(&value);
    }
    Ok(bytes)
}

/// One input a line: `name packet-hex|- context-hex|-`; `#` starts a comment.
fn read_vectors(path: &Path, context: Option<&[u8]>) -> Result<Vec<Input>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::failure(error).at(path.display()))?;
    let mut inputs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = format!("{}:{}", path.display(), number + 1);
        let part = |word: Option<&&str>| match word {
            None | Some(&"-") => Ok(None),
            Some(hex) => from_hex(hex).map(Some).map_err(|failure| failure.at(&place)),
        };
        match words.as_slice() {
            [] => {}
            [name, rest @ ..] if rest.len() <= 2 => inputs.push(Input {
                name: (*name).to_owned(),
                packet: part(rest.first())?,
                context: part(rest.get(1))?.or_else(|| context.map(<[u8]>::to_vec)),
                timestamp: Duration::ZERO,
            }),
            _ => {
                return Err(
                    Failure::failure("a line holds a name, a packet and a context, not more").at(place)
                );
            }
        }
    }
    Ok(inputs)
}

/// Longest run of one byte that `XX*N` stands for.
const LONGEST_RUN: usize = 1 << 20;

/// Bytes from hexadecimal digits; blanks, colons and a leading `0x` are let through. `XX*N` is a byte N times, and
/// `,` goes on behind it.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, Failure> {
    if !text.contains('*') {
        return from_digits(text);
    }
    let mut bytes = Vec::new();
    for part in text.split(',') {
        let Some((digits, count)) = part.split_once('*') else {
            bytes.extend(from_digits(part)?);
            continue;
        };
        let digits = from_digits(digits)?;
        let (Some((last, before)), Ok(count)) = (digits.split_last(), count.trim().parse::<usize>()) else {
            return Err(Failure::failure(format!("`{part}` is no byte and its number"))
                .hint("`00*64` is 64 bytes of zeros"));
        };
        if count > LONGEST_RUN {
            return Err(Failure::failure(format!("{count} times a byte"))
                .hint(format!("{LONGEST_RUN} times at most")));
        }
        bytes.extend_from_slice(before);
        bytes.extend(std::iter::repeat_n(*last, count));
    }
    Ok(bytes)
}

fn from_digits(text: &str) -> Result<Vec<u8>, Failure> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let mut digits = Vec::with_capacity(text.len());
    for (index, letter) in text.chars().enumerate() {
        match letter.to_digit(16) {
            Some(digit) => digits.push(digit as u8),
            None if letter.is_whitespace() || letter == ':' => {}
            None => {
                return Err(Failure::failure(format!("`{letter}` at {index} is no hexadecimal digit"))
                    .hint("write bytes as pairs of digits, or @FILE for a file"));
            }
        }
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::failure(format!("{} hexadecimal digits: the last byte is half", digits.len())));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Digits as `from_hex` reads them, with long runs of one byte as `XX*N`.
pub(crate) fn to_short_hex(bytes: &[u8]) -> String {
    const WORTH_IT: usize = 24;
    let mut parts: Vec<String> = Vec::new();
    let mut plain = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        if run.len() >= WORTH_IT {
            parts.push(format!("{plain}{:02x}*{}", run[0], run.len()));
            plain.clear();
        } else {
            plain += &to_hex(run);
        }
    }
    if !plain.is_empty() || parts.is_empty() {
        parts.push(plain);
    }
    parts.join(",")
}

/// Lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_byte_are_read_as_they_are_written() {
        for bytes in
            [vec![], vec![7], vec![0; 100], [&[1, 2][..], &[0; 30], &[3], &[9; 24], &[4; 23]].concat()]
        {
            assert_eq!(from_hex(&to_short_hex(&bytes)).expect("digits"), bytes);
        }
        assert_eq!(to_short_hex(&[&[1][..], &[0; 30], &[3]].concat()), "0100*30,03");
        assert!(from_hex("*3").is_err() && from_hex("00*x").is_err() && from_hex("00*9999999").is_err());
    }
}
