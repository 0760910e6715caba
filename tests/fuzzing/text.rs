//! Bytes to instructions to bytes, and instructions to text to instructions.

use beelift::isa::asm::assemble;
use beelift::isa::encode::{Verbatim, encode};
use beelift::isa::text::text;
use beelift::isa::{Code, InsnId, Slot};
use beelift::runtime::helper;
use beelift::{Program, ProgramType};

/// The bytes are slots.
pub(crate) fn decode(data: &[u8]) {
    let slots: Vec<Slot> = data.as_chunks().0.iter().map(|&bytes| Slot(bytes)).collect();
    let code = match beelift::isa::decode(&slots) {
        Ok(code) => code,
        Err(error) => {
            assert!((error.at.0 as usize) < slots.len(), "an error past the end: {error}");
            let _ = error.to_string();
            return;
        }
    };
    let again = encode(&code.insns, &mut Verbatim).expect("what was decoded has an encoding");
    assert_eq!(again.pcs, code.pcs);
    for (before, after) in slots.iter().zip(&again.slots) {
        // Two encodings have a second spelling: the long jump, and the register of `callx` in `imm`.
        assert!(before == after || matches!(before.opcode(), 0x06 | 0x8d), "{before:?} becomes {after:?}");
    }
    assert_eq!(beelift::isa::decode(&again.slots).as_ref(), Ok(&code));
    reads_as_printed(&code);
}

fn reads_as_printed(code: &Code) {
    let lines = code.insns.iter().enumerate();
    let printed: String =
        lines.map(|(at, insn)| format!("{}\n", text(insn, InsnId(at as u32), &code.pcs))).collect();
    let assembly = assemble(&printed, |_| None).unwrap_or_else(|error| panic!("{error} of\n{printed}"));
    assert_eq!(beelift::isa::decode(&assembly.slots).as_ref(), Ok(code), "{printed}");
}

/// The bytes are a source text.
pub(crate) fn assembler(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let numbers = |name: &str| helper::by_name(name).map(|helper| helper.id);
    match assemble(&source, numbers) {
        Ok(assembly) => {
            assert_eq!(assembly.lines.len(), assembly.slots.len());
            // A `.raw` line may hold anything.
            if let Ok(code) = beelift::isa::decode(&assembly.slots) {
                reads_as_printed(&code);
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Err(error) = Program::assemble(ProgramType::Xdp, &source, numbers) {
        let _ = error.to_string();
    }
}
