//! Bytes of keys, values and globals from JSON, by their BTF types: the way back of `btf::Value`.
//!
//! In: JSON, or a word of the command line. Out: bytes of exactly the size asked for. A string of as many hexadecimal
//! digits as the bytes have is these bytes; `hex:…` always is. Everything else is read by its type, and what
//! does not fit is an error that names the member, never cut.
#![forbid(unsafe_code)]

use serde_json::Value;

use beelift::btf::{Btf, Enumerators, IntEncoding, Kind, Members, TypeId};

use crate::failure::Failure;
use crate::input::from_hex;

/// Nested anonymous structures.
const DEEPEST: usize = 32;

/// What bytes are made for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// For messages: `key`, `value`.
    pub(crate) what: &'a str,
    /// Bytes wanted.
    pub(crate) size: usize,
    /// Types and the one of this value; without them only numbers and digits are understood.
    pub(crate) typed: Option<(&'a Btf, TypeId)>,
}

/// A word of the command line: JSON when it is some, else text.
pub(crate) fn word(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

impl Target<'_> {
    /// The bytes of a JSON value.
    pub(crate) fn bytes(&self, value: &Value) -> Result<Vec<u8>, Failure> {
        let failed = |failure: Failure| failure.about(self.what);
        if let Value::String(text) = value
            && let Some(bytes) = self.digits(text).map_err(failed)?
        {
            return Ok(bytes);
        }
        let mut bytes = vec![0; self.size];
        match self.typed.filter(|(_, id)| *id != TypeId::VOID) {
            Some((btf, id)) if btf.size_of(id) == Some(self.size as u64) => {
                write(btf, id, value, &mut bytes).map_err(failed)?;
            }
            Some(_) | None => untyped(value, &mut bytes).map_err(failed)?,
        }
        Ok(bytes)
    }

    /// Hexadecimal digits, when the text is meant that way.
    fn digits(&self, text: &str) -> Result<Option<Vec<u8>>, Failure> {
        let explicit = text.strip_prefix("hex:");
        let bytes = match explicit {
            Some(digits) => from_hex(digits)?,
            None => match from_hex(text) {
                Ok(bytes) if bytes.len() == self.size || self.typed.is_none() => bytes,
                Err(failure) if self.typed.is_none() => return Err(failure),
                Ok(_) | Err(_) => return Ok(None),
            },
        };
        if bytes.len() == self.size {
            return Ok(Some(bytes));
        }
        Err(Failure::failure(format!("{} bytes where there are {}", bytes.len(), self.size)))
    }
}

/// A number without a type.
fn untyped(value: &Value, bytes: &mut [u8]) -> Result<(), Failure> {
    let bits = bytes.len() as u32 * 8;
    match number(value) {
        Some(number) if matches!(bytes.len(), 1 | 2 | 4 | 8) => put(number, bits, Range::Any, 0, bytes),
        Some(_) | None => Err(Failure::failure(format!("{value} is no value of {} bytes", bytes.len()))
            .hint(format!("without types in the object: {} hexadecimal digits", 2 * bytes.len()))),
    }
}

fn write(btf: &Btf, id: TypeId, value: &Value, bytes: &mut [u8]) -> Result<(), Failure> {
    let wrong = || wrong(btf, id, value);
    if let Value::String(text) = value
        && let Some(digits) = text.strip_prefix("hex:")
    {
        let given = from_hex(digits)?;
        if given.len() != bytes.len() {
            return Err(Failure::failure(format!("{} bytes where there are {}", given.len(), bytes.len())));
        }
        bytes.copy_from_slice(&given);
        return Ok(());
    }
    match btf.type_at(btf.resolve(id)).kind {
        Kind::Int { bits, bit_offset, encoding, .. } => {
            let number = number(value).ok_or_else(wrong)?;
            put(number, bits, Range::of(encoding), bit_offset, bytes)
        }
        Kind::Ptr(_) => put(number(value).ok_or_else(wrong)?, 64, Range::Unsigned, 0, bytes),
        Kind::Enum(values) | Kind::Enum64(values) => {
            let number = enumerator(values, value).ok_or_else(|| one_of(values, wrong()))?;
            put(number, values.size * 8, Range::Any, 0, bytes)
        }
        Kind::Float { size } => {
            let number = value.as_f64().ok_or_else(wrong)?;
            match size {
                4 => bytes.copy_from_slice(&(number as f32).to_le_bytes()), // rounded, as in C
                8 => bytes.copy_from_slice(&number.to_le_bytes()),
                _ => return Err(wrong()),
            }
            Ok(())
        }
        Kind::Array { element, .. } => array(btf, element, value, bytes).ok_or_else(wrong)?,
        Kind::Struct(members) | Kind::Union(members) => {
            let Value::Object(given) = value else { return Err(wrong()) };
            given.iter().try_for_each(|(name, value)| match member(btf, members, 0, name, value, bytes, 0) {
                Some(done) => done.map_err(|failure| failure.about(format_args!(".{name}"))),
                None => Err(Failure::failure(format!("{} has no member `{name}`", btf.type_name(id)))
                    .hint(format!("there are: {}", member_names(btf, members).join(", ")))),
            })
        }
        Kind::Var { of, .. } => write(btf, of, value, bytes),
        Kind::Void
        | Kind::Fwd { .. }
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func { .. }
        | Kind::FuncProto { .. }
        | Kind::Datasec { .. }
        | Kind::DeclTag { .. }
        | Kind::TypeTag(_) => Err(wrong()),
    }
}

fn wrong(btf: &Btf, id: TypeId, value: &Value) -> Failure {
    let failure = Failure::failure(format!("{value} is no value of {}", btf.type_name(id)));
    let hint = match btf.type_at(btf.resolve(id)).kind {
        Kind::Struct(members) | Kind::Union(members) => {
            let names: Vec<String> =
                member_names(btf, members).iter().map(|name| format!("\"{name}\": …")).collect();
            format!("an object like {{{}}}", names.join(", "))
        }
        Kind::Array { len, .. } => format!("an array of up to {len} elements"),
        _ => "a number, or hex: and bytes".to_owned(),
    };
    failure.hint(hint)
}

fn one_of(values: Enumerators<'_>, failure: Failure) -> Failure {
    let names: Vec<&str> = values.iter().take(20).map(|value| value.name).collect();
    failure.hint(format!("a number or one of: {}", names.join(", ")))
}

/// `None`: not an array of that shape.
fn array(btf: &Btf, element: TypeId, value: &Value, bytes: &mut [u8]) -> Option<Result<(), Failure>> {
    let stride = usize::try_from(btf.size_of(element)?).ok()?;
    match value {
        Value::String(text) if stride == 1 && text.len() < bytes.len() => {
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            Some(Ok(()))
        }
        Value::Array(values) if stride > 0 && values.len() <= bytes.len() / stride => {
            let mut pairs = values.iter().zip(bytes.chunks_exact_mut(stride)).enumerate();
            Some(pairs.try_for_each(|(index, (value, bytes))| {
                write(btf, element, value, bytes).map_err(|failure| failure.about(format_args!("[{index}]")))
            }))
        }
        _ => None,
    }
}

/// Writes the member of that name; `None` when there is none.
fn member(
    btf: &Btf,
    members: Members<'_>,
    base: u32,
    name: &str,
    value: &Value,
    bytes: &mut [u8],
    depth: usize,
) -> Option<Result<(), Failure>> {
    for member in members.iter() {
        let bit = base.checked_add(member.bit_offset)?;
        let first = (bit / 8) as usize;
        if member.name.is_empty()
            && let Some(inner) = btf.type_at(btf.resolve(member.of)).kind.members()
        {
            if depth < DEEPEST
                && let Some(done) = self::member(btf, inner, bit, name, value, bytes, depth + 1)
            {
                return Some(done);
            }
        } else if member.name == name {
            if let Some(bits) = member.bit_size {
                return Some(bit_field(btf, member.of, value, bits, bit, bytes));
            }
            let size = usize::try_from(btf.size_of(member.of)?).ok()?;
            let place = bytes.get_mut(first..first.checked_add(size)?)?;
            return Some(write(btf, member.of, value, place));
        }
    }
    None
}

fn bit_field(
    btf: &Btf,
    of: TypeId,
    value: &Value,
    bits: u32,
    bit: u32,
    bytes: &mut [u8],
) -> Result<(), Failure> {
    let kind = btf.type_at(btf.resolve(of)).kind;
    let (number, range) = match kind {
        Kind::Enum(values) | Kind::Enum64(values) => (enumerator(values, value), Range::Any),
        Kind::Int { encoding, .. } => (number(value), Range::of(encoding)),
        _ => (None, Range::Any),
    };
    put(number.ok_or_else(|| wrong(btf, of, value))?, bits, range, bit, bytes)
}

fn member_names(btf: &Btf, members: Members<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for member in members.iter() {
        match btf.type_at(btf.resolve(member.of)).kind.members() {
            Some(inner) if member.name.is_empty() => {
                names.extend(inner.iter().map(|member| member.name.to_owned()));
            }
            Some(_) | None => names.push(member.name.to_owned()),
        }
    }
    names
}

fn enumerator(values: Enumerators<'_>, value: &Value) -> Option<i128> {
    match value {
        Value::String(name) => values.iter().find(|known| known.name == name).map(|known| known.value),
        other => number(other),
    }
}

/// A number, a truth value, or a number as text (`0x…` too).
fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(truth) => Some(i128::from(*truth)),
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => {
            let (sign, digits) = text.strip_prefix('-').map_or((1, &**text), |digits| (-1, digits));
            let magnitude = match digits.strip_prefix("0x") {
                Some(digits) => i128::from_str_radix(digits, 16),
                None => digits.parse(),
            };
            magnitude.ok().and_then(|magnitude| magnitude.checked_mul(sign))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Which numbers fit.
#[derive(Clone, Copy)]
enum Range {
    Signed,
    Unsigned,
    /// Either.
    Any,
}

impl Range {
    const fn of(encoding: IntEncoding) -> Self {
        match encoding {
            IntEncoding::Signed => Self::Signed,
            IntEncoding::Unsigned | IntEncoding::Bool => Self::Unsigned,
            IntEncoding::Char => Self::Any,
        }
    }
}

/// Writes the low `bits` of a number at a bit offset.
fn put(number: i128, bits: u32, range: Range, bit: u32, bytes: &mut [u8]) -> Result<(), Failure> {
    let bits = bits.min(126);
    let (least, most) = match range {
        Range::Signed => (-(1_i128 << (bits.max(1) - 1)), (1_i128 << (bits.max(1) - 1)) - 1),
        Range::Unsigned => (0, (1_i128 << bits) - 1),
        Range::Any => (-(1_i128 << (bits.max(1) - 1)), (1_i128 << bits) - 1),
    };
    if number < least || number > most {
        let failure = Failure::failure(format!("{number} does not fit {bits} bits"));
        return Err(failure.hint(format!("{least} to {most}")));
    }
    for index in 0..bits {
        let at = bit + index;
        let Some(byte) = bytes.get_mut((at / 8) as usize) else { break };
        let mask = 1 << (at % 8);
        if number >> index & 1 == 1 { *byte |= mask } else { *byte &= !mask }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use beelift::btf::BtfBuilder;

    use super::*;

    #[test]
    fn values_are_read_back_as_they_are_shown() {
        let mut build = BtfBuilder::new();
        let int = build.int("int", 4, IntEncoding::Signed);
        let byte = build.int("char", 1, IntEncoding::Signed);
        let wide = build.int("u64", 8, IntEncoding::Unsigned);
        let name = build.array(byte, int, 8);
        let action = build.enumeration("action", &[("DROP", 1), ("PASS", 2)]);
        let flags = build.structure("flags", 4, &[("low", int, 0, 3), ("high", int, 3, 5)]);
        let inner = build.structure("", 4, &[("x", int, 0, 0)]);
        let outer = build.structure(
            "outer",
            32,
            &[
                ("", inner, 0, 0),
                ("flags", flags, 32, 0),
                ("name", name, 64, 0),
                ("count", wide, 128, 0),
                ("action", action, 192, 0),
            ],
        );
        let btf = build.finish().expect("types");
        let target = Target { what: "value", size: 32, typed: Some((&btf, outer)) };
        let text = r#"{"x": -2, "flags": {"low": 3, "high": -1}, "name": "eth0", "count": 18446744073709551615, "action": "PASS"}"#;
        let bytes = target.bytes(&word(text)).expect("a value");
        assert_eq!(
            btf.format_value(outer, &bytes).expect("a value"),
            "{ .x = -2, .flags = { .low = 3, .high = -1 }, .name = \"eth0\", .count = 18446744073709551615, .action = PASS }"
        );
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(target.bytes(&word(&digits)).expect("digits"), bytes);
        let fails = |text: &str, says: &str| {
            let failure = target.bytes(&word(text)).expect_err(text);
            let said = format!("{} {}", failure.message, failure.hint.unwrap_or_default());
            assert!(said.contains(says), "{said}");
        };
        fails(r#"{"y": 1}"#, "no member `y` there are: x, flags, name, count, action");
        fails(r#"{"count": -1}"#, "value: .count: -1 does not fit");
        fails(r#"{"flags": {"low": 4}}"#, "value: .flags: .low: 4 does not fit 3 bits");
        fails(r#"{"name": "interface"}"#, "up to 8");
        fails(r#"{"action": "JUMP"}"#, "one of: DROP, PASS");
        fails("7", "an object like");
        fails("hex:00", "1 bytes where there are 32");
        let plain = Target { what: "key", size: 4, typed: None };
        assert_eq!(plain.bytes(&word("258")).expect("a number"), [2, 1, 0, 0]);
        assert_eq!(plain.bytes(&word("01020304")).expect("digits"), [1, 2, 3, 4]);
        assert!(plain.bytes(&word("{}")).is_err() && plain.bytes(&word("010203")).is_err());
    }
}
