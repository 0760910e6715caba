//! The machine to compile for: Cranelift's `TargetIsa`, built once and shared.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use cranelift_codegen::Context;
use cranelift_codegen::isa::{self, LookupError, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use target_lexicon::{Architecture, OperatingSystem, Triple};

use super::CodegenError;

/// A machine with settings. Cheap to clone; build it once, it costs some 30 µs.
#[derive(Clone)]
pub struct Target {
    pub(crate) isa: OwnedTargetIsa,
    /// Whether helpers, maps and stubs lie near the code, as in one executable.
    pub(super) near: bool,
    /// Cranelift's work space, reused: building it anew costs more than compiling a small program.
    contexts: Arc<Mutex<Vec<Context>>>,
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
        let mut builder = cranelift_native::builder()
            .map_err(|message| CodegenError::Target { what: message.to_owned() })?;
        guard_branches(&mut builder);
        let isa =
            builder.finish(flags(level)).map_err(|error| CodegenError::Target { what: error.to_string() })?;
        Ok(Self { isa, near: false, contexts: Arc::default() })
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
        let mut builder = isa::lookup(triple).map_err(|error| match error {
            LookupError::SupportDisabled => {
                unknown(format!("`{name}` is left out of this build (feature `all-targets`)"))
            }
            LookupError::Unsupported => unknown(format!("`{name}`")),
        })?;
        guard_branches(&mut builder);
        for &feature in features {
            let plain = feature.starts_with("has_") || feature.starts_with("sign_");
            if !plain || builder.enable(feature).is_err() {
                let known: Vec<&str> = builder
                    .iter()
                    .map(|setting| setting.name)
                    .filter(|name| name.starts_with("has_"))
                    .collect();
                let known = known.join(", ");
                return Err(unknown(format!("no CPU feature `{feature}` there; known are {known}")));
            }
        }
        let isa = builder
            .finish(flags(OptLevel::Speed))
            .map_err(|error| CodegenError::Target { what: error.to_string() })?;
        Ok(Self { isa, near: true, contexts: Arc::default() })
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

/// Marks where indirect branches may land (aarch64 BTI); older machines take the marks for no-ops.
fn guard_branches(builder: &mut isa::Builder) {
    if matches!(builder.triple().architecture, Architecture::Aarch64(_)) {
        builder.enable("use_bti").expect("a setting of the pinned Cranelift version");
    }
}

fn flags(level: OptLevel) -> settings::Flags {
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
    // Required by `return_call` on x86-64, and what profilers walk.
    set("preserve_frame_pointers", "true");
    // +75% compile time; a wrong program of ours shows in tests.
    set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    set("is_pic", "false");
    set("unwind_info", "false");
    set("enable_probestack", "false");
    settings::Flags::new(flags)
}
