//! The numbers of the encoding (RFC 9669 §3 and §4, and what Linux added), and nothing else.
//!
//! `decode` matches on them and `encode` puts them together; no other file of the crate uses them.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the names are those of RFC 9669 and of the kernel's headers")]

/// Class: the low three bits. Numbers, not bits: compare after masking.
pub const CLASS_MASK: u8 = 0x07;
pub const LD: u8 = 0x00;
pub const LDX: u8 = 0x01;
pub const ST: u8 = 0x02;
pub const STX: u8 = 0x03;
pub const ALU: u8 = 0x04;
pub const JMP: u8 = 0x05;
pub const JMP32: u8 = 0x06;
pub const ALU64: u8 = 0x07;

/// Source bit of arithmetic and jump classes: immediate or register.
pub const SRC_MASK: u8 = 0x08;
pub const K: u8 = 0x00;
pub const X: u8 = 0x08;

/// Operation of arithmetic and jump classes: the high four bits.
pub const OP_MASK: u8 = 0xf0;
pub const ADD: u8 = 0x00;
pub const SUB: u8 = 0x10;
pub const MUL: u8 = 0x20;
pub const DIV: u8 = 0x30;
pub const OR: u8 = 0x40;
pub const AND: u8 = 0x50;
pub const LSH: u8 = 0x60;
pub const RSH: u8 = 0x70;
pub const NEG: u8 = 0x80;
pub const MOD: u8 = 0x90;
pub const XOR: u8 = 0xa0;
pub const MOV: u8 = 0xb0;
pub const ARSH: u8 = 0xc0;
pub const END: u8 = 0xd0;

pub const JA: u8 = 0x00;
pub const JEQ: u8 = 0x10;
pub const JGT: u8 = 0x20;
pub const JGE: u8 = 0x30;
pub const JSET: u8 = 0x40;
pub const JNE: u8 = 0x50;
pub const JSGT: u8 = 0x60;
pub const JSGE: u8 = 0x70;
pub const CALL: u8 = 0x80;
pub const EXIT: u8 = 0x90;
pub const JLT: u8 = 0xa0;
pub const JLE: u8 = 0xb0;
pub const JSLT: u8 = 0xc0;
pub const JSLE: u8 = 0xd0;
pub const JCOND: u8 = 0xe0;

/// Size of load and store classes.
pub const SIZE_MASK: u8 = 0x18;
pub const W: u8 = 0x00;
pub const H: u8 = 0x08;
pub const B: u8 = 0x10;
pub const DW: u8 = 0x18;

/// Mode of load and store classes.
pub const MODE_MASK: u8 = 0xe0;
pub const IMM: u8 = 0x00;
pub const ABS: u8 = 0x20;
pub const IND: u8 = 0x40;
pub const MEM: u8 = 0x60;
pub const MEMSX: u8 = 0x80;
pub const ATOMIC: u8 = 0xc0;

/// Operation of an atomic instruction, in `imm`: an arithmetic operation, with or without `FETCH`, or one of these.
pub const FETCH: i32 = 0x01;
pub const XCHG: i32 = 0xe0 | FETCH;
pub const CMPXCHG: i32 = 0xf0 | FETCH;
pub const LOAD_ACQUIRE: i32 = 0x100;
pub const STORE_RELEASE: i32 = 0x110;

/// `off` of a signed division or remainder.
pub const SIGNED: i16 = 1;
/// `off` of `addr_space_cast`, a 64-bit register move otherwise.
pub const ADDR_SPACE_CAST: i16 = 1;
/// `imm` of `addr_space_cast`: from address space 1 to 0, and from 0 to 1.
pub const CAST_KERNEL: i32 = 1;
pub const CAST_ARENA: i32 = 1 << 16;

/// `src` of a wide immediate.
pub const PSEUDO_IMM: u8 = 0;
pub const PSEUDO_MAP_FD: u8 = 1;
pub const PSEUDO_MAP_VALUE: u8 = 2;
pub const PSEUDO_BTF_ID: u8 = 3;
pub const PSEUDO_FUNC: u8 = 4;
pub const PSEUDO_MAP_IDX: u8 = 5;
pub const PSEUDO_MAP_IDX_VALUE: u8 = 6;

/// `src` of a call.
pub const CALL_HELPER: u8 = 0;
pub const PSEUDO_CALL: u8 = 1;
pub const PSEUDO_KFUNC_CALL: u8 = 2;
