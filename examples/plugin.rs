//! A host with a program type and a helper of its own: `cargo run --example plugin`.
//!
//! The program (`plugin.bpf.c`) sees a structure that the host declares, reads the bytes it points to, and asks a
//! helper that the host wrote in Rust. All of it is verified before it runs.

use std::error::Error;

use beelift::engine::Engine;
use beelift::link::HostInterface;
use beelift::runtime::ctx::{FieldAccess, HostContext, HostType, Packet};
use beelift::runtime::helper::{ArgKind, HelperFlags, HelperTable, HostCall, HostFunction, MemAccess};
use beelift::{Object, ProgramType};

/// `u64 entropy(const void *bytes, u64 length)`: thousandths of a bit for each byte.
struct Entropy;

impl HostFunction for Entropy {
    const ID: u32 = 0x1_0000;
    const NAME: &'static str = "entropy";
    const ARGS: &'static [ArgKind] =
        &[ArgKind::Mem { access: MemAccess::Read, nullable: false }, ArgKind::Size];
    // The bytes may be those of the request.
    const FLAGS: HelperFlags = HelperFlags::PACKET_ACCESS;

    fn call(call: &HostCall<'_>) -> u64 {
        let bytes = call.memory(1).to_vec();
        let mut counts = [0_u32; 256];
        bytes.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
        let share = |count: u32| f64::from(count) / bytes.len() as f64;
        let bits: f64 = counts.iter().filter(|&&count| count > 0).map(|&c| -share(c) * share(c).log2()).sum();
        (bits * 1000.0) as u64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // struct request { const u8 *body; const u8 *body_end; u16 port; u32 score; };
    let request = HostType::declare("request", 24)
        .bytes(("body", 0), ("body_end", 8), FieldAccess::Read)
        .field("port", 16, 2, FieldAccess::Read)
        .field("score", 20, 4, FieldAccess::ReadWrite)
        .returns(0..=1)
        .finish()?;
    let mut helpers = HelperTable::new();
    helpers.add_function::<Entropy>()?;
    let host = HostInterface { host_type: Some(request), ..HostInterface::with_helpers(helpers) };
    let engine = Engine::builder().host(host).build()?;

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/plugin.bpf.o");
    let loaded = engine.load(&Object::parse(&std::fs::read(path)?)?)?;
    let judge = loaded.program("judge")?;
    assert_eq!(judge.program().prog_type, ProgramType::Host);
    let mut body = Packet::new(1500)?;
    for (port, text) in [(80, "aaaaaaaaaaaaaaaaaaaa"), (443, "q8Zp1Lw0xY7dKe4R"), (80, "short")] {
        body.set(text.as_bytes())?;
        let mut context = HostContext::new(&mut body, request);
        context.set_field("port", port);
        let verdict = judge.run(&mut context)?;
        println!("port {port}: verdict {verdict}, score {}", context.field("score").unwrap_or(0));
    }
    let requests = loaded.map("requests")?.typed::<u16, u64>()?;
    println!("{} requests on port 80", requests.get(&80)?.unwrap_or(0));
    Ok(())
}
