//! Entering native code and leaving it early.
//!
//! [`enter`] stores the stack pointer in [`ExecContext::saved_sp`] and calls the program. On x86-64 such a program preserves
//! no registers ([`Convention::Bare`](crate::codegen::Convention)), and whoever enters it saves what it uses; elsewhere
//! [`enter`] saves what a called function must preserve. [`trap_exit`] restores that stack pointer from any depth of
//! native frames and returns zero from `enter`. Frames it jumps over are generated code and the outermost shim of a
//! helper, which holds nothing that must be dropped (INV-7). [`throw_exit`] does the same with a value: an exception
//! ends the program by `exit` from wherever it is.
//!
//! Status checks after every call were the alternative: they cost a load and a branch a call, and keep the
//! trap path alive in every caller. Leaving by stack pointer costs one store at the entry.

use beelift_runtime::abi::ExecContext;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use beelift_runtime::abi::offset;

/// A program's entry in the platform's C convention.
pub(super) type EntryFn = unsafe extern "C" fn(&ExecContext<'_>, u64, u64) -> u64;

/// Calls `entry(cx, r1, r2)` so that [`trap_exit`] can come back here. The code need not preserve any register but the
/// stack pointer: whoever this is built into keeps what it needs itself, once for many runs.
///
/// # Safety
/// `entry` is the entry of published code whose program was verified for this context (INV-1, INV-2).
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn enter(cx: &ExecContext<'_>, r1: u64, r2: u64, entry: EntryFn) -> u64 {
    let result;
    // SAFETY: INV-1, INV-2: by the contract. The code comes back behind the call with the stack as it was, by its own
    // return or by a stub that restores the stack pointer; every other register is saved or said to change. The two that
    // the compiler keeps for itself keep the stack aligned.
    unsafe {
        std::arch::asm!(
            "push rbp",
            "push rbx",
            "mov [rdi + {saved}], rsp",
            "call rcx",
            "pop rbx",
            "pop rbp",
            saved = const offset::SAVED_SP,
            inout("rdi") std::ptr::from_ref(cx) => _,
            inout("rsi") r1 => _,
            inout("rdx") r2 => _,
            inout("rcx") entry => _,
            lateout("rax") result,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("C"),
        );
    }
    result
}

/// Leaves generated code at once; [`enter`] returns 0.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) extern "C" fn trap_exit(cx: &ExecContext<'_>) -> ! {
    // The word below is where the call in `enter` left the address behind it.
    std::arch::naked_asm!(
        "endbr64",
        "mov rax, [rdi + {saved}]",
        "lea rsp, [rax - 8]",
        "xor eax, eax",
        "ret",
        saved = const offset::SAVED_SP,
    )
}

/// Leaves generated code at once; [`enter`] returns `value`.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(super) extern "C" fn throw_exit(cx: &ExecContext<'_>, value: u64) -> ! {
    std::arch::naked_asm!(
        "endbr64",
        "mov rax, [rdi + {saved}]",
        "lea rsp, [rax - 8]",
        "mov rax, rsi",
        "ret",
        saved = const offset::SAVED_SP,
    )
}

/// See the x86-64 version.
///
/// # Safety
/// As there.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(cx: &ExecContext<'_>, r1: u64, r2: u64, entry: EntryFn) -> u64 {
    std::arch::naked_asm!(
        "hint #34", // bti c
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x0, #{saved}]",
        "blr x3",
        "ldp d14, d15, [sp, #144]",
        "ldp d12, d13, [sp, #128]",
        "ldp d10, d11, [sp, #112]",
        "ldp d8, d9, [sp, #96]",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #160",
        "ret",
        saved = const offset::SAVED_SP,
    )
}

/// See the x86-64 version.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) extern "C" fn trap_exit(cx: &ExecContext<'_>) -> ! {
    std::arch::naked_asm!(
        "hint #34",
        "ldr x9, [x0, #{saved}]",
        "mov sp, x9",
        "mov x0, #0",
        "ldp d14, d15, [sp, #144]",
        "ldp d12, d13, [sp, #128]",
        "ldp d10, d11, [sp, #112]",
        "ldp d8, d9, [sp, #96]",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #160",
        "ret",
        saved = const offset::SAVED_SP,
    )
}

/// See the x86-64 version.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
pub(super) extern "C" fn throw_exit(cx: &ExecContext<'_>, value: u64) -> ! {
    std::arch::naked_asm!(
        "hint #34",
        "ldr x9, [x0, #{saved}]",
        "mov sp, x9",
        "mov x0, x1",
        "ldp d14, d15, [sp, #144]",
        "ldp d12, d13, [sp, #128]",
        "ldp d10, d11, [sp, #112]",
        "ldp d8, d9, [sp, #96]",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #160",
        "ret",
        saved = const offset::SAVED_SP,
    )
}
