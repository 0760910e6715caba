//! What a test needs of the machine: present, or skipped by name (or an error where skipping is not allowed).

use std::io::Write;

/// Whether the kernel may be used. Otherwise says so, loudly; with `BEELIFT_REQUIRE_KERNEL=1` that is a failure.
pub(crate) fn kernel(what: &str) -> bool {
    #[cfg(feature = "kernel")]
    if beelift::kernel::caps::held().contains(beelift::runtime::privilege::Capabilities::BPF) {
        return true;
    }
    let reason = format!("{what}: bpf(2) is not permitted");
    assert!(std::env::var_os("BEELIFT_REQUIRE_KERNEL").is_none(), "{reason}");
    skip(&reason);
    false
}

/// Says, loudly, that a test does not run.
pub(crate) fn skip(reason: &str) {
    // Not `eprintln!`: the test harness swallows that in passing tests.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
