//! One function of the form as Cranelift IR.
//!
//! The program itself is an `extern "C"` function of the run-time context, r1 and r2; other functions use the
//! Tail convention, with the run-time context as hidden first argument. A trap stores kind and instruction
//! and leaves through the stub; Cranelift's own traps are not used.
#![forbid(unsafe_code)]

use beelift_runtime::abi::offset;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self as clif, AbiParam, BlockArg, ExtFuncData, ExternalName, GlobalValueData, InstBuilder, JumpTableData,
    MemFlagsData, Signature, SourceLoc, StackSlotData, StackSlotKind, UserFuncName, types,
};
use cranelift_codegen::isa::CallConv;

use super::code::{Convention, Stub, Symbol};
use super::memory::Regions;
use super::{Target, names};
use crate::ir::func::{
    Address, BinaryOp, BlockId, Condition, Edge, Function, Op, Target as CallTarget, Terminator, Type,
    UnaryOp, Value,
};
use crate::ir::{FastMap, Module};
use crate::isa::{InsnId, MapSlot, Size};

/// State while one function is written.
pub(super) struct Lowering<'a> {
    pub(super) source: &'a Function,
    module: &'a Module,
    pub(super) pos: FuncCursor<'a>,
    pub(super) regions: Regions,
    /// See [`Target::near`].
    near: bool,
    /// See [`Target::near_calls`].
    near_calls: bool,
    /// See [`convention`].
    convention: Convention,
    /// See [`Target::compares_whole`].
    pub(super) compares_whole: bool,
    blocks: Vec<clif::Block>,
    values: Vec<Option<clif::Value>>,
    /// Constants and addresses written in the current block.
    floating: Vec<Value>,
    /// The block being written.
    current: usize,
    /// How often a value is wanted as a whole, not only its low half.
    whole_uses: Vec<u32>,
    pub(super) runtime: clif::Value,
    frame: Option<clif::StackSlot>,
    frame_base: Option<clif::Value>,
    callees: FastMap<(Symbol, usize), clif::FuncRef>,
    addresses: FastMap<Address, clif::GlobalValue>,
    trap: Option<clif::Block>,
}

/// How the module's program is entered. One that always comes back by its own return is a C function wherever it runs: it
/// saves what it uses, which may be nothing.
pub(super) fn convention(module: &Module, target: &Target) -> Convention {
    let leaves = |function: &Function| {
        function.blocks.iter().any(|block| {
            matches!(block.end, Terminator::Trap(_))
                || block.nodes.iter().any(|&node| match function.op(node) {
                    Op::TrapIf(..) => true,
                    Op::Call(call, _) => !matches!(call, CallTarget::Function(_)),
                    _ => false,
                })
        })
    };
    if module.functions.iter().any(leaves) { target.convention } else { Convention::Platform }
}

/// Writes function `index` of the module.
pub(super) fn function(
    module: &Module,
    index: usize,
    target: &Target,
    convention: Convention,
    func: &mut clif::Function,
) {
    let source = &module.functions[index];
    func.clear();
    func.name = UserFuncName::user(0, u32::try_from(index).expect("fewer functions than 2^32"));
    func.signature = signature(module, index, convention);
    let regions = Regions::new(func);
    let frame = (source.frame_size > 0).then(|| {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, source.frame_size, 3);
        func.create_sized_stack_slot(data)
    });
    let blocks: Vec<clif::Block> = source.blocks.iter().map(|_| func.dfg.make_block()).collect();
    let runtime = func.dfg.append_block_param(blocks[0], types::I64);
    let mut values = vec![None; source.nodes.len()];
    for (block, &to) in source.blocks.iter().zip(&blocks) {
        for &param in &block.params {
            values[param.index()] = Some(func.dfg.append_block_param(to, type_of(source.ty(param))));
        }
    }
    let mut lowering = Lowering {
        source,
        module,
        pos: FuncCursor::new(func),
        regions,
        near: target.near,
        near_calls: target.near_calls,
        convention,
        compares_whole: target.compares_whole,
        blocks,
        values,
        floating: Vec::new(),
        current: 0,
        whole_uses: whole_uses(source),
        runtime,
        frame,
        frame_base: None,
        callees: FastMap::default(),
        addresses: FastMap::default(),
        trap: None,
    };
    lowering.run();
}

/// Signature of a function: the program itself has the entry's, others the internal one.
fn signature(module: &Module, index: usize, convention: Convention) -> Signature {
    let entry = match convention {
        Convention::Platform => CallConv::SystemV,
        // Arguments and result as there, and no register is preserved.
        Convention::Bare => CallConv::Winch,
    };
    let convention = if index == 0 { entry } else { CallConv::Tail };
    words(convention, 1 + module.functions[index].blocks[0].params.len())
}

/// A signature of that many words, with a word as result.
fn words(convention: CallConv, count: usize) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params = vec![AbiParam::new(types::I64); count];
    signature.returns = vec![AbiParam::new(types::I64)];
    signature
}

const fn type_of(ty: Type) -> clif::Type {
    match ty {
        Type::I8 => types::I8,
        Type::I32 => types::I32,
        Type::I64 => types::I64,
    }
}

/// Uses of each value other than `Reduce`.
fn whole_uses(source: &Function) -> Vec<u32> {
    let mut uses = vec![0; source.nodes.len()];
    for block in &source.blocks {
        for &value in &block.nodes {
            match source.op(value) {
                Op::Unary(UnaryOp::Reduce, _) => {}
                Op::Store(Size::W | Size::H | Size::B, place, _) => uses[place.base.index()] += 1,
                Op::Call(_, list) => {
                    for arg in &source.args[list.0 as usize] {
                        uses[arg.index()] += 1; // u32 to usize
                    }
                }
                op => op.visit(|operand| uses[operand.index()] += 1),
            }
        }
        block.end.visit_own(|value| uses[value.index()] += 1);
        for edge in block.end.edges() {
            for arg in &edge.args {
                uses[arg.index()] += 1;
            }
        }
    }
    uses
}

impl Lowering<'_> {
    fn run(&mut self) {
        for (index, block) in self.source.blocks.iter().enumerate() {
            self.pos.insert_block(self.blocks[index]);
            self.current = index;
            for &value in &block.nodes {
                self.at(self.source.nodes[value.index()].insn);
                self.node(value);
            }
            self.at(block.end_insn);
            self.end(&block.end);
            for value in self.floating.drain(..) {
                self.values[value.index()] = None;
            }
            self.frame_base = None;
        }
        self.trap_block();
    }

    fn at(&mut self, insn: InsnId) {
        self.pos.set_srcloc(SourceLoc::new(insn.0));
    }

    /// A value of the form; constants and addresses are written where they are first used in a block.
    pub(super) fn value(&mut self, value: Value) -> clif::Value {
        if let Some(known) = self.values[value.index()] {
            return known;
        }
        let written = match self.source.op(value) {
            Op::Const(number) => {
                let ty = type_of(self.source.ty(value));
                self.pos.ins().iconst(ty, number.cast_signed())
            }
            Op::Runtime => return self.runtime,
            Op::Frame(offset) => {
                let base = self.frame_base();
                self.pos.ins().iadd_imm_s(base, i64::from(offset))
            }
            Op::Address(address) => {
                let symbol = self.symbol(address);
                self.pos.ins().symbol_value(types::I64, symbol)
            }
            op => unreachable!("{value} = {op:?} is used before its definition"),
        };
        self.floating.push(value);
        self.values[value.index()] = Some(written);
        written
    }

    /// The low half of an `I64`.
    pub(super) fn low(&mut self, value: Value) -> clif::Value {
        if let Op::Unary(UnaryOp::Widen, inner) = self.source.op(value) {
            return self.value(inner);
        }
        let whole = self.value(value);
        if self.pos.func.dfg.value_type(whole) == types::I32 {
            return whole;
        }
        self.pos.ins().ireduce(types::I32, whole)
    }

    /// A value of which only the lowest bytes matter, at the width it has.
    pub(super) fn either(&mut self, value: Value) -> clif::Value {
        match self.source.op(value) {
            Op::Unary(UnaryOp::Widen, inner) => self.value(inner),
            _ => self.value(value),
        }
    }

    pub(super) fn frame_base(&mut self) -> clif::Value {
        if let Some(base) = self.frame_base {
            return base;
        }
        // A program may take the address of a frame that it never accesses.
        let func = &mut *self.pos.func;
        let slot = *self.frame.get_or_insert_with(|| {
            func.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3))
        });
        let base = self.pos.ins().stack_addr(types::I64, slot, 0);
        self.frame_base = Some(base);
        base
    }

    fn symbol(&mut self, address: Address) -> clif::GlobalValue {
        if let Some(&known) = self.addresses.get(&address) {
            return known;
        }
        let (symbol, offset) = match address {
            Address::MapHandle(slot) => (Symbol::MapHandle(slot), 0),
            Address::Arena(slot) => (Symbol::Arena(slot), 0),
            Address::MapValue(slot, offset) => (map_base(slot), i64::from(offset)),
        };
        let name = self.pos.func.declare_imported_user_function(names::name_of(symbol));
        let value = self.pos.func.create_global_value(GlobalValueData::Symbol {
            name: ExternalName::user(name),
            offset: offset.into(),
            colocated: self.near,
            tls: false,
        });
        self.addresses.insert(address, value);
        value
    }

    fn callee(&mut self, symbol: Symbol, signature: Signature) -> clif::FuncRef {
        let key = (symbol, signature.params.len());
        if let Some(&known) = self.callees.get(&key) {
            return known;
        }
        let signature = self.pos.func.import_signature(signature);
        let name = self.pos.func.declare_imported_user_function(names::name_of(symbol));
        let callee = self.pos.func.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: self.near_calls || matches!(symbol, Symbol::Function(_)),
            patchable: false,
        });
        self.callees.insert(key, callee);
        callee
    }

    fn node(&mut self, value: Value) {
        let ty = type_of(self.source.ty(value));
        let result = match self.source.op(value) {
            Op::Param | Op::Const(_) | Op::Address(_) | Op::Runtime | Op::Frame(_) => return,
            Op::Unary(op, a) => self.unary(op, ty, a),
            Op::Binary(op, a, b) => self.binary(op, a, b),
            Op::Compare(condition, a, b) => {
                let (a, b) = (self.value(a), self.value(b));
                self.pos.ins().icmp(condition_code(condition), a, b)
            }
            Op::Select(condition, a, b) => {
                let (condition, a, b) = (self.value(condition), self.value(a), self.value(b));
                self.pos.ins().select(condition, a, b)
            }
            Op::Load(size, sign, place) => {
                let narrow = self.whole_uses[value.index()] == 0 && size != Size::DW;
                self.load(size, sign, place, narrow)
            }
            Op::LoadAcquire(size, place) => self.load_acquire(size, place),
            Op::AtomicRmw(op, width, place, operand) => self.atomic_rmw(op, width, place, operand),
            Op::AtomicCas(width, place, expected, new) => self.atomic_cas(width, place, expected, new),
            Op::Call(target, list) => self.call(target, &self.source.args[list.0 as usize]), // u32 to usize
            Op::Store(size, place, stored) => return self.store(size, place, stored),
            Op::StoreRelease(size, place, stored) => return self.store_release(size, place, stored),
            Op::TrapIf(kind, condition) => {
                let go_on = self.pos.func.dfg.make_block();
                let condition = self.value(condition);
                self.trap_unless_cold(kind.code(), self.source.nodes[value.index()].insn, condition, go_on);
                self.pos.insert_block(go_on);
                return;
            }
        };
        self.values[value.index()] = Some(result);
    }

    fn unary(&mut self, op: UnaryOp, ty: clif::Type, operand: Value) -> clif::Value {
        match op {
            UnaryOp::Reduce => self.low(operand),
            UnaryOp::Widen => {
                let value = self.value(operand);
                self.pos.ins().uextend(ty, value)
            }
            UnaryOp::SignExtend(size) => {
                let value = self.value(operand);
                let narrow = match size {
                    Size::B => types::I8,
                    Size::H => types::I16,
                    Size::W => types::I32,
                    Size::DW => return value,
                };
                let value = self.pos.ins().ireduce(narrow, value);
                self.pos.ins().sextend(ty, value)
            }
            UnaryOp::SwapBytes => {
                let value = self.value(operand);
                self.pos.ins().bswap(value)
            }
            UnaryOp::CountOnes => {
                let value = self.value(operand);
                self.pos.ins().popcnt(value)
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> clif::Value {
        if op == BinaryOp::Mul
            && let Some(factor @ (3 | 5 | 9)) = self.source.constant(b)
        {
            // One `lea` where the multiplier takes three cycles.
            let value = self.value(a);
            let shifted =
                self.pos.ins().ishl_imm_u(value, (factor - 1).trailing_zeros().cast_signed() as i64);
            return self.pos.ins().iadd(value, shifted);
        }
        let (a, b) = (self.value(a), self.value(b));
        let ins = self.pos.ins();
        match op {
            BinaryOp::Add => ins.iadd(a, b),
            BinaryOp::Sub => ins.isub(a, b),
            BinaryOp::Mul => ins.imul(a, b),
            BinaryOp::UDiv => ins.udiv(a, b),
            BinaryOp::URem => ins.urem(a, b),
            BinaryOp::SDiv => ins.sdiv(a, b),
            BinaryOp::SRem => ins.srem(a, b),
            BinaryOp::And => ins.band(a, b),
            BinaryOp::Or => ins.bor(a, b),
            BinaryOp::Xor => ins.bxor(a, b),
            BinaryOp::Shl => ins.ishl(a, b),
            BinaryOp::LShr => ins.ushr(a, b),
            BinaryOp::AShr => ins.sshr(a, b),
        }
    }

    fn call(&mut self, target: CallTarget, args: &[Value]) -> clif::Value {
        let (symbol, signature) = match target {
            CallTarget::Helper(id) => (Symbol::Helper(id), words(CallConv::SystemV, 1 + args.len())),
            CallTarget::Kfunc(number) => (Symbol::Kfunc(number), words(CallConv::SystemV, 1 + args.len())),
            CallTarget::Throw => (Symbol::Stub(Stub::ThrowExit), words(CallConv::SystemV, 1 + args.len())),
            // One executable has one helper for all maps.
            CallTarget::MapHelper(id, slot) => {
                let symbol = if self.near { Symbol::Helper(id) } else { Symbol::MapHelper(id, slot) };
                (symbol, words(CallConv::SystemV, 1 + args.len()))
            }
            CallTarget::PacketLoad => {
                (Symbol::Stub(Stub::PacketLoad), words(CallConv::SystemV, 1 + args.len()))
            }
            CallTarget::ObjectLoad => {
                (Symbol::Stub(Stub::ObjectLoad), words(CallConv::SystemV, 1 + args.len()))
            }
            CallTarget::MapIterate => {
                (Symbol::Stub(Stub::MapIterate), words(CallConv::SystemV, 1 + args.len()))
            }
            CallTarget::Function(index) => {
                (Symbol::Function(index), signature(self.module, index as usize, self.convention))
            }
        };
        let callee = self.callee(symbol, signature);
        let mut words = vec![self.runtime];
        for &arg in args {
            words.push(self.value(arg));
        }
        let call = self.pos.ins().call(callee, &words);
        self.pos.func.dfg.first_result(call)
    }

    fn edge(&mut self, edge: &Edge) -> (clif::Block, Vec<BlockArg>) {
        let args = edge.args.iter().map(|&arg| BlockArg::Value(self.value(arg))).collect();
        (self.block(edge.to), args)
    }

    fn block(&self, block: BlockId) -> clif::Block {
        self.blocks[block.index()]
    }

    fn end(&mut self, end: &Terminator) {
        match end {
            Terminator::Jump(edge) => {
                let (to, args) = self.edge(edge);
                self.pos.ins().jump(to, &args);
            }
            Terminator::Branch(condition, then, otherwise) => self.branch(*condition, then, otherwise),
            Terminator::Switch(value, table, default) => {
                let number = self.low(*value);
                let mut call = |edge: &Edge| {
                    let (to, args) = self.edge(edge);
                    self.pos.func.dfg.block_call(to, &args)
                };
                let default = call(default);
                let table: Vec<_> = table.iter().map(call).collect();
                let table = self.pos.func.create_jump_table(JumpTableData::new(default, &table));
                self.pos.ins().br_table(number, table);
            }
            Terminator::Return(value) => {
                let value = self.value(*value);
                self.pos.ins().return_(&[value]);
            }
            Terminator::Trap(kind) => {
                let insn = self.pos.srcloc().bits();
                let args = self.trap_args(kind.code(), InsnId(insn));
                let trap = self.trap_target();
                self.pos.ins().jump(trap, &args);
            }
        }
    }

    fn branch(&mut self, condition: Value, then: &Edge, otherwise: &Edge) {
        let current = self.current;
        let back = |edge: &Edge| edge.to.index() <= current;
        let (mut then, mut otherwise) = (then, otherwise);
        let mut inverse = None;
        // One jump a round: Cranelift writes a jump to the first target and, where the second one does not follow,
        // another one to that.
        if back(otherwise)
            && !back(then)
            && let Op::Compare(op, a, b) = self.source.op(condition)
        {
            let (a, b) = (self.value(a), self.value(b));
            inverse = Some(self.pos.ins().icmp(condition_code(op.inverse()), a, b));
            (then, otherwise) = (otherwise, then);
        }
        let loops = back(then) && !back(otherwise);
        let taken = match inverse {
            Some(inverse) => inverse,
            None => self.value(condition),
        };
        let (to, args) = self.edge(then);
        let floats = |&arg: &Value| matches!(self.source.op(arg), Op::Const(_) | Op::Address(_));
        if loops && otherwise.args.iter().any(floats) {
            // What only the way out needs is written there, not in each round.
            let out = self.pos.func.dfg.make_block();
            self.pos.ins().brif(taken, to, &args, out, &[]);
            self.pos.insert_block(out);
            let (to, args) = self.edge(otherwise);
            self.pos.ins().jump(to, &args);
            return;
        }
        let (otherwise, otherwise_args) = self.edge(otherwise);
        self.pos.ins().brif(taken, to, &args, otherwise, &otherwise_args);
    }

    fn trap_target(&mut self) -> clif::Block {
        if let Some(trap) = self.trap {
            return trap;
        }
        let trap = self.pos.func.dfg.make_block();
        self.pos.func.dfg.append_block_param(trap, types::I32);
        self.pos.func.dfg.append_block_param(trap, types::I32);
        self.trap = Some(trap);
        trap
    }

    fn trap_args(&mut self, code: u32, insn: InsnId) -> [BlockArg; 2] {
        let code = self.pos.ins().iconst(types::I32, i64::from(code));
        let insn = self.pos.ins().iconst(types::I32, i64::from(insn.0));
        [BlockArg::Value(code), BlockArg::Value(insn)]
    }

    fn trap_unless_cold(&mut self, code: u32, insn: InsnId, condition: clif::Value, go_on: clif::Block) {
        let trap = self.trap_target();
        let args = self.trap_args(code, insn);
        self.pos.ins().brif(condition, trap, &args, go_on, &[]);
    }

    /// Where all traps of the function go.
    fn trap_block(&mut self) {
        let Some(trap) = self.trap else { return };
        self.pos.insert_block(trap);
        self.pos.func.layout.set_cold(trap);
        let &[code, insn] = self.pos.func.dfg.block_params(trap) else {
            unreachable!("made with two parameters")
        };
        let flags = MemFlagsData::trusted();
        self.pos.ins().store(flags, code, self.runtime, offset::TRAP);
        self.pos.ins().store(flags, insn, self.runtime, offset::TRAP_INSN);
        let exit = self.callee(Symbol::Stub(Stub::TrapExit), words(CallConv::SystemV, 1));
        self.pos.ins().call(exit, &[self.runtime]);
        // Never reached: the stub does not return.
        let zero = self.pos.ins().iconst(types::I64, 0);
        self.pos.ins().return_(&[zero]);
    }
}

const fn map_base(slot: MapSlot) -> Symbol {
    Symbol::MapBase(slot)
}

const fn condition_code(condition: Condition) -> IntCC {
    match condition {
        Condition::Eq => IntCC::Equal,
        Condition::Ne => IntCC::NotEqual,
        Condition::ULt => IntCC::UnsignedLessThan,
        Condition::ULe => IntCC::UnsignedLessThanOrEqual,
        Condition::UGt => IntCC::UnsignedGreaterThan,
        Condition::UGe => IntCC::UnsignedGreaterThanOrEqual,
        Condition::SLt => IntCC::SignedLessThan,
        Condition::SLe => IntCC::SignedLessThanOrEqual,
        Condition::SGt => IntCC::SignedGreaterThan,
        Condition::SGe => IntCC::SignedGreaterThanOrEqual,
    }
}
