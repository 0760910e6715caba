//! The machine to compile for: Cranelift's `TargetIsa`, built once and shared.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cranelift_codegen::Context;
use cranelift_codegen::isa::{self, LookupError, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Architecture, OperatingSystem, Triple};

use super::CodegenError;
use super::code::Convention;

/// A machine with settings. Cheap to clone; build it once, it costs some 30 µs.
#[derive(Clone)]
pub struct Target {
    pub(crate) isa: OwnedTargetIsa,
    machine: Arc<Machine>,
    /// The same machine for functions that `isa` would take too long for: with more than [`FEW`] and [`MANY`] blocks.
    larger: Arc<[OnceLock<OwnedTargetIsa>; 2]>,
    /// Whether helpers, maps and stubs lie near the code, as in one executable.
    pub(super) near: bool,
    /// Whether helpers and stubs are called as if they were near: the linker sees to it.
    pub(super) near_calls: bool,
    /// Whether a 32-bit compare-and-exchange compares all 64 bits of the register that holds the expected value: Cranelift's
    /// loop for aarch64 without the atomic instructions (LSE) does.
    pub(super) compares_whole: bool,
    /// How programs are entered that may leave early.
    pub(super) convention: Convention,
    /// Cranelift's work space, reused: building it anew costs more than compiling a small program.
    contexts: Arc<Mutex<Vec<Context>>>,
}

/// Up to so many basic blocks a function is optimised. Beyond, Cranelift's optimiser makes long chains of branches slow
/// to allocate registers for: 2,700 blocks took eight times as long as without it, and ran no faster.
const FEW: usize = 2_000;
/// Up to so many blocks registers are allocated well. That takes more than linear time in the number of blocks (5,300
/// in a chain take twenty times as long as 1,300); the allocator in one pass is linear, and its code two to
/// three times as slow.
const MANY: usize = 4_000;

/// Which machine to compile for, by name.
enum Machine {
    Host,
    Named { triple: Triple, features: Vec<String> },
}

/// How much work Cranelift puts into the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OptLevel {
    /// Compile fast.
    None,
    /// Run fast.
    #[default]
    Speed,
}

impl Target {
    /// This machine, with all its features, at [`OptLevel::Speed`].
    ///
    /// # Errors
    /// Cranelift does not support the machine.
    pub fn host() -> Result<Self, CodegenError> {
        Self::host_with(OptLevel::Speed)
    }

    /// This machine at some level.
    ///
    /// # Errors
    /// Cranelift does not support the machine.
    pub fn host_with(level: OptLevel) -> Result<Self, CodegenError> {
        Self::new(Machine::Host, flags(level), false)
    }

    /// A machine by its triple (`aarch64-unknown-linux-gnu`, `x86_64-unknown-linux-gnu`), for code that is linked into
    /// an executable. Only what every such machine has is used, and the features named (`has_lse`, …).
    ///
    /// # Errors
    /// A triple or a feature we have no code for, or one that this build leaves out.
    pub fn for_triple(name: &str, features: &[&str]) -> Result<Self, CodegenError> {
        let unknown = |what: String| CodegenError::Target { what };
        let triple: Triple = name.parse().map_err(|error| unknown(format!("`{name}`: {error}")))?;
        let known = matches!(triple.architecture, Architecture::Aarch64(_) | Architecture::X86_64)
            && triple.operating_system == OperatingSystem::Linux;
        if !known {
            let known = "x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu";
            return Err(unknown(format!("`{name}` is not one of {known}")));
        }
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        Self::new(Machine::Named { triple, features }, flags(OptLevel::Speed), true)
    }

    fn new(machine: Machine, flags: settings::Flags, near: bool) -> Result<Self, CodegenError> {
        let isa = machine.isa(flags)?;
        let aarch64 = matches!(isa.triple().architecture, Architecture::Aarch64(_));
        let lse = isa.isa_flags().iter().any(|flag| flag.name == "has_lse" && flag.as_bool() == Some(true));
        let (machine, larger) = (Arc::new(machine), Arc::default());
        let contexts = Arc::default();
        // Code that is linked into an executable is called by C.
        let convention = if near || aarch64 { Convention::Platform } else { Convention::Bare };
        let near_calls = near || !aarch64;
        let compares_whole = aarch64 && !lse;
        Ok(Self { isa, machine, larger, near, near_calls, compares_whole, convention, contexts })
    }

    /// What a function of so many basic blocks is compiled with.
    pub(super) fn isa_for(&self, blocks: usize) -> Result<&OwnedTargetIsa, CodegenError> {
        if blocks <= FEW {
            return Ok(&self.isa);
        }
        let (place, allocator) =
            if blocks <= MANY { (&self.larger[0], "backtracking") } else { (&self.larger[1], "single_pass") };
        if let Some(isa) = place.get() {
            return Ok(isa);
        }
        let isa = self.machine.isa(flags_with(OptLevel::None, allocator))?;
        Ok(place.get_or_init(|| isa))
    }

    /// Whether the target is an aarch64 machine.
    #[must_use]
    pub fn is_aarch64(&self) -> bool {
        matches!(self.isa.triple().architecture, Architecture::Aarch64(_))
    }

    pub(super) fn take_context(&self) -> Context {
        let spare = self.contexts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(Context::new)
    }

    pub(super) fn put_context(&self, context: Context) {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner).push(context);
    }

    /// The target triple.
    #[must_use]
    pub fn triple(&self) -> String {
        self.isa.triple().to_string()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({})", self.triple())
    }
}

impl Machine {
    fn isa(&self, flags: settings::Flags) -> Result<OwnedTargetIsa, CodegenError> {
        let unknown = |what: String| CodegenError::Target { what };
        let mut builder = match self {
            Self::Host => cranelift_native::builder().map_err(|message| unknown(message.to_owned()))?,
            Self::Named { triple, .. } => isa::lookup(triple.clone()).map_err(|error| match error {
                LookupError::SupportDisabled => {
                    unknown(format!("`{triple}` is left out of this build (feature `all-targets`)"))
                }
                LookupError::Unsupported => unknown(format!("`{triple}`")),
            })?,
        };
        guard_branches(&mut builder);
        if let Self::Named { features, .. } = self {
            for feature in features {
                enable(&mut builder, feature)?;
            }
        }
        builder.finish(flags).map_err(|error| unknown(error.to_string()))
    }
}

/// Lets code use a feature of the CPU.
fn enable(builder: &mut isa::Builder, feature: &str) -> Result<(), CodegenError> {
    let plain = feature.starts_with("has_") || feature.starts_with("sign_");
    if plain && builder.enable(feature).is_ok() {
        return Ok(());
    }
    let known: Vec<&str> =
        builder.iter().map(|setting| setting.name).filter(|name| name.starts_with("has_")).collect();
    let known = known.join(", ");
    Err(CodegenError::Target { what: format!("no CPU feature `{feature}` there; known are {known}") })
}

/// Marks where indirect branches may land (aarch64 BTI); older machines take the marks for no-ops.
fn guard_branches(builder: &mut isa::Builder) {
    if matches!(builder.triple().architecture, Architecture::Aarch64(_)) {
        builder.enable("use_bti").expect("a setting of the pinned Cranelift version");
    }
}

fn flags(level: OptLevel) -> settings::Flags {
    flags_with(level, "backtracking")
}

fn flags_with(level: OptLevel, allocator: &str) -> settings::Flags {
    let mut flags = settings::builder();
    let mut set = |name: &str, value: &str| {
        flags.set(name, value).expect("a setting of the pinned Cranelift version");
    };
    set(
        "opt_level",
        match level {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
        },
    );
    set("regalloc_algorithm", allocator);
    // Required by `return_call` on x86-64, and what profilers walk.
    set("preserve_frame_pointers", "true");
    // +75% compile time; a wrong program of ours shows in tests.
    set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    set("is_pic", "false");
    set("unwind_info", "false");
    set("enable_probestack", "false");
    settings::Flags::new(flags)
}
