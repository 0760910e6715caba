//! Objects compiled from C: programs that keep and break the contracts of kernel functions and kernel objects.
//!
//! `tests/cases/verify/objects/NAME.c` was compiled with `clang -O2 -g -target bpf -mcpu=v4` and stripped of everything
//! but types; `NAME.expect` says of each program whether it is accepted, and why not. Every verdict is compared with
//! the running kernel's, too, unless its line ends with `alone`. What kernel objects look like only a kernel tells: without its types nothing is judged.

use std::fmt::Write as _;
use std::path::Path;

use beelift::elf::Object;
use beelift::link::{LinkOptions, link};
use beelift::verify::{self, Failure, Options, Policy};

use crate::require;

/// What a file expects of a program.
struct Expected<'a> {
    program: &'a str,
    /// The reason of a rejection.
    reason: Option<&'a str>,
    /// The kernel says something else, or cannot be asked.
    #[cfg_attr(not(feature = "kernel"), expect(dead_code, reason = "nobody else is asked"))]
    alone: bool,
}

fn expectations(text: &str) -> Vec<Expected<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let program = words.next().expect("a name");
            let reject = words.next().expect("a verdict") == "reject";
            let reason = reject.then(|| words.next().expect("a reason"));
            Expected { program, reason, alone: words.next() == Some("alone") }
        })
        .collect()
}

fn check(name: &str) {
    if !require::kernel_types(&format!("contracts of {name}")) {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/verify/objects");
    let bytes = std::fs::read(folder.join(name).with_extension("o")).expect("the object is checked in");
    let text = std::fs::read_to_string(folder.join(name).with_extension("expect")).expect("so is this");
    let object = Object::parse(&bytes).expect("an object");
    let options = LinkOptions::default();
    let expected = expectations(&text);
    assert_eq!(expected.len(), object.programs().len(), "programs of {name}");
    let mut wrong = String::new();
    for Expected { program, reason, .. } in &expected {
        let linked = link(&object, program, &options).expect("a program that links");
        let found = match verify::verify(linked, &Options::with_policy(Policy::KERNEL)) {
            Ok(_) => None,
            Err(Failure::Rejected(rejected)) => Some(rejected.reason.code()),
            Err(_) => Some("unsupported"),
        };
        if found != *reason {
            writeln!(wrong, "{program}: expected {reason:?}, found {found:?}").expect("a string");
        }
    }
    #[cfg(feature = "kernel")]
    if require::kernel(&format!("contracts of {name}")) {
        compare(&object, &expected, &mut wrong);
    }
    assert!(wrong.is_empty(), "{name}\n{wrong}");
}

/// The kernel accepts what is accepted here, and rejects the rest.
#[cfg(feature = "kernel")]
fn compare(object: &Object, expected: &[Expected<'_>], wrong: &mut String) {
    use beelift::kernel::{KernelBtf, KernelProgram, KernelSymbols, LoadOptions, MapSetOptions, create_maps};
    let btf = object.btf().expect("types");
    let btf = KernelBtf::load(&btf.to_kernel_bytes()).expect("types that the kernel takes");
    let maps = create_maps(object.maps(), MapSetOptions { btf: Some(&btf), pin_directory: None });
    let maps = maps.expect("maps that the kernel makes");
    let symbols = KernelSymbols::default();
    for Expected { program, reason, .. } in expected.iter().filter(|expected| !expected.alone) {
        let linked = link(object, program, &LinkOptions::for_kernel()).expect("a program that links");
        let options = LoadOptions { btf: Some(&btf), symbols: Some(&symbols), ..LoadOptions::default() };
        let loaded = KernelProgram::load(&linked, &maps, options);
        if loaded.is_ok() != reason.is_none() {
            let message = loaded.err().map_or_else(|| "accepted".to_owned(), |error| error.to_string());
            writeln!(wrong, "{program}: expected {reason:?}, the kernel: {message}").expect("a string");
        }
    }
}

#[test]
fn arguments_of_global_functions_follow_their_annotations() {
    check("global_arguments");
}

#[test]
fn helpers_and_functions_take_what_fits() {
    check("arguments");
}

#[test]
fn hooks_tell_what_they_are_given_and_return() {
    check("hooks");
}

#[test]
fn functions_are_walked_for_every_way_they_are_called() {
    check("functions");
}

#[test]
fn kptrs_hold_what_goes_into_them() {
    check("kptrs");
}

#[test]
fn objects_of_lists_and_trees_are_lent_under_their_lock() {
    check("collections");
}

#[test]
fn iterators_end_and_stay_in_their_sections() {
    check("iterators");
}

#[test]
fn programs_called_for_each_object_use_it() {
    check("walks");
}

#[test]
fn dynptrs_and_their_clones_go_together() {
    check("dynptrs");
}

#[test]
fn locks_sections_and_work_queues_are_used_in_order() {
    check("locks");
}

#[test]
fn what_maps_say_wrongly_is_no_collection() {
    check("unmappable");
}
