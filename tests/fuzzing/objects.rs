//! Files from anywhere: objects and type information.

use std::sync::OnceLock;

use beelift::Object;
use beelift::btf::{Btf, BtfExt, CoreTarget, builtin, special_fields};
use beelift::isa::encode::{Verbatim, encode};
use beelift::link::{LinkOptions, link};

/// Types that are looked at: an object may have many, and the time of one run is limited.
const TYPES: usize = 64;

/// The bytes are an object; every program in it is linked.
pub(crate) fn elf(data: &[u8]) {
    // The types of the running kernel take too long for each of many runs and differ from machine to machine.
    static OPTIONS: OnceLock<LinkOptions> = OnceLock::new();
    let options = OPTIONS.get_or_init(|| LinkOptions {
        core_targets: vec![CoreTarget::Builtin, CoreTarget::Own],
        ..LinkOptions::default()
    });
    let object = match Object::parse(data) {
        Ok(object) => object,
        Err(error) => return drop(error.to_string()),
    };
    for program in object.programs() {
        match link(&object, &program.name, options) {
            Ok(linked) => {
                let encoded = encode(&linked.insns, &mut Verbatim).expect("a linked program has an encoding");
                assert_eq!(encoded.pcs, linked.pcs);
                let ends = linked.subprograms.last().map(|last| last.end.index());
                assert_eq!(ends, Some(linked.insns.len()), "subprograms cover the program");
            }
            Err(error) => drop(error.to_string()),
        }
    }
    for global in object.globals() {
        let map = &object.maps()[global.map.0 as usize];
        assert!(u64::from(global.offset) + u64::from(global.size) <= u64::from(map.value_size));
    }
    if let Some(btf) = object.btf() {
        types(btf, data);
    }
}

/// The bytes are types, and line information that goes with the types built in.
pub(crate) fn btf(data: &[u8]) {
    if let Err(error) = BtfExt::parse(data, &builtin()) {
        let _ = error.to_string();
    }
    match Btf::parse(data) {
        Ok(btf) => types(&btf, data),
        Err(error) => drop(error.to_string()),
    }
}

fn types(btf: &Btf, value: &[u8]) {
    let step = (btf.len() / TYPES).max(1);
    for id in btf.ids().step_by(step) {
        let name = btf.type_name(id);
        let _ = (btf.declaration(id, "x"), btf.definition(id), btf.align_of(id), btf.resolve(id), name);
        let size = btf.size_of(id).and_then(|size| usize::try_from(size).ok());
        let _ = (btf.format_value(id, value), special_fields(btf, id));
        if let Some(exact) = size.and_then(|size| value.get(..size)) {
            let _ = btf.format_value(id, exact);
        }
    }
    let again = Btf::parse(&btf.to_bytes()).expect("bytes of types that were read");
    assert_eq!(again.len(), btf.len());
    let for_kernel = Btf::parse(&btf.to_kernel_bytes()).expect("types made for the kernel");
    assert!(for_kernel.len() >= btf.len());
}
