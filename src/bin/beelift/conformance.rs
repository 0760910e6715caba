//! `conformance`: the plug-in protocol of the public BPF conformance suite.
//!
//! In: a program as hexadecimal bytes on stdin, its memory as the first argument. Out: r0 in hexadecimal. The
//! program has the type `memory` and is verified like any other, for a buffer of exactly that length. The suite
//! takes any exit status but 0 as a failure and what stands on stderr as its message.
#![forbid(unsafe_code)]

use std::io::Read;
use std::process::ExitCode;

use serde_json::json;

use beelift::elf::Object;
use beelift::engine::{Choice, Input};
use beelift::isa::Slot;
use beelift::link::{self, LinkOptions, Program};
use beelift::verify::Options;
use beelift::{Engine, Error, ProgramType};

use crate::args::{self, Engine as Wanted};
use crate::failure::{Failure, Kind};
use crate::input;
use crate::output::out;
use crate::source::is_malformed;

/// Longest program text that is read: a million instructions in hexadecimal, and room for an object around them.
const LONGEST: u64 = 64 << 20;

pub(crate) fn conformance(args: &args::Conformance, as_json: bool) -> Result<ExitCode, Failure> {
    let memory = input::from_hex(&args.memory).map_err(|failure| failure.at("memory"))?;
    let text = match &args.program {
        Some(text) => text.clone(),
        None => read_stdin()?,
    };
    let bytes = input::from_hex(&text).map_err(|failure| failure.at("program"))?;
    let program = if args.elf { from_object(&bytes)? } else { from_instructions(&bytes)? };
    let (choices, label): (&[Choice], _) = match args.engine {
        Wanted::Auto | Wanted::Jit => (&[Choice::Jit], "jit"),
        Wanted::Interpreter => (&[Choice::Interpreter], "interpreter"),
        Wanted::Kernel => {
            let what = "the kernel has no programs of type memory";
            return Err(Failure::new(Kind::Unsupported, what).hint("use --engine jit or interpreter"));
        }
        Wanted::All => (&[Choice::Interpreter, Choice::Jit], "all"),
    };
    let results = choices
        .iter()
        .map(|&choice| run(&program, &memory, choice, args.fuel))
        .collect::<Result<Vec<_>, _>>()?;
    if let [first, second] = results[..]
        && first != second
    {
        return Err(Failure::failure(format!("interpreter {first:#x}, jit {second:#x}")));
    }
    if as_json {
        out!("{}", json!({ "schema": 1, "engine": label, "return": results[0] }));
    } else {
        out!("{:x}", results[0]);
    }
    Ok(ExitCode::SUCCESS)
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::failure(error).at("stdin"))?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::failure(format!("longer than {} MiB", LONGEST >> 20)).at("stdin"));
    }
    Ok(text)
}

fn from_instructions(bytes: &[u8]) -> Result<Program, Failure> {
    let Some(slots) = Slot::from_bytes(bytes) else {
        return Err(Failure::failure(format!("{} bytes are no whole number of instructions", bytes.len())));
    };
    Program::from_slots(ProgramType::Memory, &slots, Vec::new().into()).map_err(|error| unlinked(&error))
}

/// The program of an object, whatever its section is called.
fn from_object(bytes: &[u8]) -> Result<Program, Failure> {
    let object = Object::parse(bytes).map_err(Failure::failure)?;
    // The suite's own objects have one function, in a section that holds no programs.
    let name = object.programs().first().map_or("main", |program| program.name.as_str());
    let options = LinkOptions { prog_type: Some(ProgramType::Memory), ..LinkOptions::default() };
    link::link(&object, name, &options).map_err(|error| unlinked(&error))
}

fn unlinked(error: &link::LinkError) -> Failure {
    Failure::new(if is_malformed(error) { Kind::Rejected } else { Kind::Failure }, error)
}

fn run(program: &Program, memory: &[u8], choice: Choice, fuel: Option<u64>) -> Result<u64, Failure> {
    let buffer = u32::try_from(memory.len()).map_err(Failure::failure)?;
    let options = Options { buffer: Some(buffer), ..Options::default() };
    let mut builder = Engine::builder().backend(choice).verify(options);
    if let Some(fuel) = fuel {
        builder = builder.fuel(fuel);
    }
    let engine = builder.build().map_err(failed)?;
    let collection = engine.load_linked(vec![program.clone()]).map_err(failed)?;
    let input = Input { packet: memory.to_vec(), context: Vec::new() };
    let record = collection.programs()[0].run_input(&input).map_err(failed)?;
    record.value.map_err(|trap| Failure::new(Kind::Trap, trap))
}

fn failed(error: Error) -> Failure {
    let kind = match &error {
        Error::Rejected(_) => Kind::Rejected,
        Error::Unsupported { .. } | Error::NoBackend { .. } => Kind::Unsupported,
        Error::Trap(_) => Kind::Trap,
        _ => Kind::Failure,
    };
    Failure::new(kind, error)
}
