//! Linking: an `Object` becomes a [`Program`]: one flat list of instructions with symbolic references.
//!
//! In: `elf::Object`, BTF to relocate against. Out: [`Program`], which verifier, interpreter, compiler and the
//! kernel binder read. No address and no file descriptor is known here.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::MapDef;
use beelift_runtime::ctx::ProgramType;

use crate::btf::CoreOutcome;
use crate::isa::{Callee, Const64, Insn, InsnId, Pc, Slot, decode};

mod assemble;
pub mod cfg;
mod error;
mod host;
mod join;
mod objects;
mod trap;

pub use assemble::AssembleError;
pub use cfg::Cfg;
pub use error::LinkError;
pub use host::HostInterface;
pub use join::{LinkOptions, link, link_raw_text};
pub use trap::{Trap, TrapFrame};

/// Linkage of a subprogram: a global one is verified alone, against its BTF prototype.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Linkage {
    /// Verified as part of its callers.
    Static,
    /// Verified alone.
    Global,
}

/// A function of the program. The first one is the program itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subprogram {
    /// Symbol name.
    pub name: String,
    /// First instruction.
    pub entry: InsnId,
    /// One past its last instruction.
    pub end: InsnId,
    /// Linkage.
    pub linkage: Linkage,
    /// BTF id of its `FUNC`, or 0.
    pub btf_func: u32,
}

/// Where an instruction comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// First instruction of the line.
    pub insn: InsnId,
    /// File name as the compiler saw it.
    pub file: Arc<str>,
    /// Text of the source line (BTF keeps it).
    pub text: Arc<str>,
    /// Offset of the file name in the object's BTF strings, as the kernel wants it.
    pub btf_file: u32,
    /// Offset of the text in the object's BTF strings.
    pub btf_text: u32,
    /// 1-based line.
    pub line: u32,
    /// 1-based column.
    pub column: u32,
}

/// A kfunc that the program calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kfunc {
    /// Name.
    pub name: String,
    /// Whether the program declared it `__weak`.
    pub weak: bool,
    /// BTF id of its `FUNC` in the object's BTF, or 0.
    pub btf_func: u32,
}

/// A kernel variable or function address that the program takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ksym {
    /// Name.
    pub name: String,
    /// Whether the program declared it `__weak`.
    pub weak: bool,
    /// BTF id of its type in the object's BTF, or 0 (typeless).
    pub btf_type: u32,
}

/// `BPF_F_SLEEPABLE`: Linux takes `syscall` programs only with it.
const SLEEPABLE: u32 = 1 << 4;

/// A linked program: decoded, position-free, complete.
#[derive(Clone, Debug)]
pub struct Program {
    /// Symbol name.
    pub name: String,
    /// ELF section.
    pub section: String,
    /// Type.
    pub prog_type: ProgramType,
    /// `expected_attach_type`, the kernel's number.
    pub attach_type: u32,
    /// `prog_flags` of `BPF_PROG_LOAD` (`BPF_F_SLEEPABLE`, `BPF_F_XDP_HAS_FRAGS`, …).
    pub prog_flags: u32,
    /// What it attaches to (function, tracepoint, …), from the section name.
    pub attach_target: Option<String>,
    /// Licence text.
    pub license: String,
    /// Instructions of all subprograms.
    pub insns: Vec<Insn>,
    /// Slot index of each instruction.
    pub pcs: Vec<Pc>,
    /// Functions, by ascending entry; the program's own first.
    pub subprograms: Vec<Subprogram>,
    /// The function that ends the program after `bpf_throw`, as an index of `subprograms`; without one the program
    /// returns what was thrown.
    pub exception_callback: Option<usize>,
    /// Maps of the whole object; `MapSlot` indexes them.
    pub maps: Arc<[MapDef]>,
    /// `KfuncSlot` indexes them.
    pub kfuncs: Vec<Kfunc>,
    /// `KsymSlot` indexes them.
    pub ksyms: Vec<Ksym>,
    /// Types of the object.
    pub btf: Option<Arc<crate::btf::Btf>>,
    /// Source lines, by ascending instruction.
    pub lines: Vec<LineInfo>,
    /// Types of the running kernel, for what walks its objects; read when first needed.
    pub kernel_types: Arc<crate::btf::KernelTypes>,
    /// CO-RE relocations, by ascending instruction, and what became of them.
    pub relocations: Vec<CoreOutcome>,
    /// What the embedder adds to the kernel's interface.
    pub host: HostInterface,
}

impl Program {
    /// A program from raw instructions. Immediates of map loads are indexes of `maps`; subprograms are what
    /// calls and function addresses name.
    ///
    /// # Errors
    /// Bytes that are no instruction; an index past `maps`; kfuncs and kernel symbols, which raw numbers do not
    /// name.
    pub fn from_slots(
        prog_type: ProgramType,
        slots: &[Slot],
        maps: Arc<[MapDef]>,
    ) -> Result<Self, LinkError> {
        let program = Self::from_unchecked_slots(prog_type, slots, maps)?;
        program.check_slots()?;
        Ok(program)
    }
    /// As [`Program::from_slots`], but numbers of maps, kfuncs and kernel symbols may still name nothing.
    fn from_unchecked_slots(
        prog_type: ProgramType,
        slots: &[Slot],
        maps: Arc<[MapDef]>,
    ) -> Result<Self, LinkError> {
        let code = decode(slots)?;
        if code.insns.is_empty() {
            return Err(LinkError::Empty);
        }
        let subprograms =
            assemble::subprograms(&code.insns, None, |entry| (entry == InsnId(0)).then(|| "main".to_owned()));
        Ok(Self {
            name: "main".to_owned(),
            section: String::new(),
            prog_type,
            attach_type: 0,
            prog_flags: if prog_type == ProgramType::Syscall { SLEEPABLE } else { 0 },
            attach_target: None,
            license: "GPL".to_owned(),
            insns: code.insns,
            pcs: code.pcs,
            subprograms,
            exception_callback: None,
            maps,
            kfuncs: Vec::new(),
            ksyms: Vec::new(),
            btf: None,
            lines: Vec::new(),
            kernel_types: Arc::default(),
            relocations: Vec::new(),
            host: HostInterface::default(),
        })
    }
    /// Every number in an instruction names something that the program has.
    fn check_slots(&self) -> Result<(), LinkError> {
        for (insn, &at) in self.insns.iter().zip(&self.pcs) {
            let (what, number, count) = match *insn {
                Insn::Const { value, .. } => match value {
                    Const64::Imm(_) | Const64::Function(_) => continue,
                    Const64::Map(map)
                    | Const64::MapValue(map, _)
                    | Const64::MapIndex(map)
                    | Const64::MapIndexValue(map, _) => ("map", map.0, self.maps.len()),
                    Const64::Ksym(ksym) => ("kernel symbol", ksym.0, self.ksyms.len()),
                },
                Insn::Call(Callee::Kfunc { kfunc, .. }) => ("kfunc", kfunc.0, self.kfuncs.len()),
                Insn::Call(Callee::Helper(_) | Callee::Subprogram(_) | Callee::Register(_))
                | Insn::Alu { .. }
                | Insn::Load { .. }
                | Insn::Store { .. }
                | Insn::Atomic { .. }
                | Insn::LoadAcquire { .. }
                | Insn::StoreRelease { .. }
                | Insn::MayGoto { .. }
                | Insn::AddrSpaceCast { .. }
                | Insn::Swap { .. }
                | Insn::Jump { .. }
                | Insn::Branch { .. }
                | Insn::LegacyPacket { .. }
                | Insn::Exit => continue,
            };
            if number as usize >= count {
                return Err(LinkError::NoSuchSlot { at, what, number });
            }
        }
        Ok(())
    }
    /// The instruction that starts at a slot, if one does.
    #[must_use]
    pub fn insn_at(&self, pc: Pc) -> Option<InsnId> {
        let index = self.pcs.binary_search(&pc).ok()?;
        Some(InsnId(u32::try_from(index).ok()?))
    }
    /// The line an instruction belongs to.
    #[must_use]
    pub fn line_of(&self, insn: InsnId) -> Option<&LineInfo> {
        let after = self.lines.partition_point(|line| line.insn <= insn);
        self.lines[..after].last()
    }
    /// The subprogram that holds an instruction, as an index of `subprograms`.
    #[must_use]
    pub fn subprogram_of(&self, insn: InsnId) -> usize {
        self.subprograms.partition_point(|sub| sub.entry <= insn) - 1
    }
    /// Whether the licence is compatible with the GPL, by the kernel's list.
    #[must_use]
    pub fn is_gpl(&self) -> bool {
        matches!(
            self.license.as_str(),
            "GPL" | "GPL v2" | "GPL and additional rights" | "Dual BSD/GPL" | "Dual MIT/GPL" | "Dual MPL/GPL"
        )
    }
}
