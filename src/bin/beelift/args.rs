//! The command line.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const AFTER_HELP: &str = "\
Examples:
  beelift run examples/firewall.bpf.o --pcap examples/traffic.pcap --maps
  beelift run examples/balancer.bpf.o --pcap examples/traffic.pcap --engine all
  beelift verify OBJ --log
  beelift map dump /sys/fs/bpf/DIR/maps/NAME

Exit status: 0 done, 1 failure, 2 usage, 3 rejected by the verifier, 4 trapped, 5 not permitted or not supported.";

/// Runs eBPF programs as native code in user space, with the Linux kernel as fallback and oracle.
#[derive(Parser)]
#[command(name = "beelift", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Print results (and errors) as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Load, verify, compile and run a program over packets or other inputs.
    Run(Run),
    /// Judge programs: accepted, rejected with the source line and the reason, or unsupported.
    Verify(Verify),
    /// Show what an object holds and where each program can run.
    Inspect(Inspect),
    /// Show a program at one stage on its way to native code.
    Dump(Dump),
    /// Compare the speed of native code, interpreter and kernel JIT on the same input.
    Bench(Bench),
    /// Compile ahead of time: a relocatable object and a C header for it.
    Compile(Compile),
    /// Load programs into the running kernel.
    Load(Load),
    /// Show and change maps in the kernel (pinned, or by id or name) and maps of an earlier run.
    Map(Map),
    /// Show what this machine's kernel and this runtime support, side by side.
    Features,
    /// Plug-in of the public BPF conformance suite: run the bytes on stdin and print r0 in hexadecimal.
    Conformance(Conformance),
}

/// Which object and program.
#[derive(Args)]
pub(crate) struct Source {
    /// An ELF object from clang, assembly (`.s`), raw bytes (`.bin`) or `hex:…`.
    pub(crate) object: String,
    /// The program, where the object holds several.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// The program by its section.
    #[arg(short, long, value_name = "SECTION", conflicts_with = "program")]
    pub(crate) section: Option<String>,
    /// Program type, where the object does not tell (`xdp`, `sched_cls`, …).
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) prog_type: Option<String>,
    /// Set a global variable before loading: a number (decimal or 0x), a name of its enumeration, JSON for structures
    /// and arrays, or `hex:` and bytes. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// BTF file to relocate against (CO-RE), instead of the built-in context types.
    #[arg(long, value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,
}

/// Where a program runs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Native code in user space; the kernel for what user space lacks.
    Auto,
    /// Native code in user space.
    Jit,
    /// The checked interpreter.
    Interpreter,
    /// The running kernel (BPF_PROG_TEST_RUN).
    Kernel,
    /// All three on the same inputs, compared.
    All,
}

/// Rules of the verifier.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// All that the kernel accepts, and more.
    User,
    /// Exactly the kernel's rules for root.
    Kernel,
    /// For untrusted programs.
    Strict,
}

/// What a run sees of the world.
#[derive(Args)]
pub(crate) struct World {
    /// Fixed clock in nanoseconds (default: the machine's; with `--engine all` a fixed one).
    #[arg(long, value_name = "NS")]
    pub(crate) clock: Option<u64>,
    /// Seed of random numbers (default: the machine's; with `--engine all` a fixed one).
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Fuel a run may burn in loops without a proven bound (with --unverified: 1048576 if not given).
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
    /// `ingress_ifindex` the program sees (default: loopback, 1).
    #[arg(long, value_name = "N")]
    pub(crate) ifindex: Option<u32>,
}

/// `run`
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) world: World,
    /// Where to run.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) engine: Engine,
    /// Rules of the verifier.
    #[arg(long, value_enum, default_value = "user")]
    pub(crate) policy: Policy,
    /// One packet: HEX (`00*64` is 64 zeros) or @FILE.
    #[arg(long, value_name = "HEX|@FILE")]
    pub(crate) packet: Option<String>,
    /// A capture (pcap or pcapng): one run for each packet.
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// Write the passed and transmitted packets to a capture.
    #[arg(long, value_name = "OUT")]
    pub(crate) write: Option<PathBuf>,
    /// Write every packet to a capture, whatever became of it.
    #[arg(long, value_name = "OUT", conflicts_with = "write")]
    pub(crate) write_all: Option<PathBuf>,
    /// Context: HEX, @FILE or FIELD=VALUE,… .
    #[arg(long, value_name = "HEX|@FILE|FIELD=V,…")]
    pub(crate) context: Option<String>,
    /// Inputs, one a line: `name packet-hex|- context-hex|-`; maps persist from line to line.
    #[arg(long, value_name = "FILE")]
    pub(crate) vectors: Option<PathBuf>,
    /// Run each input this many times and report the time of one.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Fill a map before running, from JSON: `[{"key":…,"value":…}]`, hexadecimal digits or values of their types; a
    /// value may be `{"program":NAME}` or `{"map":NAME}`. May be repeated.
    #[arg(long = "map", value_name = "NAME=FILE|JSON")]
    pub(crate) map: Vec<String>,
    /// Start with the maps of an earlier run: what `run --json --maps` printed.
    #[arg(long, value_name = "FILE")]
    pub(crate) restore: Option<PathBuf>,
    /// Print the maps afterwards.
    #[arg(long)]
    pub(crate) maps: bool,
    /// Run without a proof, on the interpreter, which checks every access and stops where a rule is broken.
    #[arg(long)]
    pub(crate) unverified: bool,
    /// Make native code check every fact of the verifier while it runs.
    #[arg(long)]
    pub(crate) check_facts: bool,
}

/// `verify`
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Rules.
    #[arg(long, value_enum, default_value = "user")]
    pub(crate) policy: Policy,
    /// Ask the running kernel as well and compare.
    #[arg(long)]
    pub(crate) kernel: bool,
    /// Print every step: paths, instructions, and what each changed; with --kernel the kernel's log as well.
    #[arg(long)]
    pub(crate) log: bool,
    /// Do not look for inputs that make rejected programs do what they may not.
    #[arg(long)]
    pub(crate) no_witness: bool,
    /// Steps of a program that --log shows; 0: all of them.
    #[arg(long, value_name = "N", default_value_t = 2000, requires = "log")]
    pub(crate) log_limit: u64,
}

/// `inspect`
#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) source: Source,
}

/// A stage of compilation.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Linked instructions.
    Bytecode,
    /// What the verifier proved.
    Facts,
    /// The SSA form after its passes.
    Ir,
    /// Cranelift's input.
    Clif,
    /// Machine code.
    Native,
}

/// `dump`
#[derive(Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Which stage.
    #[arg(long, value_enum, default_value = "bytecode")]
    pub(crate) stage: Stage,
    /// Interleave the C lines.
    #[arg(long = "source")]
    pub(crate) source_lines: bool,
    /// Rules of the verifier.
    #[arg(long, value_enum, default_value = "user")]
    pub(crate) policy: Policy,
}

/// `bench`
#[derive(Args)]
pub(crate) struct Bench {
    /// Objects; several are measured one after the other.
    #[arg(required = true)]
    pub(crate) objects: Vec<String>,
    /// The program, where an object holds several.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) program: Option<String>,
    /// Program type, where an object does not tell.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) prog_type: Option<String>,
    /// One packet: HEX or @FILE (default: 64 bytes of UDP).
    #[arg(long, value_name = "HEX|@FILE")]
    pub(crate) packet: Option<String>,
    /// Rounds of interleaved samples.
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) rounds: u32,
    /// Duration of one sample in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 3)]
    pub(crate) sample_ms: u32,
    /// Leave the interpreter out.
    #[arg(long)]
    pub(crate) no_interpreter: bool,
    /// Draw the times of all programs as an SVG.
    #[arg(long, value_name = "OUT.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// `map`
#[derive(Args)]
pub(crate) struct Map {
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) action: MapAction,
}

/// When an element is set.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Existing {
    /// Only if it is there.
    Present,
    /// Only if it is not there.
    Absent,
}

/// What to do with maps. MAP is the path of a pin, `id:N`, `name:NAME`, or `FILE:NAME` for a result of `run --json
/// --maps`. Keys and values are hexadecimal digits of their size (or `hex:…`), else numbers, names and JSON by type.
#[derive(Subcommand)]
pub(crate) enum MapAction {
    /// All maps: of the kernel, pinned below a directory, or in a result of a run.
    List {
        /// A directory of pins or a file with a result.
        #[arg(value_name = "DIR|FILE")]
        place: Option<PathBuf>,
    },
    /// All elements of a map.
    Dump {
        /// PIN, id:N, name:NAME or FILE:NAME.
        map: String,
    },
    /// One element; of a queue or stack the next one.
    #[command(visible_alias = "lookup")]
    Get {
        /// PIN, id:N, name:NAME or FILE:NAME.
        map: String,
        /// Its key (of a bloom filter: the value asked for).
        key: Option<String>,
    },
    /// Sets an element; on every CPU, or on each by a JSON array.
    #[command(visible_alias = "update")]
    Set {
        /// PIN, id:N, name:NAME or FILE:NAME.
        map: String,
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// Only if it is there, or only if it is not.
        #[arg(long, value_enum)]
        only: Option<Existing>,
    },
    /// Removes an element.
    Delete {
        /// PIN, id:N, name:NAME or FILE:NAME.
        map: String,
        /// Its key.
        key: String,
    },
    /// Puts a value into a queue, a stack or a bloom filter.
    Push {
        /// PIN, id:N or name:NAME.
        map: String,
        /// The value.
        value: String,
    },
    /// Takes the next value out of a queue or stack.
    Pop {
        /// PIN, id:N or name:NAME.
        map: String,
    },
    /// Prints elements as they change, or records of a ring buffer as they come (and takes them).
    Watch {
        /// PIN, id:N or name:NAME.
        map: String,
        /// Milliseconds from look to look.
        #[arg(long, value_name = "MS", default_value_t = 1000)]
        interval: u64,
        /// Stop after that many changes or records.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// `conformance`
#[derive(Args)]
pub(crate) struct Conformance {
    /// Memory that r1 points to, in hexadecimal; r2 is its length. Without it both are 0.
    #[arg(default_value = "")]
    pub(crate) memory: String,
    /// Instructions in hexadecimal, instead of those on stdin.
    #[arg(long, value_name = "HEX")]
    pub(crate) program: Option<String>,
    /// The bytes are an ELF object, not bare instructions.
    #[arg(long)]
    pub(crate) elf: bool,
    /// Where to run.
    #[arg(long, value_enum, default_value = "jit")]
    pub(crate) engine: Engine,
    /// Fuel a run may burn in loops without a proven bound.
    #[arg(long, value_name = "N")]
    pub(crate) fuel: Option<u64>,
}

/// `compile`
#[derive(Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Machine to compile for: x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu (default: this one).
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Option<String>,
    /// Use a CPU feature that not every such machine has (`has_lse`, `has_bmi2`, …). May be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) cpu_feature: Vec<String>,
    /// The object to write; the C header goes beside it, with the ending .h.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write the C header there instead.
    #[arg(long, value_name = "FILE")]
    pub(crate) header: Option<PathBuf>,
    /// Write the C runtime (beelift.c, beelift.h) into this directory as well.
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime: Option<PathBuf>,
    /// CPU slots: runs that may go on at the same time.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) cpus: u32,
    /// A helper (`bpf_…`) that your own C code defines. May be repeated.
    #[arg(long, value_name = "HELPER")]
    pub(crate) external: Vec<String>,
    /// Rules of the verifier.
    #[arg(long, value_enum, default_value = "user")]
    pub(crate) policy: Policy,
}

/// `load`
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Pin programs and maps in this directory of a BPF file system.
    #[arg(long, value_name = "DIR")]
    pub(crate) pin: Option<PathBuf>,
    /// Attach: `xdp:IFACE`, `tcx:IFACE:ingress`, `tcx:IFACE:egress`, `cgroup:PATH`.
    #[arg(long, value_name = "WHERE")]
    pub(crate) attach: Option<String>,
}
