//! Binding a linked program to the kernel: symbolic references become descriptors, BTF ids and addresses.
//!
//! In: a [`Program`] and the kernel's copies of its maps. Out: [`Bound`]: slots and the function and line
//! records that go with them. Not here: loading (`prog`), the kernel's names (`symbols`).
#![forbid(unsafe_code)]

use super::map::KernelMap;
use super::symbols::KernelSymbols;
use super::sys::attr::{FuncInfo, LineInfo};
use super::{Errno, Hint, OsError};
use crate::isa::encode::{EncodeError, Resolver, Symbol, Unencodable, encode};
use crate::isa::{Callee, Const64, Insn, KfuncSlot, KsymSlot, MapSlot, Pc, Slot};
use crate::link::Program;

/// Helper numbers that stand for weak kfuncs the kernel lacks: the verifier refuses them unless they are
/// unreachable, and the log shows which one it was.
const MISSING_KFUNC: u32 = 2_002_000_000;

/// A program as `BPF_PROG_LOAD` takes it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) slots: Vec<Slot>,
    /// Slot of each instruction.
    pub(super) pcs: Vec<Pc>,
    pub(super) func_info: Vec<FuncInfo>,
    pub(super) line_info: Vec<LineInfo>,
    pub(super) attach_btf_id: u32,
}

impl Bound {
    /// Binds `program` to `maps`. Function and line records are made when BTF goes `with` it.
    pub(super) fn new(
        program: &Program,
        maps: &[KernelMap],
        symbols: &KernelSymbols,
        with: Btf,
    ) -> Result<Self, OsError> {
        let fail = |hint| OsError::new("bind", &program.name, Errno::EINVAL).with_hint(hint);
        let attach_btf_id = attach_target(program, symbols).map_err(fail)?;
        let kfuncs = program.kfuncs.iter().map(|kfunc| symbols.function(&kfunc.name)).collect();
        let mut binder = Binder { program, maps, symbols, kfuncs };
        let insns: Vec<Insn> = program.insns.iter().map(|insn| binder.rewrite(insn)).collect();
        let encoded = encode(&insns, &mut binder).map_err(|error: EncodeError<Hint>| match error.reason {
            Unencodable::Unresolved(hint) => fail(hint),
            Unencodable::TooFar(_)
            | Unencodable::NoTarget(_)
            | Unencodable::Immediate(_)
            | Unencodable::Combination => fail(Hint::Encoding(error.to_string())),
        })?;
        let (func_info, line_info) = match with {
            Btf::Loaded => records(program, &encoded.pcs),
            Btf::None => (Vec::new(), Vec::new()),
        };
        let (slots, pcs) = (encoded.slots, encoded.pcs);
        Ok(Self { slots, pcs, func_info, line_info, attach_btf_id })
    }
}

/// Whether the object's types were loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Btf {
    Loaded,
    None,
}

struct Binder<'a> {
    program: &'a Program,
    maps: &'a [KernelMap],
    symbols: &'a KernelSymbols,
    /// BTF id of each kfunc, where the kernel has it.
    kfuncs: Vec<Option<u32>>,
}

impl Binder<'_> {
    /// What has no encoding of its own: map indexes without an array of descriptors, weak kfuncs that are missing.
    fn rewrite(&self, insn: &Insn) -> Insn {
        if let Insn::Call(Callee::Kfunc { kfunc, .. }) = *insn
            && self.is_missing(kfunc)
        {
            return Insn::Call(Callee::Helper(MISSING_KFUNC + kfunc.0));
        }
        let Insn::Const { dst, value } = *insn else { return *insn };
        let value = match value {
            Const64::MapIndex(slot) => Const64::Map(slot),
            Const64::MapIndexValue(slot, offset) => Const64::MapValue(slot, offset),
            Const64::Imm(_)
            | Const64::Map(_)
            | Const64::MapValue(..)
            | Const64::Ksym(_)
            | Const64::Function(_) => value,
        };
        Insn::Const { dst, value }
    }

    fn is_missing(&self, slot: KfuncSlot) -> bool {
        let index = slot.0 as usize;
        self.program.kfuncs.get(index).is_some_and(|kfunc| kfunc.weak) && self.kfuncs[index].is_none()
    }
}

impl Resolver for Binder<'_> {
    type Error = Hint;

    fn map(&mut self, map: MapSlot) -> Result<u32, Hint> {
        let map = self.maps.get(map.0 as usize);
        map.map(KernelMap::raw_fd)
            .ok_or_else(|| Hint::Encoding("a reference to a map that was not given".into()))
    }

    fn kfunc(&mut self, kfunc: KfuncSlot, _module: i16) -> Result<(u32, i16), Hint> {
        let index = kfunc.0 as usize;
        let id = self.kfuncs.get(index).copied().flatten();
        let name =
            || self.program.kfuncs.get(index).map_or_else(|| format!("number {index}"), |it| it.name.clone());
        id.map(|id| (id, 0)).ok_or_else(|| Hint::KfuncMissing(name()))
    }

    fn ksym(&mut self, slot: KsymSlot) -> Result<Symbol, Hint> {
        let Some(ksym) = self.program.ksyms.get(slot.0 as usize) else {
            return Err(Hint::SymbolMissing(format!("number {}", slot.0)));
        };
        let symbol = if ksym.btf_type == 0 {
            self.symbols.address(&ksym.name).map(Symbol::Address)
        } else {
            self.symbols.object(&ksym.name).map(|id| Symbol::Typed { id, object: 0 })
        };
        match symbol {
            Some(symbol) => Ok(symbol),
            None if ksym.weak => Ok(Symbol::Address(0)),
            None => Err(Hint::SymbolMissing(ksym.name.clone())),
        }
    }
}

/// BTF id of what a tracing program attaches to, which the verifier must know at load time.
fn attach_target(program: &Program, symbols: &KernelSymbols) -> Result<u32, Hint> {
    const TRACE_RAW_TP: u32 = 23;
    const LSM_MAC: u32 = 27;
    const TRACE_ITER: u32 = 28;
    const LSM_CGROUP: u32 = 43;
    use beelift_runtime::ctx::ProgramType;
    if !matches!(program.prog_type, ProgramType::Tracing | ProgramType::Lsm) {
        return Ok(0);
    }
    let Some(target) = program.attach_target.as_deref() else { return Ok(0) };
    let found = match program.attach_type {
        TRACE_RAW_TP => symbols.typedef(&format!("btf_trace_{target}")),
        LSM_MAC | LSM_CGROUP => symbols.function(&format!("bpf_lsm_{target}")),
        TRACE_ITER => symbols.function(&format!("bpf_iter_{target}")),
        _ => symbols.function(target),
    };
    found.ok_or_else(|| Hint::TargetMissing(target.to_owned()))
}

/// Function and line records; the kernel wants one function record for each subprogram, and a line at the
/// start of each, or none at all.
fn records(program: &Program, pcs: &[Pc]) -> (Vec<FuncInfo>, Vec<LineInfo>) {
    let functions = &program.subprograms;
    if functions.is_empty() || functions.iter().any(|function| function.btf_func == 0) {
        return (Vec::new(), Vec::new());
    }
    let func_info = functions
        .iter()
        .map(|function| FuncInfo { insn_off: pcs[function.entry.index()].0, type_id: function.btf_func })
        .collect();
    let starts = |function: &crate::link::Subprogram| {
        program.lines.binary_search_by_key(&function.entry, |line| line.insn).is_ok()
    };
    if !functions.iter().all(starts) {
        return (func_info, Vec::new());
    }
    let mut line_info: Vec<LineInfo> = program
        .lines
        .iter()
        .filter_map(|line| {
            let insn_off = pcs.get(line.insn.index())?.0;
            // The kernel packs both: 22 bits of line, 10 of column.
            let line_col = line.line << 10 | line.column.min(1023);
            Some(LineInfo { insn_off, file_name_off: line.btf_file, line_off: line.btf_text, line_col })
        })
        .collect();
    line_info.dedup_by_key(|line| line.insn_off);
    (func_info, line_info)
}
