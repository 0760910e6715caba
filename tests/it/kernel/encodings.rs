//! The decoder and the printer against the kernel: what it refuses for its encoding, and how its log spells the rest.

use std::fmt::Write as _;

use beelift::isa::text::text;
use beelift::isa::{InsnId, Slot, decode};

use super::*;

/// Slots before the one under test.
const BEFORE: usize = 22;

/// The instruction under test after code that gives every register a number, r2 a pointer into written stack and
/// r6 the context; jumps forward from it have targets.
fn framed(slots: &[Slot]) -> Vec<Slot> {
    let mut program = vec![Slot::new(0xbf, 6, 1, 0, 0)];
    program.extend([0, 1, 3, 4, 5, 7, 8, 9].map(|register| Slot::new(0xb7, register, 0, 0, 1)));
    program.extend([Slot::new(0xbf, 2, 10, 0, 0), Slot::new(0x07, 2, 0, 0, -64)]);
    program.extend((1..=8).map(|word| Slot::new(0x7a, 10, 0, -8 * word, 0)));
    program.extend([Slot::new(0xb7, 0, 0, 0, 1); 3]);
    assert_eq!(program.len(), BEFORE);
    program.extend(slots);
    program.extend([Slot::new(0xb7, 0, 0, 0, 0); 70]);
    program.push(PASS[1]);
    program
}

/// Whether the kernel's message is about the encoding.
fn is_about_encoding(message: &str) -> bool {
    let known = [
        "unknown opcode",
        "uses reserved fields",
        "R11 is invalid",
        "R12 is invalid",
        "R15 is invalid",
        "uses invalid atomic opcode",
        "invalid atomic operand size",
        "unrecognized bpf_ld_imm64",
        "invalid bpf_ld_imm64",
        "invalid may_goto",
        "can only convert between address space",
        "jump out of range",
        "call to invalid destination",
    ];
    known.iter().any(|part| message.contains(part))
}

/// The log's spelling in ours: comparisons in decimal, wide immediates marked.
fn spelled_as_ours(opcode: u8, text: &str) -> String {
    let text = text.split(" ; ").next().unwrap_or_default().trim_end();
    let class = opcode & 7;
    if opcode == 0x18 {
        return format!("{text} ll");
    }
    if (class == 5 || class == 6)
        && let Some(start) = text.find("0x")
    {
        let end = text[start..].find(' ').map_or(text.len(), |length| start + length);
        let value = u32::from_str_radix(&text[start + 2..end], 16).expect("a number").cast_signed();
        return format!("{}{value}{}", &text[..start], &text[end..]);
    }
    text.to_owned()
}

/// What the kernel prints at the instruction under test.
fn log_line(log: &str, opcode: u8) -> Option<String> {
    let prefix = format!("{BEFORE}: ({opcode:02x}) ");
    let line = log.lines().find_map(|line| line.strip_prefix(&prefix))?;
    Some(spelled_as_ours(opcode, line))
}

/// Fields to try with each opcode.
fn variants(opcode: u8) -> Vec<Slot> {
    let mut variants = Vec::new();
    let immediates: &[i32] = if matches!(opcode, 0xc3 | 0xcb | 0xd3 | 0xdb) {
        &[0, 1, 0x40, 0x41, 0x50, 0x51, 0xa0, 0xa1, 0xe1, 0xf1, 0x100, 0x110, 0x10, 0xe0, 0xf0, 0x101, -1]
    } else {
        &[0, 1, 16, 64, 0x1_0000]
    };
    for &imm in immediates {
        for (dst, src, off) in [
            (0, 0, 0),
            (2, 0, 0),
            (2, 1, 0),
            (0, 2, 0),
            (0, 0, 8),
            (2, 1, 8),
            (0, 0, 1),
            (0, 1, 16),
            (0, 0, -1),
        ] {
            variants.push(Slot::new(opcode, dst, src, off, imm));
        }
    }
    let odd = [(11, 0, 0), (15, 0, 0), (0, 11, 0), (0, 15, 0), (0, 3, 0), (0, 7, 0), (0, 0, 32), (0, 0, 3)];
    variants.extend(odd.map(|(dst, src, off)| Slot::new(opcode, dst, src, off, 0)));
    variants
}

kernel_test! {
    fn decoder_refuses_what_the_kernel_refuses_and_prints_as_it_does() {
        let mut wrong = String::new();
        let (mut accepted, mut refused, mut printed) = (0, 0, 0);
        for opcode in 0..=u8::MAX {
            // Only we know calls through a register; behind `exit` and `goto` the frame is unreachable.
            if matches!(opcode, 0x8d | 0x95 | 0x05 | 0x06) {
                continue;
            }
            for slot in variants(opcode) {
                let both = [slot, Slot::default()];
                let slots = framed(if opcode == 0x18 { &both } else { &both[..1] });
                let ours = decode(&slots);
                let raw = RawProgram::new(ProgramType::SocketFilter, &slots);
                match KernelProgram::load_raw(&raw, LogLevel::Silent) {
                    Ok(_) => {
                        accepted += 1;
                        if let Err(error) = &ours {
                            writeln!(wrong, "{slot:?}: only we refuse: {error}").unwrap();
                            continue;
                        }
                        // Logs take time, so not all of them; helpers have names there, numbers here.
                        if accepted % 3 != 0 || opcode == 0x85 {
                            continue;
                        }
                        let code = ours.expect("checked above");
                        let mine = text(&code.insns[BEFORE], InsnId(BEFORE as u32), &code.pcs).to_string();
                        let loaded = KernelProgram::load_raw(&raw, LogLevel::Steps).expect("loaded just now");
                        if let Some(theirs) = log_line(loaded.log(), opcode) {
                            printed += 1;
                            if mine != theirs {
                                writeln!(wrong, "{slot:?}: {mine}, in the kernel {theirs}").unwrap();
                            }
                        }
                    }
                    Err(error) => {
                        let message = error.log.map(|log| log.message).unwrap_or_default();
                        if is_about_encoding(&message) {
                            refused += 1;
                            if ours.is_ok() {
                                writeln!(wrong, "{slot:?}: only the kernel refuses: {message}").unwrap();
                            }
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(accepted > 700 && refused > 3000 && printed > 200, "{accepted} {refused} {printed}");
    }
}
