//! Runs every text under `tests/cases` on the engines its header names.
//!
//! A case file is assembly with a header in its comments (`case.rs` describes it). With `BLESS=1` the
//! interpreter's results are written into the files; the kernel then judges them like any other engine.
//! Without the right to load programs the kernel's trials are ignored, unless `BEELIFT_REQUIRE_KERNEL=1`; with
//! `BEELIFT_SKIP_KERNEL` they are ignored anyway (tests of what is ours alone).
//! Where the kernel shows no types, what needs them is ignored.
#![forbid(unsafe_code)]

mod case;
mod engines;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use case::{CaseFile, Test};
use engines::Engine;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    let kernel = engines::kernel_is_usable();
    let mut trials = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).unwrap_or(&path).with_extension("").display().to_string();
        match CaseFile::read(&path) {
            Ok(file) => add_trials(&mut trials, &name, Arc::new(file), kernel),
            Err(error) => trials.push(Trial::test(name, move || Err(Failed::from(error)))),
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "bpf") {
            files.push(path);
        }
    }
}

fn add_trials(trials: &mut Vec<Trial>, name: &str, file: Arc<CaseFile>, kernel: bool) {
    if std::env::var_os("BLESS").is_some() {
        trials.push(Trial::test(name.to_owned(), move || file.bless().map_err(Failed::from)));
        return;
    }
    for &test in &file.tests {
        let file = Arc::clone(&file);
        let (kind, ignored) = match test {
            Test::Run(Engine::Interp) => ("interp", false),
            Test::Run(Engine::Jit) => ("jit", !cfg!(feature = "jit")),
            Test::Run(Engine::Kernel) | Test::Refuse(Engine::Kernel) => ("kernel", !kernel),
            Test::Refuse(Engine::Interp | Engine::Jit) => ("decode", false),
            Test::Verify(Engine::Interp | Engine::Jit) => {
                ("verify", file.kernel_types && !Path::new("/sys/kernel/btf/vmlinux").exists())
            }
            Test::Verify(Engine::Kernel) => ("kernel verifier", !kernel),
        };
        let trial = Trial::test(name.to_owned(), move || file.check(test).map_err(Failed::from));
        trials.push(trial.with_kind(kind).with_ignored_flag(ignored));
    }
}
