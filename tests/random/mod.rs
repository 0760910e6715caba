//! Random programs: a generator that knows what its registers hold, so that most of what it makes is accepted.
//!
//! Shared by the plain tests (seconds) and the fuzz targets (hours). A program is a function of its seed alone.
//! It is of type `xdp` or `sched_cls`, reads context, packet, stack, an array and a hash map, ends by hashing every
//! scalar register into r0 and into the array, and returns the hash: what any engine computes differently shows.
//!
//! Some programs are made with one flaw (a bound off by a little), so that verdicts can be compared as well.

use beelift::ProgramType;
use beelift::isa::{
    AluOp, AtomicOp, ByteOrder, Callee, CmpOp, Const64, Insn, InsnId, MapSlot, Operand, Reg, Sign, Size,
    Width,
};
use beelift::runtime::{MapDef, MapKind};

/// Bytes of the packet every program may touch after its own bounds check.
const PACKET: u32 = 48;
/// Packets a program runs over, one after the other on the same maps.
const PACKETS: u32 = 4;
/// Bytes of a map value.
const VALUE: u32 = 64;
/// Stack slots that are written before anything reads them: r10-64 to r10-1.
const SCRATCH: i16 = -64;

/// xorshift64*, seeded so that neighbouring seeds differ at once. Choices may also be made by given bytes, one a
/// choice, until they are used up: so a fuzzer can change one choice and keep the others.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    given: std::vec::IntoIter<u8>,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mixed(seed) | 1, given: Vec::new().into_iter() }
    }
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self { given: Vec::from(bytes).into_iter(), ..Self::new(0) }
    }
    pub(crate) fn bits(&mut self) -> u64 {
        if let Some(byte) = self.given.next() {
            return mixed(u64::from(byte));
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(((self.bits() >> 32) * u64::from(bound)) >> 32).expect("below a 32-bit bound")
    }
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(u32::try_from(from.len()).expect("a short list")) as usize]
    }
    /// Numbers near the edges of their ranges, and any others.
    pub(crate) fn interesting(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1,
            2,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.bits(),
            1 => self.bits() >> self.below(64),
            2 => self.pick(&EDGES),
            _ => self.pick(&EDGES).wrapping_add(self.bits() % 5).wrapping_sub(2),
        }
    }
}

fn mixed(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A generated program with its maps and inputs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) prog_type: ProgramType,
    pub(crate) insns: Vec<Insn>,
    pub(crate) maps: Vec<MapDef>,
    pub(crate) packets: Vec<Vec<u8>>,
}

/// Takes out what a finding does not need: as long as `still` says that it is still there, instructions become
/// jumps to the next one, which are removed at the end.
pub(crate) fn shrink(insns: &[Insn], still: &dyn Fn(&[Insn]) -> bool) -> Vec<Insn> {
    let mut small = insns.to_vec();
    let mut span = small.len() / 2;
    while span > 0 {
        let mut start = 0;
        while start + 1 < small.len() {
            let end = (start + span).min(small.len() - 1);
            let mut shorter = small.clone();
            for (at, insn) in shorter.iter_mut().enumerate().take(end).skip(start) {
                *insn = next_of(at);
            }
            if shorter != small && still(&shorter) {
                small = shorter;
            }
            start = end;
        }
        span /= 2;
    }
    small.into_iter().enumerate().filter(|(at, insn)| *insn != next_of(*at)).map(|(_, insn)| insn).collect()
}

fn next_of(at: usize) -> Insn {
    Insn::Jump { to: InsnId(u32::try_from(at + 1).expect("a short program")) }
}

/// The maps every program gets: an array with one element per index 0 to 3, a small hash, programs (there are none).
pub(crate) fn maps() -> Vec<MapDef> {
    vec![
        MapDef::new("array", MapKind::Array, 4, VALUE, 4),
        MapDef::new("hash", MapKind::Hash, 8, 16, 8),
        MapDef::new("jumps", MapKind::ProgArray, 4, 4, 4),
    ]
}

/// Makes the program of a seed.
pub(crate) fn generate(seed: u64) -> Case {
    case(seed, Rng::new(seed))
}

/// Makes the program that bytes choose.
pub(crate) fn generate_from(bytes: &[u8]) -> Case {
    case(0, Rng::from_bytes(bytes))
}

fn case(seed: u64, mut rng: Rng) -> Case {
    let flawed = rng.chance(15);
    let first = packet(&mut rng);
    // From a sequence of their own, so that their number does not change the program.
    let mut others = Rng::new(!seed);
    let packets = std::iter::once(first).chain((1..PACKETS).map(|_| packet(&mut others))).collect();
    let calls_back = rng.chance(10);
    let target = if rng.chance(25) { &SCHED_CLS } else { &XDP };
    let mut generator = Generator {
        rng,
        target,
        insns: Vec::new(),
        subprograms: Vec::new(),
        callbacks: Vec::new(),
        calls_back,
        exits: Vec::new(),
        flaw: flawed,
    };
    generator.program();
    Case { seed, prog_type: target.prog_type, insns: generator.insns, maps: maps(), packets }
}

fn packet(rng: &mut Rng) -> Vec<u8> {
    let length = PACKET + rng.below(64);
    (0..length).map(|_| rng.bits() as u8).collect()
}

const CTX: Reg = Reg::R6;
const PKT: Reg = Reg::R7;
const KEPT: Reg = Reg::R8;
const VAL: Reg = Reg::R9;
/// Registers that always hold numbers in the body.
const NUMBERS: [Reg; 6] = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4, KEPT];
/// Scratch for pointers and loop counters.
const TEMP: Reg = Reg::R5;

/// What depends on the program type.
struct Target {
    prog_type: ProgramType,
    /// Context offsets of the packet's start and end.
    packet: [i16; 2],
    /// Context offsets of 32-bit numbers.
    numbers: &'static [i16],
    /// Helpers that copy packet bytes to the stack and back: `(ctx, offset, buffer, length)`.
    copy: [u32; 2],
}

const XDP: Target =
    Target { prog_type: ProgramType::Xdp, packet: [0, 4], numbers: &[12, 16], copy: [189, 190] };
/// Length, mark and protocol.
const SCHED_CLS: Target =
    Target { prog_type: ProgramType::SchedCls, packet: [76, 80], numbers: &[0, 8, 16], copy: [26, 9] };

struct Generator {
    rng: Rng,
    target: &'static Target,
    insns: Vec<Insn>,
    /// Calls to patch: position of the call.
    subprograms: Vec<usize>,
    /// Addresses of the callback to patch: position of the instruction.
    callbacks: Vec<usize>,
    /// Whether the program may call back: the kernel wants types for that.
    calls_back: bool,
    /// Jumps to the common exit.
    exits: Vec<usize>,
    flaw: bool,
}

impl Generator {
    fn push(&mut self, insn: Insn) -> usize {
        self.insns.push(insn);
        self.insns.len() - 1
    }
    fn here(&self) -> InsnId {
        InsnId(u32::try_from(self.insns.len()).expect("a short program"))
    }
    fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        self.push(Insn::Alu { op, width, dst, src });
    }
    fn mov(&mut self, dst: Reg, src: Reg) {
        self.alu(AluOp::Mov, Width::W64, dst, Operand::Reg(src));
    }
    fn set(&mut self, dst: Reg, value: u64) {
        match i32::try_from(value.cast_signed()) {
            Ok(small) => self.alu(AluOp::Mov, Width::W64, dst, Operand::Imm(i64::from(small))),
            Err(_) => {
                self.push(Insn::Const { dst, value: Const64::Imm(value) });
            }
        }
    }
    fn load(&mut self, size: Size, sign: Sign, dst: Reg, base: Reg, off: i16) {
        self.push(Insn::Load { size, sign, dst, base, off });
    }
    fn store(&mut self, size: Size, base: Reg, off: i16, src: Operand) {
        self.push(Insn::Store { size, base, off, src });
    }
    fn number(&mut self) -> Reg {
        self.rng.pick(&NUMBERS)
    }
    fn width(&mut self) -> Width {
        self.rng.pick(&[Width::W32, Width::W64])
    }
    fn size(&mut self) -> Size {
        self.rng.pick(&[Size::B, Size::H, Size::W, Size::DW])
    }
    fn imm(&mut self) -> i64 {
        i64::from(self.rng.interesting() as u32 as i32)
    }
    fn operand(&mut self) -> Operand {
        if self.rng.chance(60) { Operand::Reg(self.number()) } else { Operand::Imm(self.imm()) }
    }

    /// Prologue, body, epilogue, subprograms.
    fn program(&mut self) {
        self.prologue();
        let steps = 4 + self.rng.below(36);
        self.block(steps, 2);
        self.epilogue();
        let calls = std::mem::take(&mut self.subprograms);
        if !calls.is_empty() {
            let entry = self.here();
            for call in calls {
                self.insns[call] = Insn::Call(Callee::Subprogram(entry));
            }
            self.subprogram();
        }
        let callbacks = std::mem::take(&mut self.callbacks);
        if !callbacks.is_empty() {
            let entry = self.here();
            for at in callbacks {
                self.insns[at] = Insn::Const { dst: Reg::R2, value: Const64::Function(entry) };
            }
            self.callback();
        }
    }

    fn prologue(&mut self) {
        self.mov(CTX, Reg::R1);
        self.find_packet();
        let key = i64::from(self.rng.below(4));
        self.store(Size::W, Reg::R10, -4, Operand::Imm(key));
        self.lookup(0, -4);
        self.exit_if(CmpOp::Eq, Reg::R0, Operand::Imm(0));
        self.mov(VAL, Reg::R0);
        for slot in (SCRATCH..0).step_by(8) {
            if self.rng.chance(50) {
                let value = self.imm();
                self.store(Size::DW, Reg::R10, slot, Operand::Imm(value));
            } else {
                let value = self.rng.interesting();
                self.set(Reg::R1, value);
                self.store(Size::DW, Reg::R10, slot, Operand::Reg(Reg::R1));
            }
        }
        self.set_numbers(&NUMBERS);
    }

    fn find_packet(&mut self) {
        let [start, end] = self.target.packet;
        self.load(Size::W, Sign::Zero, PKT, CTX, start);
        self.load(Size::W, Sign::Zero, Reg::R3, CTX, end);
        self.mov(Reg::R2, PKT);
        self.alu(AluOp::Add, Width::W64, Reg::R2, Operand::Imm(i64::from(PACKET)));
        self.exit_if(CmpOp::Gt, Reg::R2, Operand::Reg(Reg::R3));
    }

    /// Numbers of unknown and of known value in registers.
    fn set_numbers(&mut self, registers: &[Reg]) {
        for &register in registers {
            let (size, off) = (self.size(), self.rng.below(PACKET - 8) as i16);
            match self.rng.below(4) {
                0 => {
                    let value = self.rng.interesting();
                    self.set(register, value);
                }
                1 => self.load(size, Sign::Zero, register, PKT, off),
                2 => self.load(size, Sign::Zero, register, VAL, off),
                _ => {
                    let field = self.rng.pick(self.target.numbers);
                    self.load(Size::W, Sign::Zero, register, CTX, field);
                }
            }
        }
    }

    fn exit_if(&mut self, op: CmpOp, lhs: Reg, rhs: Operand) {
        let at = self.push(Insn::Branch { op, width: Width::W64, lhs, rhs, to: InsnId(0) });
        self.exits.push(at);
    }

    /// `r0 = lookup(map, r10 + key)`
    fn lookup(&mut self, map: u32, key: i16) {
        self.push(Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(map)) });
        self.stack_pointer(Reg::R2, key);
        self.push(Insn::Call(Callee::Helper(1)));
    }

    fn stack_pointer(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Reg::R10);
        self.alu(AluOp::Add, Width::W64, dst, Operand::Imm(i64::from(off)));
    }

    fn block(&mut self, steps: u32, depth: u32) {
        for _ in 0..steps {
            match self.rng.below(if depth > 0 { 27 } else { 21 }) {
                0..=7 => self.arithmetic(),
                8 => self.swap(),
                9 if self.target.prog_type == ProgramType::SchedCls && self.rng.chance(50) => {
                    self.legacy_packet();
                }
                9 | 10 => self.packet_access(),
                11 | 12 => self.value_access(),
                13 | 14 => self.stack_access(),
                15 => self.atomic(),
                16 => self.variable_access(),
                17 => self.spill(),
                18 => self.helper(),
                19 => self.call(),
                20 => self.ordered(),
                21..=24 => self.branch(depth),
                _ => self.repeat(depth),
            }
        }
    }

    fn arithmetic(&mut self) {
        let (dst, mut width, mut op) = (self.number(), self.width(), self.rng.pick(&AluOp::ALL));
        let src = match op {
            AluOp::Neg => Operand::Imm(0),
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                if self.rng.chance(40) {
                    Operand::Reg(self.number())
                } else {
                    Operand::Imm(i64::from(self.rng.below(width.bits())))
                }
            }
            AluOp::MovSx8 | AluOp::MovSx16 => Operand::Reg(self.number()),
            AluOp::MovSx32 => {
                width = Width::W64;
                Operand::Reg(self.number())
            }
            AluOp::Div | AluOp::Mod | AluOp::SDiv | AluOp::SMod => match self.operand() {
                // The kernel refuses a constant zero divisor.
                Operand::Imm(0) => {
                    op = AluOp::Xor;
                    Operand::Imm(3)
                }
                src => src,
            },
            AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor | AluOp::Mov => {
                self.operand()
            }
        };
        self.alu(op, width, dst, src);
    }

    fn swap(&mut self) {
        let (dst, order) =
            (self.number(), self.rng.pick(&[ByteOrder::Little, ByteOrder::Big, ByteOrder::Swap]));
        let size = self.rng.pick(&[Size::H, Size::W, Size::DW]);
        self.push(Insn::Swap { order, size, dst });
    }

    /// A load or store at a constant offset of memory that is all accessible.
    fn plain_access(&mut self, base: Reg, low: i16, high: i16) {
        let size = self.size();
        let room = u32::try_from(i32::from(high) - i32::from(low)).expect("a range") - size.bytes() + 1;
        let off = low + self.rng.below(room) as i16;
        if self.rng.chance(55) {
            let sign = if size != Size::DW && self.rng.chance(30) { Sign::Signed } else { Sign::Zero };
            let dst = self.number();
            self.load(size, sign, dst, base, off);
        } else {
            let src = self.operand();
            self.store(size, base, off, src);
        }
    }

    fn packet_access(&mut self) {
        let high = if self.flaw && self.rng.chance(30) { PACKET + 4 } else { PACKET };
        self.plain_access(PKT, 0, high as i16);
    }

    fn value_access(&mut self) {
        let high = if self.flaw && self.rng.chance(30) { VALUE + 4 } else { VALUE };
        self.plain_access(VAL, 0, high as i16);
    }

    /// Aligned, because the kernel refuses partial overwrites of spilled pointers and unaligned stack access.
    fn stack_access(&mut self) {
        let size = self.size();
        let slots = 64 / size.bytes();
        let off = SCRATCH + (self.rng.below(slots) * size.bytes()) as i16;
        if self.rng.chance(50) {
            let sign = if size != Size::DW && self.rng.chance(30) { Sign::Signed } else { Sign::Zero };
            let dst = self.number();
            self.load(size, sign, dst, Reg::R10, off);
        } else {
            let src = self.operand();
            self.store(size, Reg::R10, off, src);
        }
    }

    fn atomic(&mut self) {
        let width = self.width();
        let bytes = width.bits() / 8;
        let op = self.rng.pick(&[
            AtomicOp::Add,
            AtomicOp::Or,
            AtomicOp::And,
            AtomicOp::Xor,
            AtomicOp::Xchg,
            AtomicOp::CmpXchg,
        ]);
        let fetch = matches!(op, AtomicOp::Xchg | AtomicOp::CmpXchg) || self.rng.chance(50);
        // Not a fetch from the stack: the kernel loses track of which stored value was fetched and may hard-wire a
        // later branch the wrong way (see docs/testing.md).
        let (base, off) = if fetch || self.rng.chance(50) {
            (VAL, (self.rng.below(VALUE / bytes) * bytes) as i16)
        } else {
            (Reg::R10, SCRATCH + (self.rng.below(64 / bytes) * bytes) as i16)
        };
        let src = self.number();
        self.push(Insn::Atomic { op, fetch, width, base, off, src });
        if op == AtomicOp::CmpXchg && width == Width::W32 {
            // A read of all of r0 on every path from here: without one the kernel may leave the upper half as it was
            // (see docs/testing.md).
            let imm = self.imm();
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Imm(imm));
        }
    }

    /// An access at an offset that was bounded by arithmetic or by a branch.
    fn variable_access(&mut self) {
        let index = self.number();
        let (base, room) = self.rng.pick(&[(PKT, PACKET), (VAL, VALUE), (Reg::R10, 64)]);
        let slack = if self.flaw && self.rng.chance(40) { 2 } else { 0 };
        let size = self.size();
        let most = room - size.bytes() + slack;
        self.mov(TEMP, index);
        let mut skip = None;
        // The kernel proves nothing about a remainder, and wants aligned stack accesses.
        let ways: &[u32] =
            if base == Reg::R10 { &[0] } else { &[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 2] };
        match self.rng.pick(ways) {
            0 => {
                // The largest mask that fits.
                let mask = (most + 1).next_power_of_two() / 2 - 1;
                let aligned = base == Reg::R10 && !(self.flaw && self.rng.chance(20));
                let mask = if aligned { mask & !(size.bytes() - 1) } else { mask };
                self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(i64::from(mask)));
            }
            1 => {
                let bits = (most + 1).ilog2();
                self.alu(AluOp::Rsh, Width::W64, TEMP, Operand::Imm(i64::from(64 - bits)));
            }
            2 => self.alu(AluOp::Mod, Width::W64, TEMP, Operand::Imm(i64::from(most + 1))),
            _ => {
                if base == PKT {
                    // Both ways must leave numbers in r0 and r1.
                    self.set_numbers(&[Reg::R0, Reg::R1]);
                }
                let at = self.push(Insn::Branch {
                    op: CmpOp::Gt,
                    width: Width::W64,
                    lhs: TEMP,
                    rhs: Operand::Imm(i64::from(most)),
                    to: InsnId(0),
                });
                skip = Some(at);
            }
        }
        self.alu(AluOp::Add, Width::W64, TEMP, Operand::Reg(base));
        let mut outside = None;
        if base == PKT {
            // A packet pointer with a variable offset needs a check of its own.
            self.mov(Reg::R0, TEMP);
            let bytes = i64::from(size.bytes());
            self.alu(AluOp::Add, Width::W64, Reg::R0, Operand::Imm(bytes));
            self.load(Size::W, Sign::Zero, Reg::R1, CTX, self.target.packet[1]);
            outside = Some(self.push(Insn::Branch {
                op: CmpOp::Gt,
                width: Width::W64,
                lhs: Reg::R0,
                rhs: Operand::Reg(Reg::R1),
                to: InsnId(0),
            }));
        }
        let off = if base == Reg::R10 { SCRATCH } else { 0 };
        if self.rng.chance(60) || base == Reg::R10 {
            self.load(size, Sign::Zero, KEPT, TEMP, off);
        } else {
            let imm = self.imm();
            let src = if self.rng.chance(50) { Operand::Reg(KEPT) } else { Operand::Imm(imm) };
            self.store(size, TEMP, off, src);
        }
        if let Some(at) = outside {
            self.patch(at);
            self.set_numbers(&[Reg::R0, Reg::R1]);
        }
        if let Some(at) = skip {
            self.patch(at);
        }
    }

    fn patch(&mut self, at: usize) {
        let target = self.here();
        match &mut self.insns[at] {
            Insn::Branch { to, .. } | Insn::Jump { to } | Insn::MayGoto { to } => *to = target,
            other => unreachable!("only branches are patched, not {other:?}"),
        }
    }

    /// A number or pointer goes to the stack and comes back.
    fn spill(&mut self) {
        let slot = -72 - 8 * self.rng.below(4) as i16;
        let register = self.rng.pick(&[PKT, VAL, CTX, KEPT, Reg::R3]);
        self.store(Size::DW, Reg::R10, slot, Operand::Reg(register));
        if self.rng.chance(50) {
            self.arithmetic();
        }
        let back = if register == KEPT || register == Reg::R3 { self.number() } else { register };
        self.load(Size::DW, Sign::Zero, back, Reg::R10, slot);
    }

    fn helper(&mut self) {
        match self.rng.below(if self.calls_back { 9 } else { 8 }) {
            7 => self.tail_call(),
            8 => self.counted_loop(),
            0 => {
                self.push(Insn::Call(Callee::Helper(8)));
            }
            1 => {
                self.push(Insn::Call(Callee::Helper(5)));
            }
            2 => self.hash_update(),
            3 => self.hash_delete(),
            4 => self.hash_read(),
            5 => self.checksum(),
            _ => self.packet_copy(),
        }
        // The call took r1 to r5 away.
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    /// A tail call that finds no program. The verifier forgets the packet, because a program might have moved it.
    fn tail_call(&mut self) {
        let index = u64::from(self.rng.below(6));
        self.mov(Reg::R1, CTX);
        self.push(Insn::Const { dst: Reg::R2, value: Const64::Map(MapSlot(2)) });
        self.set(Reg::R3, index);
        self.push(Insn::Call(Callee::Helper(12)));
        self.find_packet();
        self.mov(Reg::R0, KEPT);
    }

    /// `bpf_loop` over a callback that works on the scratch bytes.
    fn counted_loop(&mut self) {
        self.mov(Reg::R1, KEPT);
        self.alu(AluOp::And, Width::W64, Reg::R1, Operand::Imm(15));
        let at = self.push(Insn::Jump { to: InsnId(0) });
        self.callbacks.push(at);
        self.stack_pointer(Reg::R3, SCRATCH);
        let flags = u64::from(self.rng.chance(10));
        self.set(Reg::R4, flags);
        self.push(Insn::Call(Callee::Helper(181)));
    }

    /// A function of a number and a pointer to the caller's scratch bytes.
    fn callback(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let (from, to) = (8 * self.rng.below(8) as i16, 8 * self.rng.below(8) as i16);
            let width = self.width();
            let op = self.rng.pick(&[AluOp::Add, AluOp::Xor, AluOp::Mul, AluOp::Sub]);
            self.load(Size::DW, Sign::Zero, Reg::R3, Reg::R2, from);
            self.alu(op, width, Reg::R3, Operand::Reg(Reg::R1));
            self.store(Size::DW, Reg::R2, to, Operand::Reg(Reg::R3));
        }
        let last = i64::from(self.rng.below(20));
        self.set(Reg::R0, 1);
        let stop = self.push(Insn::Branch {
            op: CmpOp::Eq,
            width: Width::W64,
            lhs: Reg::R1,
            rhs: Operand::Imm(last),
            to: InsnId(0),
        });
        self.set(Reg::R0, 0);
        self.patch(stop);
        self.push(Insn::Exit);
    }

    /// A load with acquire or a store with release order, at an aligned place.
    fn ordered(&mut self) {
        let size = self.size();
        let bytes = size.bytes();
        let (base, start) = self.rng.pick(&[(VAL, 0), (VAL, 0), (Reg::R10, SCRATCH)]);
        let off = start + (self.rng.below(64 / bytes) * bytes) as i16;
        let register = self.number();
        let insn = if self.rng.chance(50) {
            Insn::LoadAcquire { size, dst: register, base, off }
        } else {
            Insn::StoreRelease { size, base, off, src: register }
        };
        self.push(insn);
    }

    /// A small key, so that keys meet again.
    fn hash_key(&mut self) {
        self.mov(TEMP, KEPT);
        self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(7));
        self.store(Size::DW, Reg::R10, -8, Operand::Reg(TEMP));
    }

    fn hash_update(&mut self) {
        self.hash_key();
        self.push(Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(1)) });
        self.stack_pointer(Reg::R2, -8);
        self.stack_pointer(Reg::R3, -32);
        let flags = u64::from(self.rng.below(4));
        self.set(Reg::R4, flags);
        self.push(Insn::Call(Callee::Helper(2)));
    }

    fn hash_delete(&mut self) {
        self.hash_key();
        self.push(Insn::Const { dst: Reg::R1, value: Const64::Map(MapSlot(1)) });
        self.stack_pointer(Reg::R2, -8);
        self.push(Insn::Call(Callee::Helper(3)));
    }

    fn hash_read(&mut self) {
        self.hash_key();
        self.lookup(1, -8);
        let skip = self.push(Insn::Branch {
            op: CmpOp::Eq,
            width: Width::W64,
            lhs: Reg::R0,
            rhs: Operand::Imm(0),
            to: InsnId(0),
        });
        if self.rng.chance(50) {
            self.store(Size::W, Reg::R0, 8, Operand::Reg(KEPT));
        }
        self.load(Size::DW, Sign::Zero, KEPT, Reg::R0, 0);
        self.patch(skip);
        if !(self.flaw && self.rng.chance(30)) {
            self.mov(Reg::R0, KEPT);
        }
    }

    fn checksum(&mut self) {
        let (from, to) = (4 * i64::from(self.rng.below(5)), 4 * i64::from(self.rng.below(5)));
        self.stack_pointer(Reg::R1, SCRATCH);
        self.alu(AluOp::Mov, Width::W64, Reg::R2, Operand::Imm(from));
        self.stack_pointer(Reg::R3, SCRATCH + 16);
        self.alu(AluOp::Mov, Width::W64, Reg::R4, Operand::Imm(to));
        self.mov(Reg::R5, KEPT);
        self.push(Insn::Call(Callee::Helper(28)));
    }

    /// Packet bytes to the stack or back by a helper, sometimes past the end.
    fn packet_copy(&mut self) {
        let store = self.rng.chance(50);
        let id = self.target.copy[usize::from(store)];
        let offset = i64::from(self.rng.below(PACKET + 80));
        self.mov(Reg::R1, CTX);
        self.alu(AluOp::Mov, Width::W64, Reg::R2, Operand::Imm(offset));
        self.stack_pointer(Reg::R3, SCRATCH);
        let length = i64::from(1 + self.rng.below(32));
        self.alu(AluOp::Mov, Width::W64, Reg::R4, Operand::Imm(length));
        let moves = store && self.target.prog_type == ProgramType::SchedCls;
        if moves {
            let flags = u64::from(self.rng.below(3));
            self.set(Reg::R5, flags);
        }
        self.push(Insn::Call(Callee::Helper(id)));
        if moves {
            self.find_packet();
        }
    }

    /// The deprecated packet access, now and then past the end, which ends the program.
    fn legacy_packet(&mut self) {
        let size = self.rng.pick(&[Size::B, Size::H, Size::W]);
        let off = if self.rng.chance(5) { self.rng.below(PACKET + 80) } else { self.rng.below(12) };
        let index = self.rng.chance(50).then(|| {
            self.mov(TEMP, KEPT);
            self.alu(AluOp::And, Width::W64, TEMP, Operand::Imm(31));
            TEMP
        });
        self.push(Insn::LegacyPacket { size, index, off: off.cast_signed() });
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    fn call(&mut self) {
        let at = self.push(Insn::Call(Callee::Subprogram(InsnId(0))));
        self.subprograms.push(at);
        self.set_numbers(&[Reg::R1, Reg::R2, Reg::R3, Reg::R4]);
    }

    /// A function of r1 to r4.
    fn subprogram(&mut self) {
        self.mov(Reg::R0, Reg::R1);
        for _ in 0..2 + self.rng.below(6) {
            let registers = [Reg::R0, Reg::R1, Reg::R2, Reg::R3, Reg::R4];
            let (dst, src) = (self.rng.pick(&registers), self.rng.pick(&registers));
            let op = self.rng.pick(&[AluOp::Add, AluOp::Xor, AluOp::Mul, AluOp::Sub, AluOp::Lsh, AluOp::Div]);
            let width = self.width();
            self.alu(op, width, dst, Operand::Reg(src));
        }
        self.store(Size::DW, Reg::R10, -8, Operand::Reg(Reg::R2));
        self.load(Size::W, Sign::Signed, Reg::R3, Reg::R10, -8);
        self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R3));
        self.push(Insn::Exit);
    }

    fn branch(&mut self, depth: u32) {
        let (op, width, lhs, rhs) = (self.rng.pick(&CmpOp::ALL), self.width(), self.number(), self.operand());
        let at = self.push(Insn::Branch { op, width, lhs, rhs, to: InsnId(0) });
        let steps = 1 + self.rng.below(5);
        self.block(steps, depth - 1);
        if self.rng.chance(40) {
            let over = self.push(Insn::Jump { to: InsnId(0) });
            self.patch(at);
            let steps = 1 + self.rng.below(4);
            self.block(steps, depth - 1);
            self.patch(over);
        } else {
            self.patch(at);
        }
    }

    /// A counted loop; the counter lives on the stack, away from what the body touches.
    fn repeat(&mut self, depth: u32) {
        let slot = -112 - 8 * depth as i16;
        let turns = i64::from(2 + self.rng.below(6));
        self.store(Size::DW, Reg::R10, slot, Operand::Imm(0));
        let head = self.here();
        // A budget that is never used up, besides the counter.
        let bounded = self.rng.chance(25).then(|| self.push(Insn::MayGoto { to: InsnId(0) }));
        let steps = 1 + self.rng.below(4);
        self.block(steps, depth - 1);
        self.load(Size::DW, Sign::Zero, TEMP, Reg::R10, slot);
        self.alu(AluOp::Add, Width::W64, TEMP, Operand::Imm(1));
        self.store(Size::DW, Reg::R10, slot, Operand::Reg(TEMP));
        self.push(Insn::Branch {
            op: CmpOp::Lt,
            width: Width::W64,
            lhs: TEMP,
            rhs: Operand::Imm(turns),
            to: head,
        });
        if let Some(at) = bounded {
            self.patch(at);
        }
    }

    /// Hashes the numbers into r0 and the array, and the common exit.
    fn epilogue(&mut self) {
        for register in NUMBERS.into_iter().skip(1) {
            self.alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(0x0100_0193));
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(register));
        }
        for slot in (SCRATCH..0).step_by(8) {
            self.load(Size::DW, Sign::Zero, Reg::R1, Reg::R10, slot);
            self.alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(0x0100_0193));
            self.alu(AluOp::Xor, Width::W64, Reg::R0, Operand::Reg(Reg::R1));
        }
        self.store(Size::DW, VAL, 0, Operand::Reg(Reg::R0));
        let over = self.push(Insn::Jump { to: InsnId(0) });
        let exits = std::mem::take(&mut self.exits);
        for at in exits {
            self.patch(at);
        }
        self.set(Reg::R0, 0);
        self.patch(over);
        self.push(Insn::Exit);
    }
}
