//! Why the kernel refuses a program, as a class: its messages have no stable text.

use beelift::kernel::OsError;

/// Classes and parts of messages that tell them, most telling first.
const CLASSES: &[(&str, &[&str])] = &[
    ("the kernel's own mistake", &["verifier bug"]),
    ("steps", &["BPF program is too large", "too many", "too complex", "jumps is too complex"]),
    ("loop", &["infinite loop", "back-edge", "recursion", "recursive"]),
    ("reference", &["Unreleased reference", "reference has not been acquired", "release", "leak"]),
    ("lock", &["spin_lock", "spin lock", "lock is", "holding a lock"]),
    ("section", &["rcu_read", "preempt", "irq", "IRQ", "RCU", "non-sleepable", "sleepable"]),
    ("null", &["_or_null", "possibly NULL", "map_value_or_null"]),
    ("packet", &["invalid access to packet", "outside of the packet"]),
    ("register fill", &["invalid size of register fill"]),
    ("read-only", &["cannot write into", "the prog does not allow writes"]),
    ("zero size", &["invalid zero-sized"]),
    ("offset too large", &["be out of bounds", "offset -", "pointer offset"]),
    ("map value", &["invalid access to map value", "invalid access to map"]),
    ("memory", &["invalid access to memory", "invalid access to", "allocated memory"]),
    ("stack", &["stack", "spill", "fp access"]),
    ("iterator", &["iterator", "iter_"]),
    ("dynptr", &["dynptr"]),
    (
        "range",
        &[
            "unbounded",
            "min value is negative",
            "max value",
            "is not allowed to be negative",
            "memory size",
            "negative",
        ],
    ),
    ("context", &["bpf_context access", "ctx"]),
    ("number as pointer", &["invalid mem access", "pointer expected"]),
    ("uninitialised", &["!read_ok"]),
    ("argument", &["expected=", "must be", "arg#", "type="]),
    (
        "pointer arithmetic",
        &["pointer arithmetic", "math between", "pointer operation", "prohibited", "partial copy", "32-bit"],
    ),
    ("alignment", &["misaligned"]),
    ("result", &["At program exit", "At callback return", "should have been in"]),
    ("constant", &["div by zero", "invalid shift", "BPF_ALU uses"]),
    ("dead code", &["unreachable"]),
    ("helper", &["unknown func", "not allowed", "calling kernel function"]),
];

/// The class of a refusal.
pub(super) fn class_of(error: &OsError) -> String {
    let Some(log) = &error.log else { return format!("{} without a word", error.errno) };
    let known = |(_, parts): &&(&str, &[&str])| parts.iter().any(|part| log.message.contains(part));
    match CLASSES.iter().find(known) {
        Some((class, _)) => (*class).to_owned(),
        None => format!("other: {}", log.message.chars().take(60).collect::<String>()),
    }
}
