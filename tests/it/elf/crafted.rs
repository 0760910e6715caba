//! Objects that no compiler makes: bytes of good ones changed on purpose, each for one thing that linking refuses or
//! has to know.

use std::sync::Arc;

use beelift::btf::{CoreSource, CoreTarget, KernelTypes};
use beelift::elf::Object;
use beelift::isa::Slot;
use beelift::link::{Cfg, LinkError, LinkOptions, link, link_raw_text};
use beelift::runtime::ctx::ProgramType;

use super::{bytes, number, options, section_headers};

/// Most slots of a program that is joined.
const MOST_SLOTS: usize = 1 << 22;
const REL_ENTRY: usize = 16;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn name_at(bytes: &[u8], at: usize) -> &str {
    let len = bytes[at..].iter().position(|&byte| byte == 0).unwrap();
    std::str::from_utf8(&bytes[at..at + len]).unwrap()
}

fn word(bytes: &[u8], at: usize) -> usize {
    number(bytes, at, 8) as usize
}

/// The section header of that name.
fn section(bytes: &[u8], name: &str) -> usize {
    let headers = section_headers(bytes);
    let names = word(bytes, headers[number(bytes, 0x3e, 2) as usize].0 + 24);
    let is_it = |&&(at, _): &&(usize, u32)| name_at(bytes, names + number(bytes, at, 4) as usize) == name;
    headers.iter().find(is_it).unwrap_or_else(|| panic!("no section {name}")).0
}

/// Where the contents of a section begin.
fn contents(bytes: &[u8], name: &str) -> usize {
    word(bytes, section(bytes, name) + 24)
}

/// The entry of a symbol.
fn symbol(bytes: &[u8], name: &str) -> usize {
    let headers = section_headers(bytes);
    let table = section(bytes, ".symtab");
    let names = word(bytes, headers[number(bytes, table + 40, 4) as usize].0 + 24);
    let (start, size) = (word(bytes, table + 24), word(bytes, table + 32));
    let mut entries = (start..start + size).step_by(24);
    entries.find(|&at| name_at(bytes, names + number(bytes, at, 4) as usize) == name).unwrap()
}

/// Where a part of `.BTF.ext` begins, behind the size of its records; `part` is the offset of its place in the header.
fn ext_records(bytes: &[u8], part: usize) -> usize {
    let ext = contents(bytes, ".BTF.ext");
    ext + number(bytes, ext + 4, 4) as usize + number(bytes, ext + part, 4) as usize + 4
}

#[track_caller]
fn refused(bytes: &[u8], program: &str, message: &str) {
    let error = link(&Object::parse(bytes).unwrap(), program, &options()).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn relocations_are_of_wide_immediates_and_calls() {
    // The one at 0x20 is of a wide immediate: to its second half, and to another instruction.
    for offset in [0x28_u64, 0x00] {
        let mut bytes = bytes("legacy");
        let entry = contents(&bytes, ".relsocket1");
        assert_eq!(word(&bytes, entry), 0x20);
        put(&mut bytes, entry, &offset.to_le_bytes());
        refused(&bytes, "filter", "relocation on an instruction that takes none");
    }
}

#[test]
fn functions_end_between_instructions() {
    for (name, program, relocation) in
        [("legacy", "filter", ".relsocket1"), ("subprograms", "second", ".relxdp")]
    {
        let mut bytes = bytes(name);
        let entries = contents(&bytes, relocation);
        let wide = (0..).map(|i| entries + REL_ENTRY * i).find(|&at| number(&bytes, at + 8, 4) == 1).unwrap();
        let at = symbol(&bytes, program);
        let len = number(&bytes, wide, 8) - number(&bytes, at + 8, 8) + 8;
        put(&mut bytes, at + 16, &len.to_le_bytes());
        refused(&bytes, program, "a wide immediate is cut in half");
    }
}

#[test]
fn variables_are_not_called() {
    let mut bytes = bytes("externs");
    let entries = contents(&bytes, ".reltc");
    let of = |bytes: &[u8], offset: usize| {
        (0..).map(|i| entries + REL_ENTRY * i).find(|&at| word(bytes, at) == offset).unwrap()
    };
    let (call, variable) = (of(&bytes, 0xb0), of(&bytes, 0xf8));
    let index = number(&bytes, variable + 12, 4) as u32;
    put(&mut bytes, call + 12, &index.to_le_bytes());
    let object = Object::parse(&bytes).unwrap();
    let errors: Vec<_> =
        object.programs().iter().filter_map(|def| link(&object, &def.name, &options()).err()).collect();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(
        texts.iter().any(|text| text.contains("bpf_prog_fops is called but is no function")),
        "{texts:?}"
    );
}

fn with_exceptions() -> Vec<u8> {
    let path = super::folder().join("../calls/exceptions.bpf.o");
    std::fs::read(path).unwrap()
}

#[test]
fn an_exception_callback_is_there_and_the_only_one() {
    let mut bytes = with_exceptions();
    let tag = b"exception_callback:finish\0";
    let types = contents(&bytes, ".BTF");
    let at = types + bytes[types..].windows(tag.len()).position(|window| window == tag).unwrap();
    bytes[at + tag.len() - 2] = b'X';
    refused(&bytes, "with_callback", "there is no exception callback `finisX`");

    let mut bytes = with_exceptions();
    // Two tags of two functions: name, kind, function, no component.
    let kind = [0x11000000_u32.to_le_bytes(), [0; 4]].concat();
    let types = contents(&bytes, ".BTF") + 24;
    let is_tag = |at: &usize| bytes[*at + 4..*at + 8] == kind[..4] && bytes[*at + 12..*at + 16] == [0xff; 4];
    let tags: Vec<usize> = (types..bytes.len() - 16).step_by(4).filter(is_tag).collect();
    assert!(tags.len() > 1, "{tags:?}");
    let func: [u8; 4] = bytes[tags[0] + 8..tags[0] + 12].try_into().unwrap();
    tags.iter().for_each(|&at| put(&mut bytes, at + 8, &func));
    let object = Object::parse(&bytes).unwrap();
    let twice = |def: &beelift::elf::ProgramDef| {
        link(&object, &def.name, &options())
            .is_err_and(|error| error.to_string().contains("more than one exception"))
    };
    assert!(object.programs().iter().any(twice));
}

#[test]
fn type_records_name_whole_instructions() {
    let mut bytes = bytes("core");
    let first = ext_records(&bytes, 24) + 8;
    bytes[first] |= 4;
    let object = Object::parse(&bytes).unwrap();
    let refused = |def: &beelift::elf::ProgramDef| match link(&object, &def.name, &options()) {
        Err(LinkError::Core { what, .. }) => what.contains("is inside an instruction"),
        Ok(_) | Err(_) => false,
    };
    assert!(object.programs().iter().any(refused));
}

#[test]
fn an_instruction_has_one_source_line() {
    let mut bytes = bytes("subprograms");
    let first = ext_records(&bytes, 16) + 8;
    // The second record of the first section is about the same instruction.
    let offset: [u8; 4] = bytes[first..first + 4].try_into().unwrap();
    put(&mut bytes, first + 16, &offset);
    let object = Object::parse(&bytes).unwrap();
    let mut lines = 0;
    for def in object.programs() {
        let Ok(program) = link(&object, &def.name, &options()) else { continue };
        assert!(program.lines.is_sorted_by(|a, b| a.insn < b.insn), "{}", def.name);
        lines += program.lines.len();
    }
    assert!(lines > 0);
}

#[test]
fn the_kernel_answers_first_for_programs_that_walk_its_objects() {
    let object = Object::parse(&bytes("core")).unwrap();
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel-types");
    std::fs::write(&path, object.btf().unwrap().to_kernel_bytes()).unwrap();
    let kernel = CoreTarget::Kernel(Arc::new(KernelTypes::at(&path)));
    for (prog_type, first) in
        [(ProgramType::Xdp, CoreSource::Own), (ProgramType::Tracing, CoreSource::Kernel)]
    {
        let options = LinkOptions {
            core_targets: vec![CoreTarget::Own, kernel.clone()],
            prog_type: Some(prog_type),
            ..LinkOptions::default()
        };
        let program = link(&object, "kinds", &options).unwrap();
        let sources: Vec<_> = program.relocations.iter().filter_map(|found| found.source.as_ref()).collect();
        assert_eq!(sources.first(), Some(&&first), "{sources:?}");
    }
}

#[test]
fn text_that_calls_its_start_calls_the_prologue() {
    let mut bytes = bytes("legacy");
    let text = contents(&bytes, ".text");
    // The second instruction calls the first function.
    put(&mut bytes, text + 8, &[0x85, 0x10, 0, 0]);
    put(&mut bytes, text + 12, &(-2_i32).to_le_bytes());
    let object = Object::parse(&bytes).unwrap();
    let program = link_raw_text(&object, ProgramType::Xdp, &[Slot::new(0xb7, 2, 0, 0, 7); 3]).unwrap();
    let cfg = Cfg::build(&program).unwrap();
    assert_eq!((cfg.calls[0].callee, program.subprograms[0].entry.0), (0, 0));
}

#[test]
fn programs_of_too_many_instructions_are_refused() {
    let link_with = |slots: usize| {
        let mut bytes = bytes("legacy");
        let (header, function) = (section(&bytes, "nothing_known"), symbol(&bytes, "unnamed"));
        let start = bytes.len().next_multiple_of(8);
        bytes.resize(start, 0);
        bytes.extend([0xb7, 0, 0, 0, 0, 0, 0, 0].repeat(slots - 1));
        bytes.extend([0x95, 0, 0, 0, 0, 0, 0, 0]);
        put(&mut bytes, header + 24, &(start as u64).to_le_bytes());
        put(&mut bytes, header + 32, &(8 * slots as u64).to_le_bytes());
        put(&mut bytes, function + 16, &(8 * slots as u64).to_le_bytes());
        let typed = LinkOptions { prog_type: Some(ProgramType::Xdp), ..options() };
        link(&Object::parse(&bytes).unwrap(), "unnamed", &typed)
    };
    assert_eq!(link_with(1000).unwrap().insns.len(), 1000);
    assert!(matches!(link_with(MOST_SLOTS + 1), Err(LinkError::TooLarge { limit: MOST_SLOTS })));
}
