//! A program in the making: instructions, jumps to patch, and which registers hold numbers.
//!
//! In: choices. Out: instructions. What holds a number is followed as instructions are appended, so that a family can
//! hash all of them at its end; where two ways meet, what is a number on both.

use beelift::ProgramType;
use beelift::isa::effects::RegSet;
use beelift::isa::{
    AluOp, AtomicOp, Callee, CmpOp, Const64, Insn, InsnId, KfuncSlot, MapSlot, Operand, Reg, Sign, Size,
    Width,
};

use super::KFUNCS;
use super::rng::Rng;

/// The context, in the families of small programs.
pub(super) const CTX: Reg = Reg::R6;
/// What the epilogue multiplies with.
const PRIME: i64 = 0x0100_0193;

/// A jump that waits for its target.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct Jump {
    at: usize,
    numbers: RegSet,
}

/// Instructions and what is known of them.
pub(super) struct Code {
    pub(super) rng: Rng,
    pub(super) prog_type: ProgramType,
    pub(super) insns: Vec<Insn>,
    /// Registers that hold numbers here.
    pub(super) numbers: RegSet,
    /// Whether something is to be wrong.
    pub(super) flaw: bool,
    /// Jumps to the common exit.
    exits: Vec<usize>,
    /// Calls and function addresses to patch, with the number of the function.
    functions: Vec<(usize, usize)>,
}

impl Code {
    pub(super) fn new(rng: Rng, prog_type: ProgramType, flaw: bool) -> Self {
        Self {
            rng,
            prog_type,
            insns: Vec::new(),
            numbers: RegSet::EMPTY,
            flaw,
            exits: Vec::new(),
            functions: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, insn: Insn) -> usize {
        self.follow(&insn);
        self.insns.push(insn);
        self.insns.len() - 1
    }

    /// Which registers hold numbers behind an instruction. Loads do; a load of a pointer says so itself.
    fn follow(&mut self, insn: &Insn) {
        let numbers = &mut self.numbers;
        match *insn {
            Insn::Alu { op: AluOp::Mov, dst, src: Operand::Reg(src), .. } => {
                if numbers.contains(src) {
                    numbers.insert(dst);
                } else {
                    numbers.remove(dst);
                }
            }
            Insn::Alu { op: AluOp::Mov, dst, .. } | Insn::Const { dst, value: Const64::Imm(_) } => {
                numbers.insert(dst);
            }
            Insn::Alu { dst, src: Operand::Reg(src), .. } if !numbers.contains(src) => numbers.remove(dst),
            Insn::Const { dst, .. } => numbers.remove(dst),
            Insn::Load { dst, .. } | Insn::LoadAcquire { dst, .. } => numbers.insert(dst),
            Insn::Atomic { op: AtomicOp::CmpXchg, .. } => numbers.insert(Reg::R0),
            Insn::Atomic { fetch: true, src, .. } => numbers.insert(src),
            Insn::Call(_) | Insn::LegacyPacket { .. } => {
                *numbers = numbers.minus(RegSet::CALLER_SAVED).union(RegSet::of(Reg::R0));
            }
            _ => {}
        }
    }

    pub(super) fn here(&self) -> InsnId {
        InsnId(u32::try_from(self.insns.len()).expect("a short program"))
    }
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        self.push(Insn::Alu { op, width, dst, src });
    }
    /// `dst op= imm` in 64 bits.
    pub(super) fn alu_imm(&mut self, op: AluOp, dst: Reg, imm: i64) {
        self.alu(op, Width::W64, dst, Operand::Imm(imm));
    }
    /// `dst op= src` in 64 bits.
    pub(super) fn alu_reg(&mut self, op: AluOp, dst: Reg, src: Reg) {
        self.alu(op, Width::W64, dst, Operand::Reg(src));
    }
    pub(super) fn mov(&mut self, dst: Reg, src: Reg) {
        self.alu_reg(AluOp::Mov, dst, src);
    }
    pub(super) fn set(&mut self, dst: Reg, value: u64) {
        match i32::try_from(value.cast_signed()) {
            Ok(small) => self.alu_imm(AluOp::Mov, dst, i64::from(small)),
            Err(_) => {
                self.push(Insn::Const { dst, value: Const64::Imm(value) });
            }
        }
    }
    pub(super) fn load(&mut self, size: Size, sign: Sign, dst: Reg, base: Reg, off: i16) {
        self.push(Insn::Load { size, sign, dst, base, off });
    }
    /// A load that yields a pointer.
    pub(super) fn load_pointer(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.load(size, Sign::Zero, dst, base, off);
        self.numbers.remove(dst);
    }
    pub(super) fn store(&mut self, size: Size, base: Reg, off: i16, src: Operand) {
        self.push(Insn::Store { size, base, off, src });
    }
    pub(super) fn map(&mut self, dst: Reg, map: u32) {
        self.push(Insn::Const { dst, value: Const64::Map(MapSlot(map)) });
    }
    /// `dst = r10 + off`
    pub(super) fn stack_pointer(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Reg::R10);
        self.alu_imm(AluOp::Add, dst, i64::from(off));
    }
    pub(super) fn helper(&mut self, id: u32) {
        self.push(Insn::Call(Callee::Helper(id)));
    }
    pub(super) fn kfunc(&mut self, name: &str) {
        let index = KFUNCS.iter().position(|known| *known == name).expect("a kernel function of the list");
        let kfunc = KfuncSlot(u32::try_from(index).expect("a short list"));
        self.push(Insn::Call(Callee::Kfunc { kfunc, module: 0 }));
    }
    /// `r0 = lookup(map, r10 + key)`: a pointer that may be null.
    pub(super) fn lookup(&mut self, map: u32, key: i16) {
        self.map(Reg::R1, map);
        self.stack_pointer(Reg::R2, key);
        self.helper(1);
        self.numbers.remove(Reg::R0);
    }

    /// Calls the function of that number.
    pub(super) fn call(&mut self, function: usize) {
        let at = self.push(Insn::Call(Callee::Subprogram(InsnId(0))));
        self.functions.push((at, function));
    }
    /// The address of the function of that number.
    pub(super) fn function(&mut self, dst: Reg, function: usize) {
        let at = self.push(Insn::Const { dst, value: Const64::Function(InsnId(0)) });
        self.functions.push((at, function));
    }
    /// The function of that number begins here, and is given numbers in some of r1 to r5.
    pub(super) fn begin(&mut self, function: usize, given: RegSet) {
        let entry = self.here();
        for &(at, _) in self.functions.iter().filter(|(_, called)| *called == function) {
            match &mut self.insns[at] {
                Insn::Call(Callee::Subprogram(to)) | Insn::Const { value: Const64::Function(to), .. } => {
                    *to = entry
                }
                other => unreachable!("only calls and addresses name functions, not {other:?}"),
            }
        }
        self.numbers = given;
    }

    pub(super) fn branch(&mut self, op: CmpOp, width: Width, lhs: Reg, rhs: Operand) -> Jump {
        let at = self.push(Insn::Branch { op, width, lhs, rhs, to: InsnId(0) });
        Jump { at, numbers: self.numbers }
    }
    pub(super) fn jump(&mut self) -> Jump {
        let at = self.push(Insn::Jump { to: InsnId(0) });
        let numbers = std::mem::replace(&mut self.numbers, RegSet::ALL);
        Jump { at, numbers }
    }
    pub(super) fn may_goto(&mut self) -> Jump {
        let at = self.push(Insn::MayGoto { to: InsnId(0) });
        Jump { at, numbers: self.numbers }
    }
    /// The jump comes here.
    pub(super) fn land(&mut self, jump: Jump) {
        self.numbers = self.numbers.intersect(jump.numbers);
        self.patch(jump.at);
    }
    /// Leaves by the common exit.
    pub(super) fn exit_if(&mut self, op: CmpOp, width: Width, lhs: Reg, rhs: Operand) {
        let at = self.push(Insn::Branch { op, width, lhs, rhs, to: InsnId(0) });
        self.exits.push(at);
    }
    pub(super) fn exit_if_zero(&mut self, register: Reg) {
        self.exit_if(CmpOp::Eq, Width::W64, register, Operand::Imm(0));
    }
    pub(super) fn patch(&mut self, at: usize) {
        let target = self.here();
        match &mut self.insns[at] {
            Insn::Branch { to, .. } | Insn::Jump { to } | Insn::MayGoto { to } => *to = target,
            other => unreachable!("only branches are patched, not {other:?}"),
        }
    }

    /// All numbers hashed into r0, folded to the half that the kernel shows, and the common exit.
    pub(super) fn epilogue(&mut self) {
        let mut numbers = self.numbers.iter();
        match numbers.next() {
            None => self.set(Reg::R0, 0),
            Some(Reg::R0) => {}
            Some(first) => self.mov(Reg::R0, first),
        }
        for register in numbers.collect::<Vec<_>>() {
            self.alu_imm(AluOp::Mul, Reg::R0, PRIME);
            self.alu_reg(AluOp::Xor, Reg::R0, register);
        }
        self.mov(Reg::R1, Reg::R0);
        self.alu_imm(AluOp::Rsh, Reg::R1, 32);
        self.alu_reg(AluOp::Xor, Reg::R0, Reg::R1);
        self.push(Insn::Exit);
        self.common_exit();
    }
    /// Where [`Code::exit_if`] goes, if anything does.
    pub(super) fn common_exit(&mut self) {
        if self.exits.is_empty() {
            return;
        }
        self.patch_exits();
        self.set(Reg::R0, 1);
        self.push(Insn::Exit);
    }
    pub(super) fn patch_exits(&mut self) {
        for at in std::mem::take(&mut self.exits) {
            self.patch(at);
        }
    }
    /// Adds a jump to the common exit.
    pub(super) fn push_exit(&mut self, at: usize) {
        self.exits.push(at);
    }

    pub(super) fn width(&mut self) -> Width {
        self.rng.pick(&[Width::W32, Width::W64])
    }
    pub(super) fn size(&mut self) -> Size {
        self.rng.pick(&[Size::B, Size::H, Size::W, Size::DW])
    }
    pub(super) fn imm(&mut self) -> i64 {
        i64::from(self.rng.interesting() as u32 as i32)
    }
    /// Whether a flaw goes in here.
    pub(super) fn flawed(&mut self, percent: u32) -> bool {
        self.flaw && self.rng.chance(percent)
    }
    /// One of two, the second if that is the flaw.
    pub(super) fn either<T>(&mut self, percent: u32, right: T, wrong: T) -> T {
        if self.flawed(percent) { wrong } else { right }
    }
    /// A register that holds a number.
    pub(super) fn number(&mut self) -> Reg {
        if self.numbers.is_empty() {
            self.set(Reg::R0, 9);
        }
        let numbers: Vec<Reg> = self.numbers.iter().collect();
        self.rng.pick(&numbers)
    }
}
