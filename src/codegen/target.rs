//! The machine to compile for: Cranelift's `TargetIsa`, built once and shared.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use cranelift_codegen::Context;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

use super::CodegenError;

/// A machine with settings. Cheap to clone; build it once, it costs some 30 µs.
#[derive(Clone)]
pub struct Target {
    pub(crate) isa: OwnedTargetIsa,
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
        let builder = cranelift_native::builder()
            .map_err(|message| CodegenError::Target { what: message.to_owned() })?;
        let isa =
            builder.finish(flags(level)).map_err(|error| CodegenError::Target { what: error.to_string() })?;
        Ok(Self { isa, contexts: Arc::default() })
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
