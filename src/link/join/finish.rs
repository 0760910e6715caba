//! From joined slots to a [`Program`]: CO-RE, decoding, subprograms, source lines.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use beelift_runtime::MapDef;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::helper;

use super::{CALL, Joiner};
use crate::btf::{Btf, CoreOutcome, CoreTarget, FuncLinkage, KernelTypes, Kind, Relocator, TypeId};
use crate::elf::{Function, ProgramDef};
use crate::isa::{InsnId, Pc, decode};
use crate::link::{HostInterface, LineInfo, LinkError, LinkOptions, Linkage, Program, Subprogram};

/// Whose types answer: for programs that walk the kernel's objects its own come first.
fn targets(walks_kernel_objects: bool, options: &LinkOptions) -> Vec<CoreTarget> {
    let mut targets = options.core_targets.clone();
    if walks_kernel_objects {
        targets.sort_by_key(|target| !matches!(target, CoreTarget::Kernel(_)));
    }
    targets
}

/// The kernel's types, shared with those that CO-RE asks.
fn kernel_types(options: &LinkOptions) -> Arc<KernelTypes> {
    let shared = options.core_targets.iter().find_map(|target| match target {
        CoreTarget::Kernel(types) => Some(Arc::clone(types)),
        CoreTarget::Builtin | CoreTarget::Own | CoreTarget::Types(..) => None,
    });
    shared.unwrap_or_default()
}

impl Joiner<'_> {
    pub(super) fn finish(
        mut self,
        name: &str,
        prog_type: ProgramType,
        def: Option<&ProgramDef>,
        options: &LinkOptions,
    ) -> Result<Program, LinkError> {
        let walks = prog_type.info().kernel_only || self.walks_kernel_objects();
        let outcomes = self.relocate(&targets(walks, options))?;
        let code = decode(&self.slots)?;
        let id_of = |slot: usize| -> Option<InsnId> {
            let pc = Pc(u32::try_from(slot).ok()?);
            code.pcs.binary_search(&pc).ok().and_then(|index| u32::try_from(index).ok()).map(InsnId)
        };
        let end = InsnId(u32::try_from(code.insns.len()).expect("slots are capped"));
        let btf = self.object.btf();
        let mut subprograms: Vec<Subprogram> = Vec::with_capacity(self.pieces.len());
        for (index, piece) in self.pieces.iter().enumerate() {
            let (_, function) = self.code(piece.place);
            let entry = if index == 0 { Some(InsnId(0)) } else { id_of(piece.start) };
            let entry = entry.expect("no function ends inside an instruction");
            subprograms.push(Subprogram {
                name: function.name.clone(),
                entry,
                end,
                linkage: linkage(btf.map(Arc::as_ref), function),
                btf_func: function.btf_func,
            });
        }
        for index in 1..subprograms.len() {
            subprograms[index - 1].end = subprograms[index].entry;
        }
        let lines = self.lines(&id_of);
        let relocations = outcomes
            .into_iter()
            .filter_map(|(slot, outcome)| id_of(slot).map(|insn| CoreOutcome { insn, ..outcome }))
            .collect();
        let section =
            def.map_or_else(|| self.code(self.pieces[0].place).0.name.clone(), |def| def.section.clone());
        let maps: Arc<[MapDef]> = Arc::clone(self.object.maps());
        let program = Program {
            name: name.to_owned(),
            section,
            prog_type,
            attach_type: def.map_or(0, |def| def.attach_type),
            prog_flags: def.map_or(0, |def| def.prog_flags),
            attach_target: def.and_then(|def| def.attach_target.clone()),
            license: self.object.license().to_owned(),
            insns: code.insns,
            pcs: code.pcs,
            subprograms,
            exception_callback: self.exception_callback,
            maps,
            kfuncs: self.kfuncs,
            ksyms: self.ksyms,
            btf: btf.cloned(),
            lines,
            kernel_types: kernel_types(options),
            relocations,
            host: HostInterface::default(),
        }
        .for_host(options.host.clone());
        program.check_slots()?;
        Ok(program)
    }

    /// Whether the program gets pointers to the kernel's objects, whose layout only the kernel knows.
    fn walks_kernel_objects(&self) -> bool {
        let served = |name: &str| helper::kfunc_by_name(name).is_some() || name == helper::THROW;
        self.kfuncs.iter().any(|kfunc| !served(&kfunc.name))
            || self.slots.iter().any(|slot| {
                let object = |found: &helper::Helper| {
                    matches!(found.proto.ret, helper::RetKind::BtfId { name, .. } if !name.is_empty())
                };
                slot.opcode() == CALL
                    && slot.src() == 0
                    && helper::by_id(slot.imm().cast_unsigned()).is_some_and(object)
            })
    }

    /// Applies the CO-RE relocations of all pieces; outcomes by output slot.
    fn relocate(&mut self, targets: &[CoreTarget]) -> Result<Vec<(usize, CoreOutcome)>, LinkError> {
        let mut outcomes = Vec::new();
        let Some(btf) = self.object.btf() else { return Ok(outcomes) };
        let mut relocator = Relocator::new(btf, targets);
        for piece in &self.pieces {
            let (code, function) = self.code(piece.place);
            let end = piece.start + (function.end - function.start) as usize;
            let first = code.core.partition_point(|record| record.offset / 8 < function.start);
            let here = code.core[first..].iter().take_while(|record| record.offset / 8 < function.end);
            for (index, record) in here.enumerate() {
                let number = u32::try_from(first + index).unwrap_or(u32::MAX);
                let slot = record.offset / 8;
                let at = piece.start + (slot - function.start) as usize;
                let error = |what: String| LinkError::Core { section: code.name.clone(), slot, what };
                if !record.offset.is_multiple_of(8) {
                    return Err(error(format!("byte offset {} is inside an instruction", record.offset)));
                }
                let outcome = relocator
                    .apply(record, number, &mut self.slots[at..end])
                    .map_err(|what| error(what.to_string()))?;
                outcomes.push((at, outcome));
            }
        }
        Ok(outcomes)
    }

    fn lines(&self, id_of: &dyn Fn(usize) -> Option<InsnId>) -> Vec<LineInfo> {
        let Some(btf) = self.object.btf() else { return Vec::new() };
        let mut known: HashMap<u32, Arc<str>> = HashMap::new();
        let mut text = |offset: u32| -> Arc<str> {
            Arc::clone(known.entry(offset).or_insert_with(|| btf.text(offset).trim_end().into()))
        };
        let mut lines = Vec::new();
        for piece in &self.pieces {
            let (code, function) = self.code(piece.place);
            let first = code.lines.partition_point(|line| line.offset / 8 < function.start);
            for line in code.lines[first..].iter().take_while(|line| line.offset / 8 < function.end) {
                let at = piece.start + (line.offset / 8 - function.start) as usize;
                let Some(insn) = id_of(at) else { continue };
                lines.push(LineInfo {
                    insn,
                    file: text(line.file),
                    text: text(line.text),
                    btf_file: line.file,
                    btf_text: line.text,
                    line: line.line,
                    column: line.column,
                });
            }
        }
        // One line an instruction: the kernel refuses records that do not ascend.
        lines.dedup_by_key(|line| line.insn);
        lines
    }
}

/// A function is verified alone only when its types say that it is visible.
fn linkage(btf: Option<&Btf>, function: &Function) -> Linkage {
    let ty = btf.and_then(|btf| btf.get(TypeId(function.btf_func)));
    let typed = ty.is_some_and(|ty| matches!(ty.kind, Kind::Func { linkage: FuncLinkage::Global, .. }));
    if typed && function.global { Linkage::Global } else { Linkage::Static }
}
