//! The steps of a verification as they happen: paths, instructions, and what each changed.
//!
//! In: the verifier at work. Out: [`Event`]s for a [`Log`]. States are text in one compact notation, which
//! `docs/diagnostics.md` describes; reports of rejections have words of their own (`report`). Nothing here decides
//! anything, and without a log nothing here runs.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::domain::Scalar;
use super::explore::{Next, Stop, Verifier};
use super::report::Reason;
use super::state::{
    Byte, DynptrType, Frame, Kind, MemFlags, RANGE_AT_END, RANGE_BEYOND_END, Register, ResourceKind, Slot,
    SockKind, Special, State,
};
use super::tables::Tables;
use crate::isa::{InsnId, Reg};

/// Hears of steps.
pub trait Log {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Log for F {
    fn event(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// What happens in a verification.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A function is verified alone: the program itself (first), and each global function that was called.
    Function {
        /// Its name.
        name: &'a str,
    },
    /// A path begins, or one that waited goes on.
    Path {
        /// Counted from 0.
        number: u32,
        /// The instruction that put it aside.
        from: Option<InsnId>,
        /// Where it goes on.
        at: InsnId,
        /// All registers and stack slots that hold something.
        state: &'a str,
    },
    /// An instruction was applied.
    Step {
        /// Which.
        at: InsnId,
        /// Calls in progress before it.
        depth: usize,
        /// Where the path goes on; nowhere after the program's exit.
        next: Option<InsnId>,
        /// Another path was put aside here.
        waits: bool,
        /// Registers and stack slots that changed.
        state: &'a str,
    },
    /// The path is over.
    End {
        /// Where.
        at: InsnId,
        /// Why.
        why: End<'a>,
    },
}

/// Why a path is over.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum End<'a> {
    /// The program exits.
    Exit,
    /// A state seen here before covers this one: what follows was shown to be safe.
    Covered,
    /// Nothing proves this step safe.
    Rejected(&'a Reason),
    /// The verifier does not understand this step.
    Unsupported(&'a str),
}

impl Verifier<'_> {
    /// A path begins at the current instruction.
    pub(crate) fn log_path(&mut self) {
        let number = self.paths;
        self.paths += 1;
        if self.log.is_none() {
            return;
        }
        let from = self.trace.path(self.state.trace).next();
        let state = whole(&self.state, self.tables);
        let at = self.at;
        if let Some(log) = &mut self.log {
            log.event(&Event::Path { number, from, at, state: &state });
        }
    }

    /// The state before a step, if anybody wants to hear of the step.
    pub(crate) fn log_before(&self) -> Option<(State, usize)> {
        self.log.is_some().then(|| (self.state.clone(), self.pending.len()))
    }

    /// The current instruction was applied, or was not.
    pub(crate) fn log_step(&mut self, before: Option<(State, usize)>, result: &Result<Next, Stop>) {
        let Some((before, pending)) = before else { return };
        let at = self.at;
        let next = match result {
            Ok(Next::To(next)) => Some(*next),
            Ok(Next::End) | Err(_) => None,
        };
        let state = changes(&before, &self.state, self.tables);
        let waits = self.pending.len() > pending;
        let Some(log) = &mut self.log else { return };
        log.event(&Event::Step { at, depth: before.depth(), next, waits, state: &state });
        let why = match result {
            Ok(Next::To(_)) => return,
            Ok(Next::End) => End::Exit,
            Err(Stop::Reject(reason)) => End::Rejected(reason),
            Err(Stop::Unsupported(what)) => End::Unsupported(what),
        };
        log.event(&Event::End { at, why });
    }

    /// The path ends at a state that is covered.
    pub(crate) fn log_covered(&mut self) {
        let at = self.at;
        if let Some(log) = &mut self.log {
            log.event(&Event::End { at, why: End::Covered });
        }
    }
}

/// Everything that holds something.
fn whole(state: &State, tables: &Tables<'_>) -> String {
    let mut text = String::new();
    for (depth, frame) in state.frames.iter().enumerate() {
        if state.frames.len() > 1 {
            let _ = write!(text, "{}frame {depth}:", blank(&text));
        }
        registers(&mut text, frame, depth, tables, |register| register.kind != Kind::Uninit);
        for (index, held) in frame.stack.slots().enumerate() {
            if held.bytes != [Byte::Invalid; 8] {
                slot(&mut text, index, held, depth, tables);
            }
        }
    }
    held(&mut text, None, state);
    text
}

/// What differs.
fn changes(before: &State, after: &State, tables: &Tables<'_>) -> String {
    let mut text = String::new();
    let depth = after.depth();
    if after.frames.len() != before.frames.len() {
        let _ = write!(text, "frame {depth}:");
        registers(&mut text, after.current(), depth, tables, |register| register.kind != Kind::Uninit);
    } else {
        let (old, new) = (before.current(), after.current());
        for reg in Reg::all() {
            let (was, is) = (&old.registers[reg.index()], &new.registers[reg.index()]);
            if was != is {
                let _ = write!(text, "{}{reg}={}", blank(&text), register(is, depth, tables));
            }
        }
    }
    for (depth, (old, new)) in before.frames.iter().zip(&after.frames).enumerate() {
        for index in 0..new.stack.len() {
            if old.stack.slot(index) != new.stack.slot(index) {
                if depth != after.depth() {
                    let _ = write!(text, "{}frame {depth}:", blank(&text));
                }
                slot(&mut text, index, new.stack.slot(index), depth, tables);
            }
        }
    }
    held(&mut text, Some(before), after);
    text
}

fn dynptr(kind: DynptrType) -> &'static str {
    match kind {
        DynptrType::Local => "local",
        DynptrType::Ringbuf => "ringbuf",
        DynptrType::Skb => "skb",
        DynptrType::SkbMeta => "skb_meta",
        DynptrType::Xdp => "xdp",
    }
}

fn blank(text: &str) -> &'static str {
    if text.is_empty() { "" } else { " " }
}

fn registers(
    text: &mut String,
    frame: &Frame,
    depth: usize,
    tables: &Tables<'_>,
    wanted: impl Fn(&Register) -> bool,
) {
    for reg in Reg::all() {
        let held = &frame.registers[reg.index()];
        if wanted(held) {
            let _ = write!(text, "{}{reg}={}", blank(text), register(held, depth, tables));
        }
    }
}

fn slot(text: &mut String, index: usize, slot: &Slot, depth: usize, tables: &Tables<'_>) {
    let place = 8 * (index + 1);
    let value = if let Some(special) = slot.special {
        match special.special {
            Special::Dynptr(kind) => format!("dynptr({})", dynptr(kind)),
            Special::Iterator(_) => {
                format!("iterator({})", if special.active { "active" } else { "drained" })
            }
            Special::IrqFlag { .. } => "irq_flag".to_owned(),
        }
    } else if slot.spill_size() == 8 {
        register(&slot.spilled, depth, tables)
    } else {
        let letter = |byte: &Byte| match byte {
            Byte::Invalid => '-',
            Byte::Spill => 's',
            Byte::Misc => 'm',
            Byte::Zero => '0',
            Byte::Special => 'x',
        };
        match slot.bytes {
            [
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
                Byte::Misc,
            ] => "any".to_owned(),
            [
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
                Byte::Zero,
            ] => "0".to_owned(),
            ref bytes => {
                let letters: String = bytes.iter().map(letter).collect();
                match slot.is_spill() {
                    true => format!("[{letters}]:{}", register(&slot.spilled, depth, tables)),
                    false => format!("[{letters}]"),
                }
            }
        }
    };
    let _ = write!(text, "{}fp-{place}={value}", blank(text));
}

/// What is held, or what of it changed.
fn held(text: &mut String, before: Option<&State>, after: &State) {
    let name = |kind: &ResourceKind| match kind {
        ResourceKind::Pointer => "ref",
        ResourceKind::Lock { .. } => "lock",
        ResourceKind::Irq => "irq",
    };
    let old = before.map(|state| &state.references.held[..]).unwrap_or_default();
    for resource in after.references.held.iter().filter(|resource| !old.contains(resource)) {
        let _ = write!(text, "{}holds {}#{}", blank(text), name(&resource.kind), resource.id);
    }
    for resource in old.iter().filter(|resource| !after.references.held.contains(resource)) {
        let _ = write!(text, "{}releases {}#{}", blank(text), name(&resource.kind), resource.id);
    }
    let sections = |state: &State| (state.references.rcu, state.references.preempt);
    if before.map(sections).unwrap_or_default() != sections(after) {
        let (rcu, preempt) = sections(after);
        let _ = write!(text, "{}rcu={rcu} preempt={preempt}", blank(text));
    }
}

/// A register in the compact notation.
fn register(register: &Register, depth: usize, tables: &Tables<'_>) -> String {
    let mut text = match register.kind {
        Kind::Uninit => return "-".to_owned(),
        Kind::Scalar => {
            let mut text = number(register.value);
            if register.id != 0 {
                let _ = write!(text, "#{}", register.id);
                if register.linked_delta {
                    let _ = write!(text, "{:+}", register.off);
                }
            }
            return text;
        }
        Kind::Context => "context".to_owned(),
        Kind::Stack(frame) if usize::from(frame) == depth => "fp".to_owned(),
        Kind::Stack(frame) => format!("fp(frame {frame})"),
        Kind::Packet => "packet".to_owned(),
        Kind::PacketMeta => "meta".to_owned(),
        Kind::PacketEnd => "packet_end".to_owned(),
        Kind::Map(map) => format!("map({})", tables.map(map).name),
        Kind::MapValue(map) => format!("value({})", tables.map(map).name),
        Kind::MapKey(map) => format!("key({})", tables.map(map).name),
        Kind::Memory(flags) => {
            let what = if flags.contains(MemFlags::RINGBUF) { "record" } else { "memory" };
            let read_only = if flags.contains(MemFlags::READ_ONLY) { ",read_only" } else { "" };
            format!("{what}({}{read_only})", register.size)
        }
        Kind::Socket(SockKind::Socket) => "socket".to_owned(),
        Kind::Socket(SockKind::Common) => "sock_common".to_owned(),
        Kind::Socket(SockKind::Tcp) => "tcp_sock".to_owned(),
        Kind::Socket(SockKind::Xdp) => "xdp_sock".to_owned(),
        Kind::FlowKeys => "flow_keys".to_owned(),
        Kind::Object(of, flags) => {
            let mut text = format!("object({}", tables.types.name(of));
            for (name, _) in flags.iter_names() {
                let _ = write!(text, ",{}", name.to_lowercase());
            }
            text + ")"
        }
        Kind::Dynptr(kind) => format!("const_dynptr({})", dynptr(kind)),
        Kind::Function(index) => format!("function({index})"),
        Kind::Arena => "arena".to_owned(),
    };
    if register.nullable {
        text.push('?');
    }
    if register.off != 0 {
        let _ = write!(text, "{:+}", register.off);
    }
    if register.value.constant() != Some(0) {
        let _ = write!(text, "+({})", number(register.value));
    }
    if register.kind.is_packet() {
        match register.size {
            0 => {}
            RANGE_AT_END => text.push_str("[at end]"),
            RANGE_BEYOND_END => text.push_str("[beyond end]"),
            size => {
                let _ = write!(text, "[{size}]");
            }
        }
    }
    if register.id != 0 {
        let _ = write!(text, "#{}", register.id);
    }
    if register.object != 0 {
        let _ = write!(text, ",ref#{}", register.object);
    }
    text
}

/// A set of numbers: one, a range, a range with the bits that may be set, or any.
fn number(value: Scalar) -> String {
    if let Some(constant) = value.constant() {
        return constant.cast_signed().to_string();
    }
    if value.is_unknown() {
        return "any".to_owned();
    }
    let (umin, umax, smin, smax) = (value.umin(), value.umax(), value.smin(), value.smax());
    let mut text = match (umin, umax, smin, smax) {
        (0, u64::MAX, i64::MIN, i64::MAX) => "any".to_owned(),
        (0, u64::MAX, smin, smax) => format!("{smin}..{smax}"),
        (umin, umax, i64::MIN, i64::MAX) => format!("{umin}..{umax}"),
        _ if smin.cast_unsigned() == umin && smax.cast_unsigned() == umax => format!("{umin}..{umax}"),
        _ => format!("{umin}..{umax}|{smin}..{smax}"),
    };
    let (low_min, low_max) = (value.u32_min(), value.u32_max());
    if umax > u64::from(u32::MAX) && (low_min, low_max) != (0, u32::MAX) {
        let _ = write!(text, ",low {low_min}..{low_max}");
    }
    let bits = value.tnum();
    let (ones, unknown) = (bits.value(), bits.mask());
    // What the upper bound says already needs no saying.
    let implied = u64::MAX.checked_shr(umax.leading_zeros()).unwrap_or(0);
    if ones != 0 {
        let _ = write!(text, ",bits {ones:#x}+{unknown:#x}");
    } else if unknown != implied {
        let _ = write!(text, ",bits {unknown:#x}");
    }
    text
}
