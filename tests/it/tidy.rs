//! House rules that a machine can judge: layers, headers, unsafe rooms, invariants, paths in the documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the root crate by row; a module may use rows below its own, and what `SIDEWAYS` lists.
const ROWS: &[(&str, u8)] = &[
    ("engine", 6),
    ("aot", 5),
    ("exec", 5),
    ("kernel", 5),
    ("ir", 4),
    ("codegen", 4),
    ("interp", 4),
    ("verify", 3),
    ("link", 2),
    ("elf", 1),
    ("btf", 1),
    ("isa", 0),
];

/// Allowed uses inside a row.
const SIDEWAYS: &[(&str, &str)] = &[("elf", "btf"), ("codegen", "ir")];

/// Where `unsafe` may stand.
const ROOMS: &[&str] = &[
    "src/exec/",
    "src/kernel/sys.rs",
    "src/kernel/sys/",
    "runtime/src/mem/",
    "runtime/src/helper/shim.rs",
    "runtime/src/helper/shim/",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All `.rs` files below a folder, as paths relative to the root.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root()).expect("below the root");
                found.push(relative.to_str().expect("an ASCII name").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).expect("a readable source")
}

fn all_sources() -> impl Iterator<Item = (String, String)> {
    let mut files = sources("src");
    files.extend(sources("runtime/src"));
    files.into_iter().map(|path| (path.clone(), read(path)))
}

/// Text without comments, so that prose about a rule does not count as breaking it.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_says_what_it_owns() {
    let broken: Vec<_> =
        all_sources().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert_none("these files lack a `//!` header", &broken);
}

#[test]
fn modules_use_only_rows_below_them() {
    let row = |name: &str| ROWS.iter().find(|(module, _)| *module == name).map(|(_, row)| *row);
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        let Some(module) = path.strip_prefix("src/").and_then(|rest| rest.split(['/', '.']).next()) else {
            continue;
        };
        let Some(own) = row(module) else { continue };
        if path.ends_with("/tests.rs") || path.ends_with("/testing.rs") {
            continue;
        }
        let text = code(&text);
        // Unit tests may look upwards: a layer is tested with what stands on it.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for piece in text.split("crate::").skip(1) {
            let used = piece.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let Some(other) = row(used) else { continue };
            if used != module && other >= own && !SIDEWAYS.contains(&(module, used)) {
                broken.push(format!("{path} uses crate::{used}"));
            }
        }
    }
    broken.dedup();
    assert_none("layers are crossed", &broken);
}

#[test]
fn unsafe_code_lives_in_its_rooms() {
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        let in_room = ROOMS.iter().any(|room| path.starts_with(room));
        let text_only = code(&text);
        let uses = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait"]
            .iter()
            .any(|use_| text_only.contains(use_));
        if uses && !in_room {
            broken.push(format!("{path}: unsafe outside the rooms"));
        }
        // A module that holds a room cannot forbid what its children do.
        let holds_room = ROOMS.iter().any(|room| {
            let folder = path.trim_end_matches("mod.rs").trim_end_matches(".rs");
            room.starts_with(folder) || path.ends_with("lib.rs")
        });
        let tests_only = path.ends_with("/tests.rs");
        if !in_room && !holds_room && !tests_only && !text.contains("#![forbid(unsafe_code)]") {
            broken.push(format!("{path}: no #![forbid(unsafe_code)]"));
        }
    }
    assert_none("unsafe code strays", &broken);
}

#[test]
fn safety_comments_name_invariants_that_exist() {
    let document = read("docs/safety.md");
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        for piece in text.split("INV-").skip(1) {
            let number: String = piece.chars().take_while(char::is_ascii_digit).collect();
            if !document.contains(&format!("INV-{number}:")) {
                broken.push(format!("{path}: INV-{number}"));
            }
        }
        for (line, content) in text.lines().enumerate() {
            if content.contains("SAFETY:") && !content.contains("SAFETY: INV-") {
                broken.push(format!("{path}:{}: a SAFETY comment without an invariant", line + 1));
            }
        }
    }
    assert_none("invariants are not in docs/safety.md", &broken);
}

#[test]
fn documents_name_paths_that_exist() {
    let mut broken = Vec::new();
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = read(document);
        let named: BTreeSet<&str> = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| {
                ["src/", "tests/", "docs/", "runtime/", "examples/", "benches/", "fuzz/"]
                    .iter()
                    .any(|start| word.starts_with(start))
            })
            .filter(|word| !word.contains([' ', '*', '<']))
            .collect();
        broken.extend(
            named.iter().filter(|path| !root().join(path).exists()).map(|path| format!("{document}: {path}")),
        );
    }
    assert_none("documents name paths that do not exist", &broken);
}

#[test]
fn readme_and_architecture_stay_short() {
    for (document, most) in [("README.md", 150), ("ARCHITECTURE.md", 200)] {
        let lines = read(document).lines().count();
        assert!(lines <= most, "{document} has {lines} lines, more than {most}");
    }
}

#[test]
fn engines_match_instructions_without_a_catch_all() {
    // `_ =>` in a match on `Insn` hides the work that a new variant makes.
    let exhaustive = ["src/isa/", "src/interp/", "src/ir/body.rs", "src/verify/check/step.rs"];
    let mut broken = Vec::new();
    for (path, text) in all_sources() {
        if !exhaustive.iter().any(|start| path.starts_with(start)) {
            continue;
        }
        let text = code(&text);
        for start in ["match insn {", "match *insn {"] {
            for piece in text.split(start).skip(1) {
                let mut level = 1_i32;
                for line in piece.lines() {
                    if level == 1 && line.trim_start().starts_with("_ =>") {
                        broken.push(format!("{path}: `_ =>` in `{start}`"));
                    }
                    level += line.matches('{').count() as i32 - line.matches('}').count() as i32;
                    if level <= 0 {
                        break;
                    }
                }
            }
        }
    }
    broken.dedup();
    assert_none("a catch-all hides new instructions", &broken);
}
