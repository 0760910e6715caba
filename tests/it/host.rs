//! What embedders add: helpers of their own, and program types with contexts of their own.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use beelift::engine::Choice;
use beelift::link::HostInterface;
use beelift::runtime::ctx::{FieldAccess, HostContext, HostType, Packet};
use beelift::runtime::helper::{ArgKind, HelperRefused, HelperTable, HostCall, HostFunction, MemAccess};
use beelift::verify::{self, Failure, Options};
use beelift::{Engine, Environment, Error, Program, ProgramType, XdpContext};

/// `u64 sum(const u8 *bytes, u64 len)`, counted by the environment.
struct Sum;
impl HostFunction for Sum {
    const ID: u32 = 0x1_0000;
    const NAME: &'static str = "sum";
    const ARGS: &'static [ArgKind] =
        &[ArgKind::Mem { access: MemAccess::Read, nullable: false }, ArgKind::SizeOrZero];
    fn call(call: &HostCall<'_>) -> u64 {
        let counter = call.environment().as_any().and_then(|any| any.downcast_ref::<Counting>());
        counter.expect("the environment of the tests").0.fetch_add(1, Relaxed);
        call.memory(1).to_vec().iter().map(|&byte| u64::from(byte)).sum()
    }
}

/// `u64 fill(map, const void *key, u8 into[16])`: bytes of the key, over and over.
struct Fill;
impl HostFunction for Fill {
    const ID: u32 = 0x1_0001;
    const NAME: &'static str = "fill";
    const ARGS: &'static [ArgKind] = &[
        ArgKind::Map,
        ArgKind::MapKey,
        ArgKind::FixedMem { size: 16, access: MemAccess::WriteUninit, align: 1 },
    ];
    fn call(call: &HostCall<'_>) -> u64 {
        let key = call.memory(2).to_vec();
        let bytes: Vec<u8> = key.iter().copied().cycle().take(16).collect();
        call.memory_mut(3).write(0, &bytes);
        u64::from(call.map(1).def().max_entries)
    }
}

/// `u64 idle(u8 into[256])`: writes nothing, though it is said to.
struct Idle;
impl HostFunction for Idle {
    const ID: u32 = 0x1_0003;
    const NAME: &'static str = "idle";
    const ARGS: &'static [ArgKind] =
        &[ArgKind::FixedMem { size: 256, access: MemAccess::WriteUninit, align: 1 }];
    fn call(_: &HostCall<'_>) -> u64 {
        0
    }
}

/// `u64 broken(u64)`
struct Broken;
impl HostFunction for Broken {
    const ID: u32 = 0x1_0002;
    const NAME: &'static str = "broken";
    const ARGS: &'static [ArgKind] = &[ArgKind::Anything];
    fn call(call: &HostCall<'_>) -> u64 {
        assert_eq!(call.number(1), 0, "the host does not like it");
        call.memory(1).len()
    }
}

#[derive(Default)]
struct Counting(AtomicU64);
impl Environment for Counting {
    fn monotonic_ns(&self) -> u64 {
        0
    }
    fn jiffies(&self) -> u64 {
        0
    }
    fn random_u32(&self) -> u32 {
        0
    }
    fn trace(&self, _line: &str) {}
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

fn helpers() -> HelperTable {
    let mut helpers = HelperTable::new();
    helpers.add_function::<Sum>().unwrap();
    helpers.add_function::<Fill>().unwrap();
    helpers.add_function::<Idle>().unwrap();
    helpers.add_function::<Broken>().unwrap();
    helpers
}

fn assemble(source: &str, host: HostInterface) -> Program {
    let number = |name: &str| helpers().iter().find(|helper| helper.name == name).map(|helper| helper.id);
    let program = Program::assemble(ProgramType::Xdp, source, number);
    program.unwrap_or_else(|error| panic!("{source}: {error}")).for_host(host)
}

fn choices() -> &'static [Choice] {
    if cfg!(feature = "jit") { &[Choice::Interpreter, Choice::Jit] } else { &[Choice::Interpreter] }
}

fn engine(choice: Choice, environment: &Arc<Counting>) -> Engine {
    let environment: Arc<Counting> = Arc::clone(environment);
    Engine::builder().backend(choice).environment(environment).build().unwrap()
}

/// Code of the reason for which the verifier rejects it.
fn reason(program: Program) -> &'static str {
    match verify::verify(program, &Options::default()) {
        Ok(_) => "accepted",
        Err(Failure::Rejected(rejected)) => rejected.reason.code(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn helpers_of_the_host_are_called_by_every_engine() {
    let source = ".map table hash key=4 value=8 entries=7
        *(u32 *)(r10 -4) = 0x04030201
        r1 = map[table] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -24
        call fill
        r6 = r0
        r1 = r10
        r1 += -24
        r2 = 16
        call sum
        r0 <<= 8
        r0 |= r6
        exit";
    for &choice in choices() {
        let environment = Arc::default();
        let program = assemble(source, HostInterface::with_helpers(helpers()));
        let loaded = engine(choice, &environment).load_linked(vec![program]).unwrap();
        let mut packet = Packet::new(64).unwrap();
        let result = loaded.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap();
        assert_eq!((result, environment.0.load(Relaxed)), (40 << 8 | 7, 1), "{choice:?}");
    }
}

#[test]
fn their_arguments_are_verified() {
    let verdict = |source: &str| reason(assemble(source, HostInterface::with_helpers(helpers())));
    assert_eq!(verdict("r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 1\nr2 = 8\ncall sum\nexit"), "accepted");
    assert_eq!(verdict("r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 1\nr2 = 9\ncall sum\nexit"), "outside_stack");
    assert_eq!(verdict("r1 = 8\nr2 = 8\ncall sum\nexit"), "argument_type");
    assert_eq!(verdict("r2 = 8\ncall broken\nexit"), "accepted");
    assert_eq!(verdict("r2 = 8\nr1 = r3\ncall broken\nexit"), "uninitialised_register");
    // Nobody has added it here.
    let source = "r1 = 0\ncall broken\nexit";
    assert_eq!(reason(assemble(source, HostInterface::default())), "unknown_helper");
}

#[test]
fn a_panic_of_the_host_ends_the_run() {
    for (source, message) in [
        ("r1 = 1\ncall broken\nexit", "the host does not like it"),
        ("r1 = 0\ncall broken\nexit", "r1 is not to be read"),
    ] {
        for &choice in choices() {
            let program = assemble(source, HostInterface::with_helpers(helpers()));
            let loaded = engine(choice, &Arc::default()).load_linked(vec![program]).unwrap();
            let mut packet = Packet::new(64).unwrap();
            let trap = loaded.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap_err();
            assert!(
                matches!(&trap, Error::Trap(trap) if trap.kind == beelift::runtime::TrapKind::HelperPanic)
            );
            assert!(trap.to_string().contains(message), "{choice:?}: {trap}");
        }
    }
}

#[test]
fn what_a_helper_does_not_write_is_zero() {
    let words: String =
        (1..=32).map(|word| format!("r1 = *(u64 *)(r10 -{})\nr0 |= r1\n", 8 * word)).collect();
    let source = format!("r1 = r10\nr1 += -256\ncall idle\n{words}exit\n");
    for &choice in choices() {
        let program = assemble(&source, HostInterface::with_helpers(helpers()));
        let loaded = engine(choice, &Arc::default()).load_linked(vec![program]).unwrap();
        let mut packet = Packet::new(64).unwrap();
        let result = loaded.programs()[0].run(&mut XdpContext::new(&mut packet)).unwrap();
        assert_eq!(result, 0, "{choice:?}");
    }
}

#[test]
fn impossible_helpers_are_refused() {
    struct Many;
    impl HostFunction for Many {
        const ID: u32 = 0x2_0000;
        const NAME: &'static str = "many";
        const ARGS: &'static [ArgKind] = &[ArgKind::Anything; 6];
        fn call(_: &HostCall<'_>) -> u64 {
            0
        }
    }
    struct Unsized;
    impl HostFunction for Unsized {
        const ID: u32 = 0x2_0001;
        const NAME: &'static str = "unsized";
        const ARGS: &'static [ArgKind] = &[ArgKind::Mem { access: MemAccess::Read, nullable: false }];
        fn call(_: &HostCall<'_>) -> u64 {
            0
        }
    }
    let mut table = helpers();
    let refused = |error| matches!(error, Err(HelperRefused::Argument { name: "unsized", register: 1, .. }));
    assert!(refused(table.add_function::<Unsized>()));
    assert_eq!(table.add_function::<Many>(), Err(HelperRefused::TooMany { name: "many", count: 6 }));
    assert!(matches!(table.add_function::<Sum>(), Err(HelperRefused::Exists(_))));
}

/// `struct request { const u8 *body; const u8 *body_end; u16 port; u32 score; }`
fn request(access: FieldAccess) -> HostInterface {
    let declared = HostType::declare("request", 24)
        .bytes(("body", 0), ("body_end", 8), access)
        .field("port", 16, 2, FieldAccess::Read)
        .field("score", 20, 4, FieldAccess::ReadWrite)
        .returns(0..=1);
    HostInterface { host_type: Some(declared.finish().unwrap()), ..HostInterface::with_helpers(helpers()) }
}

/// The score is the sum of the first four bytes and the port.
const SCORE: &str = "
    r6 = r1
    r7 = *(u64 *)(r6 +0)
    r2 = *(u64 *)(r6 +8)
    r0 = 0
    r1 = r7
    r1 += 4
    if r1 > r2 goto end
    r1 = *(u8 *)(r7 +3)
    r1 += 1
    *(u8 *)(r7 +3) = r1
    *(u32 *)(r10 -4) = 0
    r1 = *(u32 *)(r7 +0)
    *(u32 *)(r10 -4) = r1
    r1 = r10
    r1 += -4
    r2 = 4
    call sum
    r1 = *(u16 *)(r6 +16)
    r0 += r1
    *(u32 *)(r6 +20) = r0
    r0 = 1
end:
    exit";

#[test]
fn programs_run_on_contexts_of_the_host() {
    for &choice in choices() {
        let host = request(FieldAccess::ReadWrite);
        let kind = host.host_type.unwrap();
        let loaded = engine(choice, &Arc::default()).load_linked(vec![assemble(SCORE, host)]).unwrap();
        let program = &loaded.programs()[0];
        let mut packet = Packet::new(64).unwrap();
        for (body, result, score) in [(&[1, 2, 3, 4, 5][..], 1, 8091), (&[1, 2, 3], 0, 7)] {
            packet.set(body).unwrap();
            let mut context = HostContext::new(&mut packet, kind);
            assert!(context.set_field("port", 8080) && context.set_field("score", 7));
            assert_eq!(program.run(&mut context).unwrap(), result, "{choice:?}");
            assert_eq!(context.field("score"), Some(score), "{choice:?}");
            assert_eq!(context.packet().bytes().get(3), if body.len() > 3 { Some(&5) } else { None });
        }
        // A type of the same shape is another one.
        let other = request(FieldAccess::ReadWrite).host_type.unwrap();
        let refused = program.run(&mut HostContext::new(&mut packet, other));
        assert!(matches!(refused, Err(Error::ContextType { .. })), "{choice:?}: {refused:?}");
        let refused = program.run(&mut XdpContext::new(&mut packet));
        assert!(matches!(refused, Err(Error::ContextType { .. })), "{choice:?}: {refused:?}");
    }
}

#[test]
fn contexts_of_the_host_are_verified() {
    let verdict = |source: &str| reason(assemble(source, request(FieldAccess::Read)));
    assert_eq!(verdict("r0 = 0\nr1 = *(u32 *)(r1 +20)\nexit"), "accepted");
    assert_eq!(verdict("r0 = 0\n*(u32 *)(r1 +20) = 5\nexit"), "accepted");
    assert_eq!(verdict("r0 = 0\nr1 = *(u8 *)(r1 +17)\nexit"), "accepted");
    assert_eq!(verdict("r0 = 0\n*(u16 *)(r1 +16) = 5\nexit"), "context_access");
    assert_eq!(verdict("r0 = 0\nr1 = *(u16 *)(r1 +18)\nexit"), "context_access");
    assert_eq!(verdict("r0 = 0\nr1 = *(u32 *)(r1 +24)\nexit"), "context_access");
    assert_eq!(verdict("r0 = 2\nexit"), "return_out_of_range");
    assert_eq!(verdict("r0 = 0\nr1 = *(u64 *)(r1 +0)\nr1 = *(u8 *)(r1 +0)\nexit"), "outside_packet");
    // The bytes are read-only here.
    assert_eq!(verdict(SCORE), "read_only");
    let undeclared =
        Program::assemble(ProgramType::Host, "r0 = 0\nr0 = *(u32 *)(r1 +0)\nexit", |_| None).unwrap();
    assert!(matches!(verify::verify(undeclared, &Options::default()), Err(Failure::Unsupported { .. })));
}
