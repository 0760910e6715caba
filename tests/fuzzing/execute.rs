//! Programs that verify and run: random ones, and bytes as instructions.
//!
//! The first byte says how the rest is read. A program that is accepted must run without a trap in interpreter and
//! native code, with every proven fact asserted, and both must leave the same behind.

use std::sync::{Arc, OnceLock};

use beelift::engine::compare::Trial;
use beelift::engine::{Backend, Input};
use beelift::isa::asm::assemble;
use beelift::isa::{Slot, decode};
use beelift::runtime::{MapDef, MapKind, TrapKind};
use beelift::verify::{Limits, Options, Policy, verify};
use beelift::{Engine, FixedEnvironment, Program, ProgramType};

use crate::generator;

/// Backward jumps and calls that are not proven to end.
const FUEL: u64 = 1 << 16;
/// Slots of a body.
const SLOTS: usize = 96;
const NOTHING: Slot = Slot::new(0x05, 0, 0, 0, 0);
const EXIT: Slot = Slot::new(0x95, 0, 0, 0, 0);

/// What a body of instructions finds: the context in r6, 48 bytes of packet in r7, an array element in r9 and
/// numbers in all other registers and in two stack slots.
const PROLOGUE: &str = "
    r6 = r1
    r7 = *(u32 *)(r6 +0)
    r2 = *(u32 *)(r6 +4)
    r1 = r7
    r1 += 48
    if r1 <= r2 goto 1f
    r0 = 0
    exit
1:  *(u32 *)(r10 -4) = 1
    r1 = map[0] ll
    r2 = r10
    r2 += -4
    call 1
    if r0 != 0 goto 1f
    exit
1:  r9 = r0
    r8 = *(u64 *)(r7 +8)
    *(u64 *)(r10 -8) = r8
    *(u64 *)(r10 -16) = 0
    r0 = *(u8 *)(r7 +0)
    r1 = 1
    r2 = *(u32 *)(r6 +16)
    r3 = r8
    r4 = -1
    r5 = 0x1122334455667788 ll
";

/// Programs from bytes.
pub(crate) fn verify_run(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let strict = Options::with_policy(Policy::STRICT);
    match mode % 8 {
        // The generator, with its choices made by the bytes.
        0..=2 => {
            let case = generator::generate_from(rest);
            let policy = if mode & 8 == 0 { Policy::KERNEL } else { Policy::USER };
            judge_program(case.program(), case.inputs, Options::with_policy(policy), true);
        }
        // Instructions as they are, and as part of a program. Only without leaks of pointers are the results of two
        // engines the same.
        3 => judge(&raw(rest), maps(), packets(), strict, true),
        4 => judge(&raw(rest), maps(), packets(), Options::default(), false),
        5 => judge(&framed(rest), maps(), packets(), Options::default(), false),
        _ => judge(&framed(rest), maps(), packets(), strict, true),
    }
}

fn judge(slots: &[Slot], maps: Vec<MapDef>, packets: Vec<Vec<u8>>, options: Options, compared: bool) {
    let Ok(program) = Program::from_slots(ProgramType::Xdp, slots, Arc::from(maps)) else { return };
    let inputs = packets.into_iter().map(|packet| Input { packet, ..Input::default() }).collect();
    judge_program(program, inputs, options, compared);
}

fn judge_program(program: Program, inputs: Vec<Input>, options: Options, compared: bool) {
    let limits = Limits { processed: 5_000, memory: 64 << 20, ..Limits::default() };
    let options = Options { limits, ..options };
    let verified = match verify(program.clone(), &options) {
        Ok(verified) => verified,
        Err(failure) => {
            let _ = failure.to_string();
            return;
        }
    };
    let trial = Trial {
        program: &program,
        verified: Some(&verified),
        object: None,
        inputs: &inputs,
        elements: &[],
        environment: FixedEnvironment::default(),
    };
    let comparison = trial.compare(&[Backend::Interpreter, Backend::Jit], &|| {
        Engine::builder().verify(options).check_facts(compared).fuel(FUEL)
    });
    for column in &comparison.columns {
        let outcome = match &column.outcome {
            Ok(outcome) => outcome,
            // What an engine lacks it says by name.
            Err(beelift::Error::Unsupported { .. }) => return,
            Err(error) => panic!("{}: {error}", column.backend),
        };
        for record in outcome.records.iter().flatten() {
            match &record.value {
                Ok(_) => {}
                Err(trap) if trap.kind == TrapKind::Fuel => return,
                Err(trap) => panic!("{} trapped: {trap}\n{}", column.backend, listing(&program)),
            }
        }
    }
    assert!(!compared || comparison.agrees(), "{:#?}\n{}", comparison.difference, listing(&program));
}

fn listing(program: &Program) -> String {
    beelift::isa::text::listing(&program.insns, &program.pcs, &beelift::isa::text::Numbers)
}

/// The maps that instructions may name.
fn maps() -> Vec<MapDef> {
    vec![
        MapDef::new("array", MapKind::Array, 4, 64, 4),
        MapDef::new("hash", MapKind::Hash, 8, 16, 8),
        MapDef::new("percpu", MapKind::PercpuArray, 4, 16, 2),
        MapDef::new("recent", MapKind::LruHash, 4, 8, 4),
        MapDef::new("records", MapKind::Ringbuf, 0, 0, 4096),
        MapDef::new("one", MapKind::Array, 4, 8, 1),
    ]
}

fn packets() -> Vec<Vec<u8>> {
    vec![(0..64_u8).map(|at| at.wrapping_mul(37) ^ 0x5a).collect(), vec![0xa5; 48]]
}

fn raw(data: &[u8]) -> Vec<Slot> {
    data.as_chunks().0.iter().take(SLOTS).map(|&bytes| Slot(bytes)).collect()
}

/// A program around instructions that are bent until they mean something.
fn framed(data: &[u8]) -> Vec<Slot> {
    static START: OnceLock<Vec<Slot>> = OnceLock::new();
    let start =
        START.get_or_init(|| assemble(PROLOGUE, |_| None).expect("the prologue is well-formed").slots);
    let given = raw(data);
    let mut body = Vec::with_capacity(given.len() + 8);
    for (at, &slot) in given.iter().enumerate() {
        bend(slot, (given.len() - at) as i16, at as i16, &mut body);
    }
    let mut slots = [start, &body[..], &[EXIT]].concat();
    // Jumps into the middle of a wide instruction, or out of the program.
    while let Err(error) = decode(&slots) {
        slots[error.at.0 as usize] = NOTHING;
    }
    slots
}

/// Registers that exist, reserved fields that are zero, targets near by.
fn bend(slot: Slot, after: i16, before: i16, into: &mut Vec<Slot>) {
    let (dst, src) = (slot.dst() % 11, slot.src() % 11);
    let (opcode, off, imm) = (slot.opcode(), slot.off(), slot.imm());
    let near = if off >= 0 { off % after } else { -(off.saturating_neg() % (before + 1)) - 1 };
    match (opcode, opcode & 7) {
        (0x18, _) => {
            let kind = slot.src() % 3;
            let (low, high) = match kind {
                0 => (imm, i32::from(off)),
                1 => (imm.rem_euclid(6), 0),
                _ => (if off % 2 == 0 { 0 } else { 5 }, imm.rem_euclid(72)),
            };
            into.extend([Slot::new(opcode, dst, kind, 0, low), Slot::new(0, 0, 0, 0, high)]);
        }
        (0x85, _) if slot.src() == 1 => into.push(Slot::new(opcode, 0, 1, 0, i32::from(near))),
        (0x85, _) => into.push(Slot::new(opcode, 0, 0, 0, imm.rem_euclid(212))),
        (_, 5 | 6) => into.push(first_valid(opcode, dst, src, near, imm)),
        _ => into.push(first_valid(opcode, dst, src, off, imm)),
    }
}

fn first_valid(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Slot {
    let tries = [(dst, src, off, imm), (dst, src, off, 0), (dst, src, 0, imm), (dst, 0, off, imm)];
    let more = [(dst, src, off % 2, 0), (dst, src, 0, 0), (dst, 0, 0, imm), (dst, 0, 0, 32), (0, 0, off, 0)];
    let slots =
        tries.into_iter().chain(more).map(|(dst, src, off, imm)| Slot::new(opcode, dst, src, off, imm));
    let jumps = matches!(opcode & 7, 5 | 6);
    slots
        .into_iter()
        .find(|&slot| {
            let near = if jumps { Slot::new(opcode, slot.dst(), slot.src(), 0, slot.imm()) } else { slot };
            decode(&[near, EXIT]).is_ok()
        })
        .unwrap_or(NOTHING)
}
