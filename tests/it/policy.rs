//! What the policy for untrusted tenants forbids and the default one allows.

use beelift::verify::{Failure, Options, Policy, verify};
use beelift::{Program, ProgramType};

/// `accept`, or the code of the reason.
fn verdict(source: &str, policy: Policy) -> String {
    let start = ".map table array key=4 value=8 entries=1
        r6 = r1
        *(u32 *)(r10 -4) = 0
        r1 = map[table] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 != 0 goto body
        exit
        body:
        r9 = r0
        r7 = *(u32 *)(r6 +0)
        r2 = *(u32 *)(r6 +4)
        r1 = r7
        r1 += 8
        r0 = 0
        if r1 <= r2 goto inside
        exit
        inside:";
    let program = Program::assemble(ProgramType::Xdp, &format!("{start}\n{source}"), |_| None)
        .unwrap_or_else(|error| panic!("{source}: {error}"));
    match verify(program, &Options::with_policy(policy)) {
        Ok(_) => "accept".to_owned(),
        Err(Failure::Rejected(rejected)) => rejected.reason.code().to_owned(),
        Err(other) => panic!("{source}: {other}"),
    }
}

#[test]
fn strict_forbids_what_leaks_addresses() {
    for source in [
        "*(u64 *)(r9 +0) = r7\nexit",
        "*(u64 *)(r9 +0) = r10\nexit",
        "*(u64 *)(r7 +0) = r9\nexit",
        "*(u64 *)(r7 +0) = r6\nexit",
        "r0 = r9\nexit",
        "r0 = r10\nexit",
        "r1 = r9\nr1 -= r10\nr0 = 0\nexit",
        "r0 = *(u64 *)(r10 -16)\nexit",
    ] {
        assert_eq!(verdict(source, Policy::USER), "accept", "{source}");
        assert_ne!(verdict(source, Policy::STRICT), "accept", "{source}");
    }
}

#[test]
fn strict_allows_pointers_where_nobody_reads_them() {
    for source in [
        "*(u64 *)(r10 -16) = r9\nr1 = *(u64 *)(r10 -16)\nr0 = *(u64 *)(r1 +0)\nexit",
        "r0 = *(u64 *)(r7 +0)\n*(u64 *)(r9 +0) = r0\nexit",
    ] {
        assert_eq!(verdict(source, Policy::USER), "accept", "{source}");
        assert_eq!(verdict(source, Policy::STRICT), "accept", "{source}");
    }
}
