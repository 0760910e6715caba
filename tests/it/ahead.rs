//! Random programs compiled ahead of time for aarch64: linked by the hundred, run in one emulated process, compared
//! with the interpreter on results, packets and maps.
//!
//! `BEELIFT_RANDOM_CASES` (default 200, in debug builds 60) and `BEELIFT_RANDOM_SEED` as in `random.rs`. What the C runtime does
//! not serve (tail calls, programs on socket buffers) is counted and left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use beelift::aot::{self, Unit};
use beelift::codegen::{self, Target};
use beelift::engine::{Element, Input};
use beelift::verify::{self, Options, Policy, Verified};
use beelift::{Choice, Engine, FixedEnvironment, Program, ProgramType, ir};

use crate::aot::{AARCH64, has, hex, root, run, scratch};
use crate::generator;
use crate::random::{Tally, setting};

/// Programs in one executable.
const BATCH: usize = 200;

/// A program that is compiled, with what it should print.
struct Made {
    seed: u64,
    packets: Vec<Vec<u8>>,
    expected: Vec<String>,
    program: Program,
}

#[test]
fn random_programs_give_the_interpreters_results_on_aarch64() {
    let test = "random programs ahead of time for aarch64";
    if !has(AARCH64.compiler[0], test) || !has(AARCH64.runner[0], test) {
        return;
    }
    let cases = setting("BEELIFT_RANDOM_CASES", if cfg!(debug_assertions) { 60 } else { 200 });
    let first = setting("BEELIFT_RANDOM_SEED", 1);
    let start = Instant::now();
    let folder = scratch("random");
    let parts = parts(&folder);
    let targets = targets();
    let (mut tally, mut left_out) = (Tally::default(), BTreeMap::new());
    let (mut seed, mut batches) = (first, 0);
    while tally.accepted() < cases {
        let mut batch: Vec<Made> = Vec::new();
        while batch.len() < BATCH && tally.accepted() + (batch.len() as u64) < cases {
            let target = &targets[batches % targets.len()];
            match make(seed, target, &folder) {
                Ok(made) => batch.push(made),
                Err(reason) => *left_out.entry(reason).or_insert(0_u64) += 1,
            }
            seed += 1;
        }
        judge(&batch, &folder, &parts);
        batch.iter().for_each(|made| tally.count("ahead", &made.program));
        batches += 1;
    }
    println!("seeds {first}..{seed}: {} ran in {batches} batches, {:?}", tally.accepted(), start.elapsed());
    println!("left out: {left_out:?}");
    println!("{tally}");
}

/// The C runtime and the harness.
fn parts(folder: &Path) -> [PathBuf; 2] {
    ["src/aot/c/beelift.c", "tests/aot/batch.c"].map(|source| compiled(source, folder))
}

/// Atomics are loops on old machines and single instructions on newer ones.
fn targets() -> [Target; 2] {
    [&[][..], &["has_lse"]]
        .map(|features| Target::for_triple(AARCH64.triple, features).expect("a known machine"))
}

/// Whether an exchange of 32 bits happens must not depend on the upper half of r0.
#[test]
fn the_upper_half_of_an_expected_value_does_not_count_on_aarch64() {
    let test = "compare and exchange ahead of time for aarch64";
    if !has(AARCH64.compiler[0], test) || !has(AARCH64.runner[0], test) {
        return;
    }
    let text = "
        .map array array key=4 value=8 entries=1
        r6 = *(u32 *)(r1 +0)
        r2 = *(u32 *)(r1 +4)
        r3 = r6
        r3 += 14
        r0 = 0
        if r3 > r2 goto end
        *(u32 *)(r10 -4) = 0
        r1 = map[array] ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto end
        r7 = r0
        r0 = *(u64 *)(r6 +0)
        w5 = 7
        w0 = cmpxchg32_32(r7 +0, w0, w5)
        r0 = *(u32 *)(r7 +0)
    end:
        exit";
    let folder = scratch("cmpxchg");
    let parts = parts(&folder);
    for (seed, target) in (0..).zip(targets()) {
        let program = Program::assemble(ProgramType::Xdp, text, |_| None).expect("a program");
        let mut packet = vec![0; 14];
        packet[4..8].fill(0xff);
        let made = compile(seed, program, vec![packet], &target, &folder).expect("compiles");
        assert!(made.expected[0].starts_with("0 7 "), "{:?}", made.expected);
        judge(&[made], &folder, &parts);
    }
}

/// Compiles the program of a seed, or says why it is left out.
fn make(seed: u64, target: &Target, folder: &Path) -> Result<Made, String> {
    let case = generator::generate(seed);
    if case.prog_type != ProgramType::Xdp {
        return Err(format!("type {}", case.prog_type));
    }
    let program = case.program();
    let packets = case.inputs.into_iter().map(|input| input.packet).collect();
    compile(seed, program, packets, target, folder)
}

/// Compiles a program into an object of its own.
fn compile(
    seed: u64,
    mut program: Program,
    packets: Vec<Vec<u8>>,
    target: &Target,
    folder: &Path,
) -> Result<Made, String> {
    program.name = format!("p{seed}");
    // Programs in one executable need maps of different names.
    let renamed = program.maps.iter().map(|def| {
        let mut def = def.clone();
        def.name = format!("{}{seed}", &def.name[..1]);
        def
    });
    program.maps = renamed.collect::<Vec<_>>().into();
    // Results must not depend on addresses or on what the stack held before.
    let policy = Policy { allow_pointer_leaks: false, allow_uninitialised_stack: false, ..Policy::KERNEL };
    let cpus = Some(aot::Options::default().cpus);
    let verified = verify::verify(program, &Options { cpus, ..Options::with_policy(policy) })
        .map_err(|_| "rejected by the verifier".to_owned())?;
    let module = ir::build(&verified, ir::Options::default()).expect("supported");
    let code = codegen::compile(&module, target).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let unit = Unit { verified: &verified, code: &code };
    let output = aot::write(&[unit], target, &aot::Options::default())
        .map_err(|error| error.to_string().replace(&seed.to_string(), ""))?;
    std::fs::write(folder.join(format!("{seed}.o")), output.object).expect("a scratch file");
    let expected = expected(&verified, &packets);
    Ok(Made { seed, packets, expected, program: verified.program().clone() })
}

/// What the interpreter makes of it: a line for each packet, then the elements of maps.
fn expected(verified: &Verified, packets: &[Vec<u8>]) -> Vec<String> {
    let engine = Engine::builder()
        .backend(Choice::Interpreter)
        .environment(Arc::new(FixedEnvironment::default()))
        .deterministic(true)
        .build()
        .expect("an engine");
    let loaded = engine.load_verified(verified).expect("loads");
    let program = &loaded.programs()[0];
    let mut lines = Vec::new();
    for packet in packets {
        let record = program.run_input(&Input { packet: packet.clone(), ..Input::default() }).expect("runs");
        lines.push(format!("0 {} {}", record.value.expect("no trap"), hex(&record.packet)));
    }
    let mut elements = Vec::new();
    for map in loaded.maps().iter().take(2) {
        for (key, element) in map.elements().expect("a map with elements") {
            let Element::Value(value) = element else { unreachable!("not per CPU") };
            elements.push(format!("{} {} {}", map.def().name, hex(&key), hex(&value)));
        }
    }
    elements.sort();
    lines.extend(elements);
    lines
}

/// Links a batch, runs it and compares.
fn judge(batch: &[Made], folder: &Path, parts: &[PathBuf]) {
    let mut table = String::from("#include \"beelift.h\"\n");
    for Made { seed, .. } in batch {
        writeln!(table, "extern const struct beelift_program beelift_program_p{seed};").expect("a string");
    }
    table.push_str("const struct beelift_program *const programs[] = {\n");
    for Made { seed, .. } in batch {
        writeln!(table, "\t&beelift_program_p{seed},").expect("a string");
    }
    table.push_str("\t0,\n};\n");
    let (source, executable) = (folder.join("table.c"), folder.join("batch"));
    std::fs::write(&source, table).expect("a scratch file");
    let objects: Vec<PathBuf> = batch.iter().map(|made| folder.join(format!("{}.o", made.seed))).collect();
    let mut link = compiler();
    link.args(parts).arg(&source).args(&objects).arg("-o").arg(&executable);
    run(&mut link, &[]);
    let mut input = Vec::new();
    for made in batch {
        input.extend_from_slice(&(made.packets.len() as u32).to_le_bytes()); // a handful
        for packet in &made.packets {
            input.extend_from_slice(&(packet.len() as u32).to_le_bytes()); // about a hundred
            input.extend_from_slice(packet);
        }
    }
    let mut command = Command::new(AARCH64.runner[0]);
    let printed = run(command.arg(&executable), &input);
    let mut outputs = printed.split("end\n");
    for made in batch {
        let output = outputs.next().unwrap_or_default();
        let (mut lines, mut elements): (Vec<&str>, Vec<&str>) =
            output.lines().partition(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        elements.sort_unstable();
        // A map that the program does not use is no part of the object; an array of zeros says nothing.
        let wanted: Vec<&str> = made
            .expected
            .iter()
            .map(String::as_str)
            .filter(|line| {
                let name = line.split(' ').next().unwrap_or_default();
                line.starts_with("0 ") || elements.iter().any(|element| element.starts_with(name))
            })
            .collect();
        lines.extend(elements);
        assert_eq!(lines, wanted, "seed {}\n{:?}", made.seed, made.program.insns);
    }
    objects.iter().for_each(|object| std::fs::remove_file(object).expect("a scratch file"));
}

fn compiler() -> Command {
    let mut command = Command::new(AARCH64.compiler[0]);
    command.args(&AARCH64.compiler[1..]).args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]);
    command.arg("-I").arg(root().join("src/aot/c"));
    command
}

fn compiled(source: &str, folder: &Path) -> PathBuf {
    let to = folder.join(Path::new(source).with_extension("o").file_name().expect("a name"));
    run(compiler().arg("-c").arg(root().join(source)).arg("-o").arg(&to), &[]);
    to
}
