//! Inputs that the search tries: packet, context, map values, clock and random number, as one string of bytes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use beelift_runtime::ctx::{ContextLayout, FieldKind, ProgramType};
use beelift_runtime::environment::FixedEnvironment;

use crate::engine::{Element, Fill, Input};
use crate::link::Program;

/// Bytes of a packet or context that are varied one by one.
const VARIED: usize = 128;
/// Longest packet that is tried.
pub(super) const LONGEST_PACKET: usize = 4096;

/// One input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) packet: Vec<u8>,
    /// Empty: the type's defaults.
    pub(super) context: Vec<u8>,
    /// Values by map slot and key.
    pub(super) values: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    pub(super) clock: u64,
    pub(super) random: u32,
}

/// A byte of a candidate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    Packet(usize),
    Context(usize),
    Value((usize, Vec<u8>), usize),
    Clock(usize),
    Random(usize),
}

/// What a program is given at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) packet: bool,
    /// Bytes of context that can be set.
    pub(super) context: usize,
    clock: bool,
    random: bool,
}

impl Shape {
    pub(super) fn of(program: &Program, calls: impl Fn(u32) -> bool) -> Self {
        let (packet, context) = match program.layout() {
            ContextLayout::Fields { fields, size, .. } => {
                (fields.iter().any(|field| matches!(field.kind, FieldKind::PacketData)), usize::from(size))
            }
            ContextLayout::Raw { size, .. } => (false, (size as usize).min(VARIED)),
            ContextLayout::Memory => (program.prog_type == ProgramType::Memory, 0),
            ContextLayout::Kernel => (false, 0),
        };
        let clock = [5, 118, 125, 160, 208].into_iter().any(&calls);
        Self { packet, context, clock, random: calls(7) }
    }
}

impl Candidate {
    /// With that packet, if the program sees packets, and nothing else that is special.
    pub(super) fn plain(packet: &[u8]) -> Self {
        let world = FixedEnvironment::default();
        Self {
            packet: packet.to_vec(),
            context: Vec::new(),
            values: BTreeMap::new(),
            clock: world.clock_ns,
            random: world.random,
        }
    }

    /// Everything that can be varied.
    pub(super) fn spots(&self, shape: Shape) -> Vec<Spot> {
        let mut spots: Vec<Spot> = (0..self.packet.len().min(VARIED)).map(Spot::Packet).collect();
        for (key, value) in &self.values {
            spots.extend((0..value.len().min(VARIED)).map(|index| Spot::Value(key.clone(), index)));
        }
        spots.extend((0..shape.context).map(Spot::Context));
        if shape.random {
            spots.extend((0..4).map(Spot::Random));
        }
        if shape.clock {
            spots.extend((0..8).map(Spot::Clock));
        }
        spots
    }

    pub(super) fn get(&self, spot: &Spot) -> u8 {
        match spot {
            Spot::Packet(index) => self.packet.get(*index).copied().unwrap_or(0),
            Spot::Context(index) => self.context.get(*index).copied().unwrap_or(0),
            Spot::Value(key, index) => {
                self.values.get(key).and_then(|value| value.get(*index)).copied().unwrap_or(0)
            }
            Spot::Clock(index) => self.clock.to_le_bytes()[*index],
            Spot::Random(index) => self.random.to_le_bytes()[*index],
        }
    }

    pub(super) fn with(&self, spot: &Spot, byte: u8) -> Self {
        let mut changed = self.clone();
        changed.set(spot, byte);
        changed
    }

    pub(super) fn set(&mut self, spot: &Spot, byte: u8) {
        match spot {
            Spot::Packet(index) => {
                if let Some(place) = self.packet.get_mut(*index) {
                    *place = byte;
                }
            }
            Spot::Context(index) => {
                // A number of four bytes: the tool takes whole fields.
                let len = (index + 1).next_multiple_of(4);
                if self.context.len() < len {
                    self.context.resize(len, 0);
                }
                self.context[*index] = byte;
            }
            Spot::Value(key, index) => {
                if let Some(place) = self.values.get_mut(key).and_then(|value| value.get_mut(*index)) {
                    *place = byte;
                }
            }
            Spot::Clock(index) => {
                let mut bytes = self.clock.to_le_bytes();
                bytes[*index] = byte;
                self.clock = u64::from_le_bytes(bytes);
            }
            Spot::Random(index) => {
                let mut bytes = self.random.to_le_bytes();
                bytes[*index] = byte;
                self.random = u32::from_le_bytes(bytes);
            }
        }
    }

    /// With a packet of that length.
    pub(super) fn with_length(&self, len: usize) -> Self {
        let mut changed = self.clone();
        changed.packet.resize(len.min(LONGEST_PACKET), 0);
        changed
    }

    pub(super) fn input(&self) -> Input {
        Input { packet: self.packet.clone(), context: self.context.clone() }
    }

    /// Elements for the maps of a program.
    pub(super) fn fills(&self, program: &Program) -> Vec<Fill> {
        let fill = |((slot, key), value): (&(usize, Vec<u8>), &Vec<u8>)| Fill {
            map: program.maps[*slot].name.clone(),
            key: key.clone(),
            content: crate::engine::Content::Element(Element::Value(value.clone())),
        };
        self.values.iter().map(fill).collect()
    }
}
