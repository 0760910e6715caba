//! Text of the form, for `dump` and the cases.
#![forbid(unsafe_code)]

use std::fmt;

use super::Module;
use super::func::{
    Address, Block, BlockId, Class, Edge, Function, Op, Place, Target, Terminator, Type, Value,
};
use crate::isa::{InsnId, Sign};

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.bits())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Stack => "stack",
            Self::Context => "context",
            Self::Packet => "packet",
            Self::Map => "map",
            Self::Runtime => "runtime",
            Self::Caller => "caller",
            Self::Outside => "outside",
        })
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, function) in self.functions.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{function}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "function {} (frame of {} bytes):", self.name, self.frame_size)?;
        for (at, block) in self.blocks.iter().enumerate() {
            writeln!(f, "{}", Head(self, at, block))?;
            for &value in &block.nodes {
                writeln!(f, "    {}", Node(self, value))?;
            }
            writeln!(f, "    {}", End(self, block))?;
        }
        Ok(())
    }
}

impl Function {
    /// The lines of the text, each with the instruction it comes from.
    #[must_use]
    pub fn lines(&self) -> Vec<(Option<InsnId>, String)> {
        let mut lines = vec![(None, format!("function {} (frame of {} bytes):", self.name, self.frame_size))];
        for (at, block) in self.blocks.iter().enumerate() {
            lines.push((None, Head(self, at, block).to_string()));
            for &value in &block.nodes {
                let insn = self.nodes[value.0 as usize].insn; // u32 to usize
                lines.push((Some(insn), format!("    {}", Node(self, value))));
            }
            lines.push((Some(block.end_insn), format!("    {}", End(self, block))));
        }
        lines
    }
}

/// A block's name and parameters.
struct Head<'a>(&'a Function, usize, &'a Block);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(function, at, block) = *self;
        write!(f, "b{at}")?;
        for (index, &param) in block.params.iter().enumerate() {
            let open = if index == 0 { "(" } else { ", " };
            write!(f, "{open}{param}: {}", function.ty(param))?;
        }
        f.write_str(if block.params.is_empty() { ":" } else { "):" })
    }
}

/// An operation.
struct Node<'a>(&'a Function, Value);

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(function, value) = *self;
        let op = function.op(value);
        let has_result = !matches!(op, Op::Store(..) | Op::StoreRelease(..) | Op::TrapIf(..));
        if has_result {
            write!(f, "{value} = ")?;
        }
        function.write_op(f, op, function.ty(value))
    }
}

/// How a block ends.
struct End<'a>(&'a Function, &'a Block);

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_end(f, self.1)
    }
}

impl Function {
    fn write_end(&self, f: &mut fmt::Formatter<'_>, block: &Block) -> fmt::Result {
        match &block.end {
            Terminator::Jump(edge) => {
                f.write_str("jump ")?;
                self.write_edge(f, edge)?;
            }
            Terminator::Branch(condition, then, otherwise) => {
                f.write_str("if ")?;
                self.write_value(f, *condition)?;
                f.write_str(" then ")?;
                self.write_edge(f, then)?;
                f.write_str(" else ")?;
                self.write_edge(f, otherwise)?;
            }
            Terminator::Switch(value, table, default) => {
                f.write_str("switch ")?;
                self.write_value(f, *value)?;
                for (number, edge) in table.iter().enumerate() {
                    write!(f, " {number}: ")?;
                    self.write_edge(f, edge)?;
                }
                f.write_str(" else ")?;
                self.write_edge(f, default)?;
            }
            Terminator::Return(value) => {
                f.write_str("return ")?;
                self.write_value(f, *value)?;
            }
            Terminator::Trap(kind) => write!(f, "trap {kind:?}")?,
        }
        Ok(())
    }

    /// A value by name; constants and addresses as what they are.
    fn write_value(&self, f: &mut fmt::Formatter<'_>, value: Value) -> fmt::Result {
        match self.op(value) {
            Op::Const(number) if number < 10 => write!(f, "{number}"),
            Op::Const(number) => write!(f, "{number:#x}"),
            Op::Address(Address::MapHandle(slot)) => write!(f, "map[{}]", slot.0),
            Op::Address(Address::Arena(slot)) => write!(f, "window[{}]", slot.0),
            Op::Address(Address::MapValue(slot, 0)) => write!(f, "values[{}]", slot.0),
            Op::Address(Address::MapValue(slot, off)) => write!(f, "values[{}]+{off}", slot.0),
            Op::Runtime => f.write_str("runtime"),
            Op::Frame(offset) => write!(f, "frame+{offset}"),
            _ => write!(f, "{value}"),
        }
    }

    fn write_values(&self, f: &mut fmt::Formatter<'_>, values: &[Value]) -> fmt::Result {
        for (index, &value) in values.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            self.write_value(f, value)?;
        }
        Ok(())
    }

    fn write_edge(&self, f: &mut fmt::Formatter<'_>, edge: &Edge) -> fmt::Result {
        write!(f, "{}", edge.to)?;
        if !edge.args.is_empty() {
            f.write_str("(")?;
            self.write_values(f, &edge.args)?;
            f.write_str(")")?;
        }
        Ok(())
    }

    fn write_place(&self, f: &mut fmt::Formatter<'_>, place: Place) -> fmt::Result {
        f.write_str("[")?;
        if let Op::Frame(start) = self.op(place.base) {
            write!(f, "frame+{}", i64::from(start) + i64::from(place.off))?;
        } else {
            self.write_value(f, place.base)?;
            if place.off != 0 {
                write!(f, "{:+}", place.off)?;
            }
        }
        write!(f, "] {}{}", place.class, if place.aligned { " aligned" } else { "" })
    }

    fn write_op(&self, f: &mut fmt::Formatter<'_>, op: Op, ty: Type) -> fmt::Result {
        match op {
            Op::Param | Op::Const(_) | Op::Address(_) | Op::Runtime | Op::Frame(_) => {
                unreachable!("never listed in a block")
            }
            Op::Unary(op, a) => {
                write!(f, "{op:?}.{ty} ")?;
                self.write_values(f, &[a])
            }
            Op::Binary(op, a, b) => {
                write!(f, "{op:?}.{ty} ")?;
                self.write_values(f, &[a, b])
            }
            Op::Compare(condition, a, b) => {
                write!(f, "{condition:?}.{} ", self.ty(a))?;
                self.write_values(f, &[a, b])
            }
            Op::Select(c, a, b) => {
                write!(f, "Select.{ty} ")?;
                self.write_values(f, &[c, a, b])
            }
            Op::Load(size, sign, place) => {
                let sign = if sign == Sign::Signed { "s" } else { "u" };
                write!(f, "Load.{sign}{} ", size.bits())?;
                self.write_place(f, place)
            }
            Op::LoadAcquire(size, place) => {
                write!(f, "LoadAcquire.u{} ", size.bits())?;
                self.write_place(f, place)
            }
            Op::Store(size, place, value) | Op::StoreRelease(size, place, value) => {
                let release = if matches!(op, Op::Store(..)) { "" } else { "Release" };
                write!(f, "Store{release}.{} ", size.bits())?;
                self.write_place(f, place)?;
                f.write_str(", ")?;
                self.write_value(f, value)
            }
            Op::AtomicRmw(op, width, place, value) => {
                write!(f, "Atomic{op:?}.{} ", width.bits())?;
                self.write_place(f, place)?;
                f.write_str(", ")?;
                self.write_value(f, value)
            }
            Op::AtomicCas(width, place, expected, new) => {
                write!(f, "AtomicCas.{} ", width.bits())?;
                self.write_place(f, place)?;
                f.write_str(", ")?;
                self.write_values(f, &[expected, new])
            }
            Op::Call(target, list) => {
                match target {
                    Target::Helper(id) => write!(f, "call helper {id}(")?,
                    Target::Kfunc(number) => {
                        let name = beelift_runtime::helper::kfunc(number).map_or("kfunc", |kfunc| kfunc.name);
                        write!(f, "call {name}(")?;
                    }
                    Target::Throw => f.write_str("throw (")?,
                    Target::MapHelper(id, slot) => write!(f, "call helper {id} of map {}(", slot.0)?,
                    Target::PacketLoad => f.write_str("call packet_load(")?,
                    Target::ObjectLoad => f.write_str("call object_load(")?,
                    Target::MapIterate => f.write_str("call map_iterate(")?,
                    Target::Function(index) => write!(f, "call function {index}(")?,
                }
                self.write_values(f, &self.args[list.0 as usize])?; // u32 to usize
                f.write_str(")")
            }
            Op::TrapIf(kind, condition) => {
                write!(f, "trap {kind:?} if ")?;
                self.write_values(f, &[condition])
            }
        }
    }
}
