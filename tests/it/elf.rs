//! Object files: what is in them, what linking makes of them, and that no bytes whatever do harm.
//!
//! `tests/cases/elf/*.bpf.c` are compiled objects' sources; `*.txt` is what must be read from each. `BLESS=1`
//! rewrites the texts.

mod crafted;

use std::fmt::Write as _;
use std::path::PathBuf;

use beelift::btf::{CoreResult, CoreSource, CoreTarget, KernelTypes, TypeId};
use beelift::elf::{ElfError, Object};
use beelift::isa::text::{Numbers, listing};
use beelift::isa::{Slot, asm};
use beelift::link::cfg::CallKind;
use beelift::link::{Cfg, LinkError, LinkOptions, Program, link, link_raw_text};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::map::{MapDef, MapKind};

const CASES: [&str; 6] = ["maps", "globals", "subprograms", "core", "externs", "legacy"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/elf")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.bpf.o"))).unwrap()
}

fn object(name: &str) -> Object {
    Object::parse(&bytes(name)).unwrap()
}

/// No kernel: the same answers on every machine.
fn options() -> LinkOptions {
    LinkOptions { core_targets: vec![CoreTarget::Builtin, CoreTarget::Own], ..LinkOptions::default() }
}

fn linked(object: &Object, name: &str) -> Program {
    link(object, name, &options()).unwrap()
}

/// All that is read from an object, as text.
fn describe(object: &Object) -> String {
    let mut out = String::new();
    let btf = object.btf();
    let type_name = |id: u32| btf.map_or(String::new(), |btf| btf.type_name(TypeId(id)));
    let _ = writeln!(out, "license {:?}, kernel version {:#x}", object.license(), object.kernel_version());
    for warning in object.warnings() {
        let _ = writeln!(out, "warning: {warning}");
    }
    for (slot, map) in object.maps().iter().enumerate() {
        map_text(&mut out, &format!("map {slot} "), map, &type_name);
    }
    for entry in object.map_entries() {
        let _ = writeln!(out, "entry of map {}: {:?}", entry.0.0, entry.1);
    }
    for global in object.globals() {
        let map = &object.maps()[global.map.0 as usize];
        let range = global.offset as usize..(global.offset + global.size) as usize;
        let zeros = vec![0; global.size as usize];
        let bytes = map.initial.as_ref().map_or(&zeros[..], |initial| &initial[range]);
        let value = btf.and_then(|btf| btf.format_value(global.btf_type, bytes));
        let _ = writeln!(
            out,
            "global {}+{}: {} = {}",
            map.name,
            global.offset,
            btf.map_or(String::new(), |btf| btf.declaration(global.btf_type, &global.name)),
            value.unwrap_or_else(|| format!("{bytes:02x?}")),
        );
    }
    for symbol in object.externs() {
        let weak = if symbol.weak { " weak" } else { "" };
        let _ =
            writeln!(out, "extern {}: {:?}{weak}, {}", symbol.name, symbol.kind, type_name(symbol.btf_type));
    }
    for program in object.programs() {
        let _ = writeln!(
            out,
            "\nprogram {} in {}: type {}, attach {} {:?}, flags {:#x}, autoload {}",
            program.name,
            program.section,
            program.prog_type.map_or("unknown", ProgramType::name),
            program.attach_type,
            program.attach_target,
            program.prog_flags,
            program.autoload,
        );
        match link(object, &program.name, &options()) {
            Ok(program) => program_text(&mut out, &program),
            Err(error) => {
                let _ = writeln!(out, "  {error}");
            }
        }
    }
    out
}

fn map_text(out: &mut String, head: &str, map: &MapDef, type_name: &dyn Fn(u32) -> String) {
    let _ = write!(
        out,
        "{head}{}: {} key {} value {} entries {} flags {:#x}",
        map.name,
        map.kind,
        map.key_size,
        map.value_size,
        map.max_entries,
        map.flags.bits()
    );
    if map.btf_key != 0 || map.btf_value != 0 {
        let _ = write!(out, ", {} -> {}", type_name(map.btf_key), type_name(map.btf_value));
    }
    if map.extra != 0 {
        let _ = write!(out, ", extra {}", map.extra);
    }
    for (set, text) in [
        (map.pin_by_name, ", pinned by name"),
        (map.frozen, ", frozen"),
        (map.initial.is_some(), ", with contents"),
    ] {
        if set {
            out.push_str(text);
        }
    }
    out.push('\n');
    for field in &map.fields {
        let _ = write!(out, "  field {:?} at {}, {} bytes", field.kind, field.offset, field.size);
        let of = if field.btf_type == 0 { String::new() } else { format!(": {}", type_name(field.btf_type)) };
        let _ = writeln!(out, "{of}");
    }
    if let Some(inner) = &map.inner {
        map_text(out, "  inner ", inner, type_name);
    }
}

fn program_text(out: &mut String, program: &Program) {
    let cfg = Cfg::build(program).unwrap();
    for (index, sub) in program.subprograms.iter().enumerate() {
        let pc = program.pcs[sub.entry.index()];
        let blocks = cfg.subprograms[index].blocks.len();
        let loops = cfg.loops(index).len();
        let _ = writeln!(out, "  {} at {pc}: {:?}, {blocks} blocks, {loops} loops", sub.name, sub.linkage);
    }
    for (what, names) in [
        ("kfunc", program.kfuncs.iter().map(|kfunc| &kfunc.name).collect::<Vec<_>>()),
        ("ksym", program.ksyms.iter().map(|ksym| &ksym.name).collect()),
    ] {
        for name in names {
            let _ = writeln!(out, "  {what} {name}");
        }
    }
    for relocation in &program.relocations {
        let source = relocation.source.as_ref().map_or("nobody".to_owned(), CoreSource::to_string);
        let result = match &relocation.result {
            CoreResult::Resolved { from, to } => format!("{from} -> {to}"),
            CoreResult::Poisoned { why } => format!("poisoned: {why}"),
        };
        let pc = program.pcs[relocation.insn.index()];
        let _ =
            writeln!(out, "  {pc}: {} {}: {result} ({source})", relocation.kind.name(), relocation.subject);
    }
    let mut last = None;
    for line in listing(&program.insns, &program.pcs, &Numbers).lines().zip(0u32..) {
        let source = program.line_of(beelift::isa::InsnId(line.1));
        if let Some(source) = source.filter(|source| last != Some((source.line, source.insn))) {
            last = Some((source.line, source.insn));
            let _ = writeln!(out, "  ; {}:{}: {}", source.file, source.line, source.text);
        }
        let _ = writeln!(out, "    {}", line.0.trim_end());
    }
}

#[test]
fn objects_are_read_as_written_down() {
    for name in CASES {
        let text = describe(&object(name));
        let path = folder().join(format!("{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (got, want)) in text.lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, want, "{}:{}", path.display(), number + 1);
        }
        assert_eq!(text.lines().count(), expected.lines().count(), "{}", path.display());
    }
}

#[test]
fn globals_are_set_before_linking() {
    let mut object = object("globals");
    object.set_global("enabled", &0u32.to_le_bytes()).unwrap();
    object.set_global("zeroes", &[1; 32]).unwrap();
    let wrong = object.set_global("counter", &[0; 3]);
    assert_eq!(wrong, Err(ElfError::GlobalSize { name: "counter".to_owned(), size: 4, given: 3 }));
    assert!(matches!(object.set_global("nothing", &[]), Err(ElfError::NoSuchGlobal { .. })));
    let program = linked(&object, "use_globals");
    for (map, name, value) in [(".rodata", "enabled", 0), (".bss", "zeroes", 1)] {
        let global = object.global(name).unwrap();
        let map = program.maps.iter().find(|def| def.name == map).unwrap();
        assert_eq!(map.initial.as_ref().unwrap()[global.offset as usize], value, "{name}");
    }
}

#[test]
fn kernel_configuration_is_set_or_missed_by_name() {
    let mut object = object("externs");
    let unset = link(&object, "configured", &options()).unwrap_err();
    assert!(
        matches!(&unset, LinkError::ConfigUnset { name, .. } if name == "LINUX_KERNEL_VERSION"),
        "{unset}"
    );
    let config = "# CONFIG_IPV6 is not set\nCONFIG_HZ=250\nCONFIG_BPF_SYSCALL=y\nCONFIG_IPV6=m\n\
                  CONFIG_CC_VERSION_TEXT=\"a compiler with a name that is too long\"\n";
    object.apply_kernel_config(config, 6 << 16 | 18 << 8);
    let program = linked(&object, "configured");
    let btf = object.btf().unwrap();
    let map = program.maps.iter().find(|map| map.name == ".kconfig").unwrap();
    let value = |name: &str| {
        let global = object.global(name).unwrap();
        btf.format_value(global.btf_type, &map.initial.as_ref().unwrap()[global.offset as usize..]).unwrap()
    };
    assert_eq!(value("LINUX_KERNEL_VERSION"), "397824");
    assert_eq!(value("CONFIG_HZ"), "250");
    assert_eq!(value("CONFIG_BPF_SYSCALL"), "true");
    assert_eq!(value("CONFIG_IPV6"), "TRI_MODULE");
    assert_eq!(value("CONFIG_CC_VERSION_TEXT"), "\"a compiler with a name \"");
}

#[test]
fn relocations_follow_the_target() {
    let object = object("core");
    // A file of types, here the object's own under another name, answers as the object does.
    let own = object.btf().unwrap();
    let target = CoreTarget::Types(std::sync::Arc::clone(own), "copy".to_owned());
    let other = LinkOptions { core_targets: vec![target], ..LinkOptions::default() };
    let program = link(&object, "kinds", &other).unwrap();
    assert_eq!(program.relocations.len(), linked(&object, "kinds").relocations.len());
    // A target that knows none of the types: existence is 0, all else is poison.
    let nobody = CoreTarget::Kernel(std::sync::Arc::new(KernelTypes::at("/nonexistent")));
    let program =
        link(&object, "kinds", &LinkOptions { core_targets: vec![nobody], ..LinkOptions::default() })
            .unwrap();
    for relocation in &program.relocations {
        let name = relocation.kind.name();
        let zero = matches!(relocation.result, CoreResult::Resolved { to: 0, .. });
        let local = name == "local_type_id";
        let exists = name.contains("exists") || name.starts_with("type_") || name.starts_with("target");
        let poisoned = matches!(relocation.result, CoreResult::Poisoned { .. });
        assert!(local || zero == exists && poisoned != exists, "{relocation:?}");
    }
}

#[test]
fn text_runs_behind_a_prologue() {
    let mut object = object("legacy");
    let buffer = object.add_map(MapDef::new("buffer", MapKind::Array, 4, 1024, 1));
    let wide = [Slot::new(0x18, 1, 2, 0, buffer.0.cast_signed()), Slot::default()];
    let prologue = [wide[0], wide[1], Slot::new(0xb7, 2, 0, 0, 1024)];
    let program = link_raw_text(&object, ProgramType::Xdp, &prologue).unwrap();
    assert_eq!(program.name, "get");
    assert_eq!(program.subprograms.len(), 1);
    let text = listing(&program.insns, &program.pcs, &Numbers);
    let first: Vec<_> = text.lines().take(3).map(str::trim).collect();
    assert!(first[0].contains("map[6]"), "{first:?}");
    Cfg::build(&program).unwrap();
}

#[test]
fn any_function_runs_as_a_given_type() {
    let object = object("legacy");
    let missing = link(&object, "get", &options());
    assert!(matches!(missing, Err(LinkError::NoSuchProgram { .. })));
    let typed = LinkOptions { prog_type: Some(ProgramType::Memory), ..options() };
    assert_eq!(link(&object, "get", &typed).unwrap().prog_type, ProgramType::Memory);
}

#[test]
fn foreign_files_are_refused_by_name() {
    let good = bytes("legacy");
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Object::parse(&bytes).unwrap_err()
    };
    assert!(matches!(Object::parse(b""), Err(ElfError::NotElf { .. })));
    assert!(matches!(Object::parse(b"#!/bin/sh"), Err(ElfError::NotElf { .. })));
    assert_eq!(changed(5, 2), ElfError::BigEndian);
    assert_eq!(changed(18, 62), ElfError::WrongMachine { machine: 62 });
    assert_eq!(changed(16, 2), ElfError::NotRelocatable { kind: 2 });
    assert!(matches!(changed(4, 1), ElfError::NotElf { .. }));
}

#[test]
fn truncated_objects_are_errors() {
    for name in CASES {
        let bytes = bytes(name);
        // The section headers come last: every cut loses some.
        for cut in (0..bytes.len()).step_by(7) {
            assert!(Object::parse(&bytes[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
}

/// Section headers of an object: offset of each, with its type.
fn section_headers(bytes: &[u8]) -> Vec<(usize, u32)> {
    let start = number(bytes, 0x28, 8) as usize;
    let count = number(bytes, 0x3c, 2) as usize;
    (0..count).map(|index| start + index * 64).map(|at| (at, number(bytes, at + 4, 4) as u32)).collect()
}

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

#[test]
fn symbols_of_no_section_are_refused() {
    const SYMTAB: u32 = 2;
    let mut bytes = bytes("maps");
    let table = section_headers(&bytes).into_iter().find(|&(_, kind)| kind == SYMTAB).unwrap().0;
    let (start, size) = (number(&bytes, table + 24, 8) as usize, number(&bytes, table + 32, 8) as usize);
    for symbol in (start..start + size).step_by(24) {
        if number(&bytes, symbol + 6, 2) != 0 {
            bytes[symbol + 6..symbol + 8].copy_from_slice(&0x3e_u16.to_le_bytes());
        }
    }
    let error = Object::parse(&bytes).unwrap_err().to_string();
    assert!(error.contains("in section 62 of"), "{error}");
}

#[test]
fn explicit_addends_mean_the_same() {
    const REL: u32 = 9;
    const RELA: u32 = 4;
    for name in CASES {
        let mut bytes = bytes(name);
        for (header, kind) in section_headers(&bytes) {
            if kind != REL {
                continue;
            }
            let (start, size) =
                (number(&bytes, header + 24, 8) as usize, number(&bytes, header + 32, 8) as usize);
            let moved = bytes.len().next_multiple_of(8);
            bytes.resize(moved, 0);
            for entry in (start..start + size).step_by(16) {
                bytes.extend_from_within(entry..entry + 16);
                bytes.extend([0; 8]);
            }
            bytes[header + 4..header + 8].copy_from_slice(&RELA.to_le_bytes());
            bytes[header + 24..header + 32].copy_from_slice(&(moved as u64).to_le_bytes());
            bytes[header + 32..header + 40].copy_from_slice(&((size / 16 * 24) as u64).to_le_bytes());
            bytes[header + 56..header + 64].copy_from_slice(&24_u64.to_le_bytes());
        }
        assert_eq!(describe(&Object::parse(&bytes).unwrap()), describe(&object(name)), "{name}");
    }
}

/// A small generator of pseudo-random numbers (xorshift): the same mutations on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn mutate(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                // Numbers of 32 bits at their borders: counts, offsets, ids.
                let edges = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                let at = at & !3;
                if let Some(word) = bytes.get_mut(at..at + 4) {
                    word.copy_from_slice(&edges[random.below(edges.len())].to_le_bytes());
                }
            }
            _ => {
                let (from, len) = (random.below(bytes.len()), random.below(32));
                let len = len.min(bytes.len() - from).min(bytes.len() - at);
                bytes.copy_within(from..from + len, at);
            }
        }
    }
}

#[test]
fn mutated_objects_do_no_harm() {
    let originals: Vec<_> = CASES.iter().map(|name| bytes(name)).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut joined) = (0, 0);
    for round in 0..10_000 {
        let mut bytes = originals[round % originals.len()].clone();
        mutate(&mut bytes, &mut random);
        let Ok(object) = Object::parse(&bytes) else { continue };
        read += 1;
        for program in object.programs() {
            if let Ok(program) = link(&object, &program.name, &options()) {
                joined += 1;
                let _ = Cfg::build(&program);
                let _ = program.line_of(beelift::isa::InsnId(0));
            }
        }
        if let Some(btf) = object.btf().filter(|_| round % 10 == 0) {
            for id in btf.ids() {
                let _ = (btf.definition(id), btf.format_value(id, &[0xa5; 64]), btf.align_of(id));
            }
            let _ = btf.to_kernel_bytes();
        }
    }
    // The mutations must not all die at the door.
    assert!(read > 3_000 && joined > 3_000, "{read} objects read, {joined} programs linked");
}

fn assembled(text: &str) -> Program {
    Program::assemble(ProgramType::Xdp, text, |_| None).unwrap()
}

#[test]
fn graphs_know_loops_and_dominators() {
    let program = assembled(
        "r6 = 0
         goto body
         head:
         r6 += 1
         body:
         if r6 > 10 goto out
         if r6 == 5 goto head
         r7 = 1
         goto head
         out:
         call sub
         exit
         r0 = 1
         exit
         sub:
         r0 = 0
         if r0 == 0 goto +0
         exit",
    );
    let cfg = Cfg::build(&program).unwrap();
    assert_eq!(cfg.subprograms.len(), 2);
    let block = |pc: u32| cfg.block_of(program.insn_at(beelift::isa::Pc(pc)).unwrap());
    let (entry, head, body, out) = (block(0), block(2), block(3), block(7));
    assert!(cfg.dominates(entry, out) && cfg.dominates(body, head) && !cfg.dominates(head, body));
    assert!(cfg.block(body).loop_head && !cfg.block(entry).loop_head);
    assert_eq!(cfg.back_edges().collect::<Vec<_>>(), [(head, body)]);
    assert_eq!(cfg.loops(0), [vec![head, body, block(4), block(5)]]);
    assert!(cfg.loops(1).is_empty());
    assert!(!cfg.block(block(9)).reachable && cfg.block(out).reachable);
    assert_eq!(cfg.subprograms[0].reverse_postorder.first(), Some(&entry));
    let position = |of| cfg.subprograms[0].reverse_postorder.iter().position(|&block| block == of).unwrap();
    assert!(
        position(entry) < position(body) && position(body) < position(head) && position(body) < position(out)
    );
    // Both ways of a branch may be the same one.
    let twice = cfg.block(block(11));
    assert_eq!(twice.successors.len(), 2);
    assert_eq!(cfg.block(twice.successors[0]).predecessors, [block(11)]);
    let call = cfg.calls[0];
    assert_eq!((call.caller, call.callee, call.kind), (0, 1, CallKind::Call));
}

#[test]
fn control_may_not_leave_a_subprogram() {
    for (text, message) in [
        ("r0 = 0", "pc 0: subprogram main ends without exit or jump"),
        ("r0 = 0\nif r0 == 0 goto -1", "pc 1: subprogram main ends without exit or jump"),
        ("call sub\nexit\nsub:\nr0 = 0\ngoto -4", "pc 3: jump to pc 0, out of subprogram sub"),
    ] {
        let assembly = asm::assemble(text, |_| None).unwrap();
        let mut program = Program::from_slots(ProgramType::Xdp, &assembly.slots, [].into()).unwrap();
        if program.subprograms.len() == 2 {
            program.subprograms[1].name = "sub".to_owned();
        }
        assert_eq!(Cfg::build(&program).unwrap_err().to_string(), message);
    }
}

#[test]
fn calls_lead_to_the_start_of_a_subprogram() {
    let assembly = asm::assemble("call sub\nexit\nsub:\nexit\nr0 = 0\nexit", |_| None).unwrap();
    let mut program = Program::from_slots(ProgramType::Xdp, &assembly.slots, [].into()).unwrap();
    assert!(Cfg::build(&program).is_ok());
    // As if the second one began behind its first instruction.
    program.subprograms[0].end = beelift::isa::InsnId(3);
    program.subprograms[1].entry = beelift::isa::InsnId(3);
    let error = Cfg::build(&program).unwrap_err();
    assert!(matches!(error, beelift::link::cfg::CfgError::NoEntry { .. }), "{error}");
}

#[test]
fn raw_programs_name_only_maps_they_have() {
    let wide = [Slot::new(0x18, 1, 1, 0, 1), Slot::default(), Slot::new(0x95, 0, 0, 0, 0)];
    let one = [MapDef::new("m", MapKind::Array, 4, 8, 1)];
    let refused = Program::from_slots(ProgramType::Xdp, &wide, one.clone().into());
    assert!(matches!(refused, Err(LinkError::NoSuchSlot { what: "map", number: 1, .. })));
    let two = [one[0].clone(), one[0].clone()];
    assert!(Program::from_slots(ProgramType::Xdp, &wide, two.into()).is_ok());
    assert_eq!(Program::from_slots(ProgramType::Xdp, &[], [].into()).unwrap_err(), LinkError::Empty);
}

/// The kernel takes the types of every object, externs and hidden functions among them.
#[cfg(feature = "kernel")]
#[test]
fn the_kernel_takes_the_types() {
    if !crate::require::kernel("elf: the kernel takes the types") {
        return;
    }
    for name in CASES {
        let object = object(name);
        let Some(btf) = object.btf() else { continue };
        let taken = beelift::kernel::KernelBtf::load(&btf.to_kernel_bytes());
        taken.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
}
