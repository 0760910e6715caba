//! `--set NAME=VALUE`: a global variable's bytes from text, by its BTF type. Structures and arrays are JSON.
//!
//! In: an object, an assignment. Out: the object with the variable set. A value that does not fit is an error, never
//! cut.
#![forbid(unsafe_code)]

use beelift::btf::{Btf, IntEncoding, Kind, TypeId};
use beelift::elf::Object;

use crate::failure::Failure;
use crate::input::from_hex;
use crate::typed::{self, Target};

/// Sets a variable.
pub(crate) fn set(object: &mut Object, assignment: &str) -> Result<(), Failure> {
    let Some((name, text)) = assignment.split_once('=') else {
        return Err(Failure::usage(format!("--set {assignment}: not NAME=VALUE")));
    };
    let (name, text) = (name.trim(), text.trim());
    let Some(global) = object.global(name) else {
        let names: Vec<&str> = object.globals().iter().map(|global| global.name.as_str()).collect();
        let failure = Failure::failure(format!("--set: no global variable `{name}`"));
        return Err(match names.is_empty() {
            true => failure.hint("the object has none"),
            false => failure.hint(format!("there are: {}", names.join(", "))),
        });
    };
    let typed = object.btf().map(|btf| (&**btf, global.btf_type));
    let shape = Shape::of(typed, global.size);
    let compound = matches!(shape.scalar, Scalar::Compound) && typed.is_some();
    let bytes = if compound && !text.starts_with("hex:") {
        let what = format!("--set {name}");
        Target { what: &what, size: global.size as usize, typed }.bytes(&typed::word(text))?
    } else {
        shape.bytes(text).map_err(|failure| failure.about(format_args!("--set {name}")))?
    };
    object.set_global(name, &bytes).map_err(Failure::failure)
}

/// What a text must look like.
struct Shape {
    size: u32,
    /// Name of the type, for messages.
    name: String,
    scalar: Scalar,
}

enum Scalar {
    Signed,
    Unsigned,
    Bool,
    Enum(Vec<(String, i128)>),
    /// Only `hex:` says what it should hold.
    Compound,
}

impl Shape {
    fn of(typed: Option<(&Btf, TypeId)>, size: u32) -> Self {
        let Some((btf, id)) = typed.filter(|(_, id)| *id != TypeId::VOID) else {
            let scalar = if size <= 8 { Scalar::Unsigned } else { Scalar::Compound };
            return Self { size, name: format!("{size} bytes"), scalar };
        };
        let scalar = match btf.type_at(btf.resolve(id)).kind {
            Kind::Int { encoding, .. } => match encoding {
                IntEncoding::Signed => Scalar::Signed,
                IntEncoding::Unsigned | IntEncoding::Char => Scalar::Unsigned,
                IntEncoding::Bool => Scalar::Bool,
            },
            Kind::Enum(values) | Kind::Enum64(values) => {
                Scalar::Enum(values.iter().map(|value| (value.name.to_owned(), value.value)).collect())
            }
            Kind::Ptr(_) => Scalar::Unsigned,
            Kind::Void
            | Kind::Array { .. }
            | Kind::Struct(_)
            | Kind::Union(_)
            | Kind::Fwd { .. }
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func { .. }
            | Kind::FuncProto { .. }
            | Kind::Var { .. }
            | Kind::Datasec { .. }
            | Kind::Float { .. }
            | Kind::DeclTag { .. }
            | Kind::TypeTag(_) => Scalar::Compound,
        };
        Self { size, name: btf.type_name(id), scalar }
    }

    fn bytes(&self, text: &str) -> Result<Vec<u8>, Failure> {
        if let Some(hex) = text.strip_prefix("hex:") {
            let bytes = from_hex(hex)?;
            if bytes.len() != self.size as usize {
                let message = format!("{} bytes for {} of {} bytes", bytes.len(), self.name, self.size);
                return Err(Failure::failure(message));
            }
            return Ok(bytes);
        }
        let value = self.number(text)?;
        let bits = self.size * 8;
        if !(1..=64).contains(&bits) {
            return Err(self.wrong(text));
        }
        let (least, most) = match self.scalar {
            Scalar::Signed | Scalar::Enum(_) => (-(1_i128 << (bits - 1)), (1 << bits) - 1),
            Scalar::Unsigned | Scalar::Compound => (0, (1 << bits) - 1),
            Scalar::Bool => (0, 1),
        };
        if value < least || value > most {
            return Err(Failure::failure(format!("{text} does not fit {}", self.name))
                .hint(format!("{least} to {most}")));
        }
        // Two's complement: the low bytes of a wider number are the number.
        Ok(value.to_le_bytes()[..self.size as usize].to_vec())
    }

    fn number(&self, text: &str) -> Result<i128, Failure> {
        match &self.scalar {
            Scalar::Bool if text == "true" => return Ok(1),
            Scalar::Bool if text == "false" => return Ok(0),
            Scalar::Enum(values) => {
                if let Some((_, value)) = values.iter().find(|(name, _)| name == text) {
                    return Ok(*value);
                }
            }
            Scalar::Compound => return Err(self.wrong(text)),
            Scalar::Bool | Scalar::Signed | Scalar::Unsigned => {}
        }
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse::<u64>(),
        };
        match magnitude {
            Ok(magnitude) => Ok(sign * i128::from(magnitude)),
            Err(_) => Err(self.wrong(text)),
        }
    }

    fn wrong(&self, text: &str) -> Failure {
        let failure = Failure::failure(format!("`{text}` is no value of {}", self.name));
        match &self.scalar {
            Scalar::Signed | Scalar::Unsigned => failure.hint("a number, decimal or 0x…, or hex: and bytes"),
            Scalar::Bool => failure.hint("true, false, 1 or 0"),
            Scalar::Enum(values) => {
                let names: Vec<&str> = values.iter().take(20).map(|(name, _)| name.as_str()).collect();
                failure.hint(format!("a number or one of: {}", names.join(", ")))
            }
            Scalar::Compound => failure.hint(format!("hex: and {} bytes", self.size)),
        }
    }
}
