//! `docs/helpers.md` and `docs/isa-support.md` are made from the tables; `BLESS=1` rewrites them.

use std::fmt::Write;
use std::path::Path;

use beelift::ProgramType;
use beelift::engine::has_context;
use beelift::isa::{AluOp, AtomicOp, CmpOp};
use beelift::runtime::helper::{self, HelperFlags};
use beelift::runtime::map;
use beelift::runtime::{MapDef, MapKind};

/// Compares a document with what the tables say today.
fn current(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, made).expect("a writable document");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{} is out of date: run `BLESS=1 cargo test --test it support`", path.display());
}

#[test]
fn the_list_of_helpers_is_current() {
    let mut text = String::from(
        "# Helpers and map types\n\nMade from the tables by `BLESS=1 cargo test --test it support`.\n\n\
         The verifier knows the prototype of every helper. Where user space has no function, a program that calls the\n\
         helper is `Unsupported` by name and may run in the kernel instead.\n\n\
         | number | helper | in user space | licence |\n| --- | --- | --- | --- |\n",
    );
    for id in 1..=211 {
        let Some(helper) = helper::by_id(id) else { continue };
        let here = if helper.is_served() { "yes" } else { "no" };
        let gpl = if helper.proto.flags.contains(HelperFlags::GPL) { "GPL" } else { "any" };
        writeln!(text, "| {id} | `{}` | {here} | {gpl} |", helper.name).expect("a string");
    }
    text.push_str(
        "\n## Kernel functions\n\nUser space serves these by name; a program that calls any other is `Unsupported` by its \
         name.\n\n",
    );
    for name in helper::kfunc_names() {
        writeln!(text, "* `{name}`").expect("a string");
    }
    text.push_str("\n## Map types\n\n| number | type | in user space |\n| --- | --- | --- |\n");
    for &kind in MapKind::ALL {
        writeln!(text, "| {} | `{kind}` | {} |", kind.id(), if made_here(kind) { "yes" } else { "no" })
            .expect("a string");
    }
    text.push_str("\n## Program types\n\n| number | type | context in user space |\n| --- | --- | --- |\n");
    for &kind in ProgramType::ALL {
        let here = match kind.info().kernel_only {
            true => "kernel only",
            false if has_context(kind) => "yes",
            false => "verified only",
        };
        writeln!(text, "| {} | `{kind}` | {here} |", kind.id()).expect("a string");
    }
    current("docs/helpers.md", &text);
}

/// Whether user space makes maps of this type: tried, with the sizes that the type asks for.
fn made_here(kind: MapKind) -> bool {
    let sizes = [(4, 4, 4), (8, 8, 4), (0, 0, 4096), (0, 8, 4), (4, 8, 4)];
    sizes.iter().any(|&(key, value, entries)| {
        let mut def = MapDef::new("probe", kind, key, value, entries);
        if kind == MapKind::LpmTrie {
            def.flags = map::MapFlags::NO_PREALLOC;
        }
        if matches!(
            kind,
            MapKind::SkStorage | MapKind::TaskStorage | MapKind::InodeStorage | MapKind::CgrpStorage
        ) {
            (def.flags, def.max_entries) = (map::MapFlags::NO_PREALLOC, 0);
        }
        if kind == MapKind::Arena {
            def.flags = map::MapFlags::MMAPABLE;
        }
        if matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) {
            def.inner = Some(Box::new(MapDef::new("inner", MapKind::Array, 4, 4, 1)));
        }
        map::create(&def, 1).is_ok()
    })
}

/// A program of assembly text and whether the engines take it.
fn taken(kind: ProgramType, source: &str) -> (bool, bool) {
    use beelift::engine::Choice;
    use beelift::{Engine, Program};
    let number = |name: &str| helper::by_name(name).map(|helper| helper.id);
    let program = Program::assemble(kind, source, number).unwrap_or_else(|error| panic!("{source}\n{error}"));
    let takes = |choice| {
        let engine = Engine::builder().backend(choice).build().expect("an engine");
        engine.load_linked(vec![program.clone()]).is_ok()
    };
    (takes(Choice::Interpreter), takes(Choice::Jit))
}

#[test]
fn the_list_of_instructions_is_current() {
    let filter = ProgramType::SocketFilter;
    let xdp = ProgramType::Xdp;
    let rows: [(&str, ProgramType, &str); 18] = [
        ("arithmetic and logic, 32 and 64 bits", xdp, "r0 = 1\nr0 += 2\nw0 *= 3\nexit"),
        ("signed division and remainder", xdp, "r0 = 7\nr1 = -2\nr0 s/= r1\nr0 s%= r1\nexit"),
        (
            "sign-extending moves and loads",
            xdp,
            "r1 = -1\nr0 = (s8)r1\n*(u64 *)(r10 -8) = r0\nr0 = *(s16 *)(r10 -8)\nexit",
        ),
        ("byte order", xdp, "r0 = 1\nr0 = be16 r0\nr0 = bswap32 r0\nexit"),
        ("conditional jumps, 32 and 64 bits", xdp, "r0 = 1\nif r0 s> 5 goto +1\nif w0 & 1 goto +0\nexit"),
        ("long jumps (`gotol`)", xdp, "r0 = 1\ngotol +0\nexit"),
        (
            "atomics, 32 and 64 bits",
            xdp,
            "r0 = 1\n*(u64 *)(r10 -8) = r0\nlock *(u64 *)(r10 -8) += r0\nr0 = atomic_fetch_add((u64 *)(r10 -8), r0)\nexit",
        ),
        (
            "load-acquire, store-release",
            xdp,
            "r0 = 1\n*(u64 *)(r10 -8) = r0\nr0 = load_acquire((u64 *)(r10 -8))\nexit",
        ),
        ("`may_goto`", xdp, "r0 = 1\nmay_goto +1\ngoto -2\nexit"),
        ("bpf-to-bpf calls", xdp, "call one\nexit\none:\nr0 = 1\nexit"),
        ("helper calls", xdp, "call 8\nexit"),
        ("packet access (`ABS`, `IND`)", filter, "r6 = r1\nr0 = *(u8 *)skb[0]\nexit"),
        (
            "tail calls",
            xdp,
            ".map progs prog_array key=4 value=4 entries=2\nr2 = map[progs] ll\nr3 = 0\ncall 12\nr0 = 1\nexit",
        ),
        ("calls through registers (`callx`)", xdp, "r1 = func one ll\ncallx r1\nexit\none:\nr0 = 1\nexit"),
        (
            "kernel functions",
            xdp,
            "call kfunc[bpf_rcu_read_lock]\ncall kfunc[bpf_rcu_read_unlock]\nr0 = 1\nexit",
        ),
        (
            "arenas (`addr_space_cast`)",
            xdp,
            ".map a arena key=0 value=0 entries=1 flags=0x400\nr1 = map[a] ll\nr1 = 0\nr1 = addr_space_cast(r1, 0, 1)\n\
             r0 = *(u32 *)(r1 +0)\nexit",
        ),
        ("exceptions (`bpf_throw`)", xdp, "r1 = 1\ncall kfunc[bpf_throw]\nr0 = 1\nexit"),
        (
            "callbacks (`bpf_loop`)",
            xdp,
            "r1 = 4\nr2 = func body ll\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\nbody:\nr0 = 0\nexit",
        ),
    ];
    let mut text = String::from(
        "# Instructions\n\nMade from what the engines say by `BLESS=1 cargo test --test it support`.\n\n\
         Every instruction of RFC 9669 and of Linux 6.18 is decoded, printed and assembled. An engine that does not run one\n\
         refuses the program by name when it is loaded.\n\n\
         | instructions | interpreter | native |\n| --- | --- | --- |\n",
    );
    for (what, kind, source) in rows {
        let (interpreter, native) = taken(kind, source);
        let say = |taken| if taken { "yes" } else { "not yet" };
        writeln!(text, "| {what} | {} | {} |", say(interpreter), say(native)).expect("a string");
    }
    writeln!(
        text,
        "\n{} operations of arithmetic, {} comparisons and {} atomic operations, each defined once in `src/isa/semantics.rs`.",
        AluOp::ALL.len(),
        CmpOp::ALL.len(),
        [AtomicOp::Add, AtomicOp::Or, AtomicOp::And, AtomicOp::Xor, AtomicOp::Xchg, AtomicOp::CmpXchg].len()
    )
    .expect("a string");
    current("docs/isa-support.md", &text);
}
