//! What a test needs of the machine: present, or skipped by name (or an error where skipping is not allowed).

use std::io::Write;

/// Whether the kernel may be used. Otherwise says so, loudly; with `BEELIFT_REQUIRE_KERNEL=1` that is a failure.
pub(crate) fn kernel(what: &str) -> bool {
    let Err(reason) = answer() else { return true };
    let reason = format!("{what}: {reason}");
    assert!(std::env::var_os("BEELIFT_REQUIRE_KERNEL").is_none(), "{reason}");
    skip(&reason);
    false
}

/// Whether the kernel tells its types; otherwise says so.
pub(crate) fn kernel_types(what: &str) -> bool {
    let there = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    if !there {
        skip(&format!("{what}: this kernel tells no types"));
    }
    there
}

/// Says, loudly, that a test does not run.
pub(crate) fn skip(reason: &str) {
    // Not `eprintln!`: the test harness swallows that in passing tests.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Whether `bpf(2)` works. Capabilities alone do not tell: an emulated process may have them and no such call.
#[cfg(feature = "kernel")]
fn answer() -> Result<(), String> {
    use std::sync::OnceLock;

    use beelift::kernel::{self, KernelProgram, LoadOptions};
    use beelift::runtime::privilege::Capabilities;
    use beelift::{Program, ProgramType};

    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let ask = || {
        if !kernel::caps::held().contains(Capabilities::BPF) {
            return Err("bpf(2) is not permitted".to_owned());
        }
        let program = Program::assemble(ProgramType::SocketFilter, "r0 = 0\nexit", |_| None);
        let program = program.expect("a program");
        KernelProgram::load(&program, &[], LoadOptions::default())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    ANSWER.get_or_init(ask).clone()
}

#[cfg(not(feature = "kernel"))]
fn answer() -> Result<(), String> {
    Err("built without the kernel engine".to_owned())
}
