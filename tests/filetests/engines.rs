//! The engines that run case files, behind one small interface.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift::interp::InterpProgram;
use beelift::isa::Slot;
use beelift::link::{Program, Trap};
use beelift::verify::Policy;
use beelift_runtime::abi::{ExecContext, Host};
use beelift_runtime::ctx::{Context, MemoryContext, Packet, ProgramType, RawContext, SkbContext, XdpContext};
use beelift_runtime::environment::FixedEnvironment;
use beelift_runtime::helper::{self, Effects};
use beelift_runtime::map::{self, MapHandle};
use beelift_runtime::mem::Regions;

/// Backward jumps and calls a case may make.
const FUEL: u64 = 1 << 20;

/// Who runs a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Interp,
    Jit,
    Kernel,
}

impl Engine {
    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        match name {
            "interp" | "decode" | "beelift" => Ok(Self::Interp),
            "jit" => Ok(Self::Jit),
            "kernel" => Ok(Self::Kernel),
            _ => Err(format!("unknown engine {name}")),
        }
    }
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interp => "interp",
            Self::Jit => "jit",
            Self::Kernel => "kernel",
        }
    }
}

/// What a program is run on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Input {
    /// A context of 64-bit words.
    Words(Vec<u64>),
    /// A packet.
    Packet(Vec<u8>),
}

/// What a run leaves behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// r0, and the words or bytes of the input where they changed.
    Done { r0: u64, output: Option<Input> },
    /// The first line of a trap.
    Trap(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trap(message) => write!(f, "trap {message}"),
            Self::Done { r0, output } => {
                write!(f, "{r0:#x}")?;
                match output {
                    None => Ok(()),
                    Some(Input::Words(words)) => {
                        f.write_str(" |")?;
                        words.iter().try_for_each(|word| write!(f, " {word:#x}"))
                    }
                    Some(Input::Packet(bytes)) => {
                        f.write_str(" | ")?;
                        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                    }
                }
            }
        }
    }
}

/// A program loaded into an engine.
pub(crate) enum Session {
    Interp {
        program: InterpProgram,
        program_type: ProgramType,
    },
    #[cfg(feature = "jit")]
    Jit(jit::Native),
    #[cfg(feature = "kernel")]
    Kernel(beelift::kernel::Oracle),
}

impl Session {
    pub(crate) fn new(engine: Engine, program: &Program) -> Result<Self, String> {
        match engine {
            Engine::Interp => {
                let program_type = program.prog_type;
                let maps: Result<Arc<[_]>, String> = program
                    .maps
                    .iter()
                    .map(|def| {
                        let map = map::create(def, 1).map_err(|error| error.to_string())?;
                        Ok(Box::new(MapHandle::new(map)))
                    })
                    .collect();
                let program = InterpProgram::new(Arc::new(program.clone()), maps?, &|id| {
                    helper::by_id(id).filter(|helper| helper.allowed(program_type, 0)).copied()
                })
                .map_err(|error| error.to_string())?;
                Ok(Self::Interp { program, program_type })
            }
            #[cfg(feature = "jit")]
            Engine::Jit => jit::load(program).map(Self::Jit),
            #[cfg(not(feature = "jit"))]
            Engine::Jit => Err("built without native code".to_owned()),
            #[cfg(feature = "kernel")]
            Engine::Kernel => kernel::load(program).map(Self::Kernel).map_err(|error| error.to_string()),
            #[cfg(not(feature = "kernel"))]
            Engine::Kernel => Err("built without the kernel engine".to_owned()),
        }
    }

    pub(crate) fn run(&mut self, input: &Input) -> Result<Outcome, String> {
        match self {
            Self::Interp { program, program_type } => interpret(program, *program_type, input),
            #[cfg(feature = "jit")]
            Self::Jit(native) => native.run(input),
            #[cfg(feature = "kernel")]
            Self::Kernel(oracle) => kernel::run(oracle, input),
        }
    }
}

fn interpret(program: &InterpProgram, program_type: ProgramType, input: &Input) -> Result<Outcome, String> {
    match input {
        Input::Words(words) => {
            let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut context = RawContext::new(program_type, &bytes).map_err(|error| error.to_string())?;
            let result = interpret_on(program, &mut context);
            Ok(outcome(result, input, Input::Words(words_of(context.bytes()))))
        }
        Input::Packet(bytes) => {
            if program_type == ProgramType::Memory {
                let mut context = MemoryContext::from_bytes(bytes).map_err(|error| error.to_string())?;
                let result = interpret_on(program, &mut context);
                return Ok(outcome(result, input, Input::Packet(context.bytes().to_vec())));
            }
            let mut packet = Packet::new(2048).map_err(|error| error.to_string())?;
            packet.set(bytes).map_err(|error| error.to_string())?;
            let result = if program_type == ProgramType::Xdp {
                interpret_on(program, &mut XdpContext::new(&mut packet))
            } else {
                interpret_on(program, &mut SkbContext::new(&mut packet, program_type))
            };
            Ok(outcome(result, input, Input::Packet(packet.bytes().to_vec())))
        }
    }
}

fn interpret_on(program: &InterpProgram, context: &mut dyn Context) -> Result<u64, Box<Trap>> {
    let entry = context.enter();
    let effects = Effects::default();
    let host = Host {
        environment: &FixedEnvironment::default(),
        effects: &effects,
        fuel: FUEL,
        cpu: 0,
        program: 1,
        numa_node: 0,
    };
    let context = &*context;
    let mut cx = ExecContext::new(host, context, entry.r1, program.maps(), None);
    cx.objects = program.objects();
    let mut regions = Regions::new(program.maps());
    context.regions(&mut regions);
    program.run(&cx, regions, entry)
}

fn outcome(result: Result<u64, Box<Trap>>, input: &Input, output: Input) -> Outcome {
    match result {
        Ok(r0) => Outcome::Done { r0, output: (output != *input).then_some(output) },
        // Addresses differ from run to run.
        Err(trap) => Outcome::Trap(format!("{} at pc {}", trap.kind, trap.at)),
    }
}

fn words_of(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect()
}

/// What our verifier says: `accept`, or `reject` with the code of the reason; then, in further lines, the details.
pub(crate) fn verdict(program: &Program, policy: Policy) -> String {
    use beelift::verify::{Failure, Options, verify};
    match verify(program.clone(), &Options::with_policy(policy)) {
        Ok(_) => "accept".to_owned(),
        Err(Failure::Rejected(rejected)) => format!("reject {}\n{rejected}", rejected.reason.code()),
        Err(error) => format!("unsupported\n{error}"),
    }
}

/// What the kernel's verifier says: `accept` or `reject`.
pub(crate) fn kernel_verdict(program: &Program) -> Result<String, String> {
    #[cfg(feature = "kernel")]
    return kernel::verdict(program);
    #[cfg(not(feature = "kernel"))]
    Err(format!("{}: built without the kernel engine", program.name))
}

/// Whether programs can be loaded into the kernel here, and shall be.
pub(crate) fn kernel_is_usable() -> bool {
    if std::env::var_os("BEELIFT_SKIP_KERNEL").is_some() {
        return false;
    }
    if std::env::var("BEELIFT_REQUIRE_KERNEL").is_ok_and(|value| value == "1") {
        return true;
    }
    #[cfg(feature = "kernel")]
    {
        let program = Program::assemble(ProgramType::Xdp, "r0 = 2\nexit", |_| None).expect("a program");
        kernel::load(&program).is_ok()
    }
    #[cfg(not(feature = "kernel"))]
    false
}

/// Whether the kernel refuses bytes, and for their encoding.
#[cfg(feature = "kernel")]
pub(crate) fn kernel_refuses(program_type: ProgramType, slots: &[Slot]) -> Result<(), String> {
    kernel::refuses(program_type, slots)
}

#[cfg(not(feature = "kernel"))]
pub(crate) fn kernel_refuses(_program_type: ProgramType, _slots: &[Slot]) -> Result<(), String> {
    Err("built without the kernel engine".to_owned())
}

#[cfg(feature = "jit")]
mod jit {
    use super::*;
    use beelift::engine::{self, Choice, Collection, Engine};

    /// The same program twice: as it is, and with everything asserted that native code relies on. Assertions stand in the
    /// way of optimisations, so that each of the two finds what the other does not.
    pub(crate) struct Native {
        plain: Collection,
        asserting: Collection,
    }

    pub(super) fn load(program: &Program) -> Result<Native, String> {
        let load = |check_facts| {
            let engine = Engine::builder()
                .backend(Choice::Jit)
                .environment(Arc::new(FixedEnvironment::default()))
                .deterministic(true)
                .check_facts(check_facts)
                .fuel(FUEL)
                .build();
            let loaded = engine.and_then(|engine| engine.load_linked(vec![program.clone()]));
            loaded.map_err(|error| error.to_string())
        };
        Ok(Native { plain: load(false)?, asserting: load(true)? })
    }

    impl Native {
        pub(super) fn run(&self, input: &Input) -> Result<Outcome, String> {
            let (plain, asserting) = (run(&self.plain, input)?, run(&self.asserting, input)?);
            if plain == asserting {
                Ok(plain)
            } else {
                Err(format!("{plain}, and {asserting} with assertions"))
            }
        }
    }

    fn run(collection: &Collection, input: &Input) -> Result<Outcome, String> {
        let (context, packet) = match input {
            Input::Words(words) => (words.iter().flat_map(|word| word.to_le_bytes()).collect(), Vec::new()),
            Input::Packet(bytes) => (Vec::new(), bytes.clone()),
        };
        let loaded = &collection.programs()[0];
        let record =
            loaded.run_input(&engine::Input { packet, context }).map_err(|error| error.to_string())?;
        let output = match input {
            Input::Words(_) => Input::Words(words_of(&record.context)),
            Input::Packet(_) if loaded.program().prog_type == ProgramType::Memory => {
                Input::Packet(record.context)
            }
            Input::Packet(_) => Input::Packet(record.packet),
        };
        Ok(outcome(record.value.map_err(Box::new), input, output))
    }
}

#[cfg(feature = "kernel")]
mod kernel {
    use super::*;
    use beelift::kernel::oracle::{self, Fixed, Oracle};
    use beelift::kernel::{self, KernelProgram, LoadOptions, LogLevel, MapSetOptions, OsError, RawProgram};

    pub(super) fn load(program: &Program) -> Result<Oracle, OsError> {
        Oracle::load(program, &Fixed::of(&FixedEnvironment::default()))
    }

    pub(super) fn run(oracle: &Oracle, input: &Input) -> Result<Outcome, String> {
        let (context, packet) = match input {
            Input::Words(words) => (words.iter().flat_map(|word| word.to_le_bytes()).collect(), Vec::new()),
            Input::Packet(bytes) => (Vec::new(), bytes.clone()),
        };
        let found = oracle
            .run(oracle::Input { packet: &packet, metadata: 0, context: &context })
            .map_err(|error| error.to_string())?;
        let output = match input {
            Input::Words(_) => Input::Words(words_of(&found.context)),
            Input::Packet(_) => Input::Packet(found.packet),
        };
        Ok(Outcome::Done { r0: u64::from(found.retval), output: (output != *input).then_some(output) })
    }

    pub(super) fn verdict(program: &Program) -> Result<String, String> {
        let maps = kernel::create_maps(&program.maps, MapSetOptions::default());
        // An oracle would want to run the program, too.
        let loaded = maps.and_then(|maps| KernelProgram::load(program, &maps, LoadOptions::default()));
        match loaded {
            Ok(_) => Ok("accept".to_owned()),
            Err(error) if error.log.is_some() => Ok("reject".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn refuses(program_type: ProgramType, slots: &[Slot]) -> Result<(), String> {
        match KernelProgram::load_raw(&RawProgram::new(program_type, slots), LogLevel::Silent) {
            Ok(_) => Err("accepted".to_owned()),
            Err(_) => Ok(()),
        }
    }
}
