//! What the benches share: the workloads, the bytes they work on, a clock that stands still while others run.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use beelift::Object;
use beelift::isa::Slot;
use beelift::link::{self, Program};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::{MapDef, MapKind};

/// Whatever goes wrong ends a bench.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes of the buffer of a workload.
pub(crate) const BUFFER: usize = 1024;

/// Name of the map that holds the buffer.
pub(crate) const BUFFER_MAP: &str = "mem";

/// The workloads that come with the benches.
pub(crate) fn workloads() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/workloads")
}

/// The object's function behind three slots that give it its buffer: `r1 = map value`, `r2 = 1024`.
pub(crate) fn with_buffer(bytes: &[u8]) -> Result<Program> {
    let mut object = Object::parse(bytes)?;
    let slot = object.add_map(MapDef::new(BUFFER_MAP, MapKind::Array, 4, BUFFER as u32, 1));
    let slot = i32::try_from(slot.0)?;
    let prologue =
        [Slot::new(0x18, 1, 2, 0, slot), Slot::new(0, 0, 0, 0, 0), Slot::new(0xb7, 2, 0, 0, BUFFER as i32)];
    let mut program = link::link_raw_text(&object, ProgramType::Xdp, &prologue)?;
    program.license = "GPL".to_owned();
    Ok(program)
}

/// `r0 = 2; exit`: what remains is the cost of a run itself.
pub(crate) fn empty() -> Result<Program> {
    let slots = [Slot::new(0xb7, 0, 0, 0, 2), Slot::new(0x95, 0, 0, 0, 0)];
    Ok(Program::from_slots(ProgramType::Xdp, &slots, Vec::new().into())?)
}

/// Contents of the buffer: pseudo-random bytes, and what some programs want to find.
pub(crate) fn buffer(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; BUFFER];
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8; // The low byte.
    }
    match name.get(..3) {
        Some("w07") => {
            for at in 0..250 {
                let letter = b'a' + (at % 26) as u8; // Below 26.
                bytes[512 + at] = letter;
                bytes[768 + at] = letter;
            }
        }
        Some("w11") => (0..7).for_each(|at| tcp_packet(&mut bytes[at * 128..(at + 1) * 128], at)),
        Some("w22") => {
            for (at, word) in bytes[512..].chunks_exact_mut(4).enumerate() {
                let value = at as u32 * (u32::MAX / 128); // Below 128.
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        _ => {}
    }
    bytes
}

fn tcp_packet(packet: &mut [u8], number: usize) {
    const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];
    let mut at = 12;
    if number % 3 == 1 {
        packet[12..14].copy_from_slice(&[0x81, 0]);
        at = 16;
    }
    packet[at..at + 2].copy_from_slice(&[8, 0]);
    let ip = at + 2;
    packet[ip] = 0x45;
    packet[ip + 9] = if number == 5 { 17 } else { 6 };
    let tcp = ip + 20;
    packet[tcp + 12] = 0xa0;
    packet[tcp + 13] = if number % 2 == 1 { 2 } else { 0x10 };
    packet[tcp + 20..tcp + 40].copy_from_slice(&OPTIONS);
}
