//! Lowering by example: each file of `tests/cases/lower` is a program and the form it becomes.
//!
//! With `BLESS=1` the files are rewritten; read the difference before committing it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use beelift_runtime::ctx::ProgramType;
use beelift_runtime::helper;

use super::{Options, build};
use crate::link::Program;
use crate::verify::{self, verify};

const MARK: &str = "; becomes\n";

/// The text of the form, or why there is none.
fn lower(source: &str) -> String {
    let program =
        Program::assemble(ProgramType::Xdp, source, |name| helper::by_name(name).map(|helper| helper.id))
            .unwrap_or_else(|error| panic!("{error}"));
    let verified = verify(program, &verify::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    match build(&verified, Options::default()) {
        Ok(module) => module.to_string(),
        Err(error) => error.to_string(),
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lower");
    let mut paths: Vec<PathBuf> = folder
        .read_dir()
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn every_case_becomes_what_it_says() {
    let mut wrong = String::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).expect("a text file");
        let (source, expected) = text.split_once(MARK).unwrap_or((&text, ""));
        let mut found = String::new();
        for line in lower(source).lines() {
            writeln!(found, "; {line}").expect("writing to a string");
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, format!("{source}{MARK}{found}")).expect("a writable file");
        } else if found != expected {
            writeln!(wrong, "{}:\n{found}", path.display()).expect("writing to a string");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
