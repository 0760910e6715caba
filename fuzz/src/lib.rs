//! The functions of `tests/fuzzing`, for the binaries of cargo-fuzz. See docs/testing.md.
#![allow(dead_code, reason = "other crates include the same modules and use more of them")]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;
#[path = "../../tests/random/mod.rs"]
mod generator;

macro_rules! targets {
    ($($name:ident),*) => {
        $(
            /// Runs the target of that name on an input.
            pub fn $name(data: &[u8]) {
                fuzzing::$name(data);
            }
        )*
    };
}

targets!(decode, assembler, elf, btf, verify_run, captures);
