//! From Cranelift IR to bytes, relocations by name and a pc map.
#![forbid(unsafe_code)]

use cranelift_codegen::binemit::Reloc as MachineReloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{ExternalName, TrapCode};
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget};

use super::code::{CompiledFunction, PcMapEntry, Reloc, RelocKind};
use super::{CodegenError, Target, names};
use crate::ir::{Function, Unsupported};
use crate::isa::InsnId;

/// Compiles what `lower` left in the context.
pub(super) fn function(
    function: &Function,
    target: &Target,
    context: &mut Context,
) -> Result<CompiledFunction, CodegenError> {
    let isa = target.isa_for(function.blocks.len())?;
    context.compile(&**isa, &mut ControlPlane::default()).map_err(|error| match &error.inner {
        cranelift_codegen::CodegenError::CodeTooLarge
        | cranelift_codegen::CodegenError::ImplLimitExceeded => {
            let what = "a function of more code than Cranelift takes";
            CodegenError::Unsupported(Unsupported { at: InsnId(0), what: what.into() })
        }
        // The verifier's own text says only that there were errors.
        cranelift_codegen::CodegenError::Verifier(errors) => {
            backend(errors.0.first().map(ToString::to_string).unwrap_or_default().as_str())
        }
        other => backend(&other.to_string()),
    })?;
    let compiled = context.take_compiled_code().ok_or_else(|| backend("no code"))?;
    let buffer = &compiled.buffer;
    // Traps are explicit branches. The hardware's own division traps stay in the table; their divisors
    // were made safe by `isa::semantics` or proven so.
    debug_assert!(
        buffer.traps().iter().all(|trap| {
            [TrapCode::INTEGER_DIVISION_BY_ZERO, TrapCode::INTEGER_OVERFLOW].contains(&trap.code)
        }),
        "generated code must not depend on signals"
    );
    let relocs = buffer.relocs().iter().map(|reloc| convert(reloc, context)).collect::<Result<_, _>>()?;
    let mut pc_map: Vec<PcMapEntry> = Vec::new();
    for range in buffer.get_srclocs_sorted() {
        let insn = (!range.loc.is_default()).then(|| InsnId(range.loc.bits()));
        if pc_map.last().is_none_or(|last| last.insn != insn) {
            pc_map.push(PcMapEntry { offset: range.start, insn });
        }
    }
    Ok(CompiledFunction {
        name: function.name.clone(),
        subprogram: function.subprogram,
        bytes: buffer.data().to_vec(),
        align: buffer.alignment.max(16),
        relocs,
        pc_map,
    })
}

fn backend(message: &str) -> CodegenError {
    CodegenError::Backend { message: message.to_owned() }
}

fn convert(reloc: &FinalizedMachReloc, context: &Context) -> Result<Reloc, CodegenError> {
    let kind = match reloc.kind {
        MachineReloc::Abs8 => RelocKind::Abs8,
        MachineReloc::X86CallPCRel4 | MachineReloc::X86CallPLTRel4 => RelocKind::X86CallPcRel4,
        MachineReloc::X86PCRel4 => RelocKind::X86PcRel4,
        MachineReloc::Arm64Call => RelocKind::Aarch64Call,
        MachineReloc::Aarch64AdrPrelPgHi21 => RelocKind::Aarch64AdrPage,
        MachineReloc::Aarch64AddAbsLo12Nc => RelocKind::Aarch64AddLow12,
        other => return Err(backend(&format!("relocation {other:?}"))),
    };
    let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = reloc.target else {
        return Err(backend(&format!("relocation against {:?}", reloc.target)));
    };
    let symbol = names::symbol_of(&context.func.params.user_named_funcs()[name]);
    Ok(Reloc { offset: reloc.offset, kind, symbol, addend: reloc.addend })
}
