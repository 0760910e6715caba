//! The public API: engines, loading, running, fallback policy.
//!
//! In: objects or linked programs. Out: a [`Collection`] of [`Loaded`] programs and [`MapHandle`]s. The engine does
//! the steps from object to native code for the user and decides which backend runs a program; nothing else
//! in the crate does more than one of them.
#![forbid(unsafe_code)]

mod collection;
pub mod compare;
mod error;
mod fill;
mod maps;
mod program;
mod record;
mod tail;
mod timers;
mod typed;
mod user_maps;
pub mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use beelift_runtime::environment::{Environment, HostEnvironment};
use beelift_runtime::object::Objects;

pub use collection::{Collection, LoadTimes};
pub use error::Error;
pub use fill::{Content, Fill};
pub use maps::{Contents, Element, MapHandle};
pub use program::{Backend, Loaded, Runner};
pub use record::{Input, Record, has_context};
pub use typed::TypedMap;

use crate::link::{HostInterface, LinkOptions};
use crate::verify;

/// Which backend should run programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Choice {
    /// Native code in user space; the kernel for objects that need what user space does not have.
    #[default]
    Auto,
    /// Native code in user space, or an error.
    Jit,
    /// The checked interpreter, or an error.
    Interpreter,
    /// The running kernel, or an error.
    Kernel,
}

/// Shared configuration of programs: backend, verifier policy, code memory, what helpers see of the world.
///
/// ```
/// use beelift::{Engine, Object, Packet, XdpContext};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/firewall.bpf.o");
/// let engine = Engine::new()?;
/// let mut object = Object::parse(&std::fs::read(path)?)?;
/// object.set_global("trap_port", &2323_u16.to_le_bytes())?;
/// let loaded = engine.load(&object)?;
/// let mut packet = Packet::new(1514)?;
/// packet.set(&[0; 64])?;
/// let action = loaded.program("firewall")?.run(&mut XdpContext::new(&mut packet))?;
/// assert_eq!(action, 2); // XDP_PASS: not an IP packet
/// let counters = loaded.map("counters")?.typed::<u32, [u64; 2]>()?;
/// assert_eq!(counters.per_cpu(&1)?.iter().map(|counter| counter[0]).sum::<u64>(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all programs of an engine share.
pub(crate) struct Shared {
    pub(crate) choice: Choice,
    pub(crate) verify: verify::Options,
    pub(crate) cache: Option<verify::Cache>,
    pub(crate) link: LinkOptions,
    pub(crate) environment: Arc<dyn Environment>,
    /// Whether that is the machine itself, so that native code may ask it directly.
    #[cfg_attr(not(feature = "jit"), expect(dead_code, reason = "only native code asks directly"))]
    pub(crate) asks_host: bool,
    pub(crate) fuel: u64,
    /// Fixes the clock, the random numbers and the CPU number also in the kernel's copy of programs.
    pub(crate) deterministic: bool,
    #[cfg_attr(not(feature = "jit"), expect(dead_code, reason = "only native code checks facts"))]
    pub(crate) check_facts: bool,
    /// Programs are not verified: the interpreter checks what they do.
    pub(crate) unverified: bool,
    #[cfg(feature = "jit")]
    pub(crate) target: crate::codegen::Target,
    #[cfg(feature = "jit")]
    pub(crate) code: crate::exec::CodeMemory,
    pub(crate) cpus: beelift_runtime::cpu::CpuSlots,
    /// Number of the last program loaded: what a `prog_array` shows of it.
    pub(crate) programs: AtomicU32,
    /// The maps in user space by number.
    pub(crate) objects: Objects,
    /// Where maps are that ask to be pinned by name.
    pub(crate) pin_directory: Option<PathBuf>,
}

impl Engine {
    /// An engine with the defaults of [`EngineBuilder`].
    ///
    /// # Errors
    /// This machine has no code generator.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Settings to change.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// The maps in user space of this engine's collections, by number.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.shared.objects
    }

    /// Proofs that are kept, if any are ([`EngineBuilder::cache_verdicts`]).
    #[must_use]
    pub fn verdicts(&self) -> Option<&verify::Cache> {
        self.shared.cache.as_ref()
    }

    /// Bytes of native code that live programs of this engine occupy.
    #[cfg(feature = "jit")]
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.shared.code.used_bytes()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("choice", &self.shared.choice).finish_non_exhaustive()
    }
}

/// Settings of an [`Engine`].
pub struct EngineBuilder {
    choice: Choice,
    verify: verify::Options,
    cache: usize,
    link: LinkOptions,
    host: Option<HostInterface>,
    environment: Option<Arc<dyn Environment>>,
    fuel: u64,
    deterministic: bool,
    check_facts: bool,
    unverified: bool,
    pin_directory: Option<PathBuf>,
}

impl Default for EngineBuilder {
    /// Backend by [`Choice::Auto`], policy `user`, the host's clock and random numbers, fuel without end.
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            verify: verify::Options::default(),
            cache: 0,
            link: LinkOptions::default(),
            host: None,
            environment: None,
            fuel: u64::MAX,
            deterministic: false,
            check_facts: false,
            unverified: false,
            pin_directory: None,
        }
    }
}

impl EngineBuilder {
    /// Which backend runs programs.
    #[must_use]
    pub fn backend(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }
    /// Rules and limits of the verifier.
    #[must_use]
    pub fn verify(mut self, options: verify::Options) -> Self {
        self.verify = options;
        self
    }
    /// Keeps proofs of so many programs and global functions: what is loaded again with the same content is not proven
    /// again. Without it none are kept.
    #[must_use]
    pub fn cache_verdicts(mut self, entries: usize) -> Self {
        self.cache = entries;
        self
    }
    /// What to relocate against, and other options of linking.
    #[must_use]
    pub fn link(mut self, options: LinkOptions) -> Self {
        self.link = options;
        self
    }
    /// Helpers and a program type of the embedder's own, for all programs that are linked here.
    #[must_use]
    pub fn host(mut self, host: HostInterface) -> Self {
        self.host = Some(host);
        self
    }
    /// Clock, random numbers and the like.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = Some(environment);
        self
    }
    /// Fuel of one run: loops without a proven bound burn it.
    #[must_use]
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self
    }
    /// Runs give the same result in every backend: CPU slot 0, and in the kernel's copy of a program constants in
    /// place of clock, random numbers and CPU number. Use it with a fixed environment.
    #[must_use]
    pub fn deterministic(mut self, deterministic: bool) -> Self {
        self.deterministic = deterministic;
        self
    }
    /// Native code asserts at run time what the verifier proved, and traps when it does not hold.
    #[must_use]
    pub fn check_facts(mut self, check: bool) -> Self {
        self.check_facts = check;
        self
    }
    /// Maps in user space that ask to be pinned by name (`LIBBPF_PIN_BY_NAME`) are files of this directory, which other
    /// engines and processes of this user open, too, and which outlive them. Without it they are maps like others.
    #[must_use]
    pub fn pin_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.pin_directory = Some(directory.into());
        self
    }
    /// Runs programs that no verifier has seen: only for [`Choice::Interpreter`], which checks every access, and then
    /// the rules of [`interp::Monitor`](crate::interp::Monitor) as well. A broken rule is a trap.
    #[must_use]
    pub fn unverified(mut self, unverified: bool) -> Self {
        self.unverified = unverified;
        self
    }
    /// The engine.
    ///
    /// # Errors
    /// This machine has no code generator; a backend that runs no unverified programs.
    pub fn build(self) -> Result<Engine, Error> {
        if self.unverified && self.choice != Choice::Interpreter {
            return Err(Error::Unverified);
        }
        let asks_host = self.environment.is_none();
        let mut link = self.link;
        if let Some(host) = self.host {
            link.host = host;
        }
        let environment = match self.environment {
            Some(environment) => environment,
            None => Arc::new(HostEnvironment::default()),
        };
        let cpus = beelift_runtime::cpu::CpuSlots::new(beelift_runtime::cpu::possible());
        let shared = Shared {
            choice: self.choice,
            verify: verify::Options { cpus: self.verify.cpus.map(|_| cpus.count()), ..self.verify },
            cache: (self.cache > 0).then(|| verify::Cache::new(self.cache)),
            link,
            environment,
            asks_host,
            fuel: self.fuel,
            deterministic: self.deterministic,
            check_facts: self.check_facts,
            unverified: self.unverified,
            #[cfg(feature = "jit")]
            target: crate::codegen::Target::host()
                .map_err(|error| Error::Codegen { program: String::new(), error })?,
            #[cfg(feature = "jit")]
            code: crate::exec::CodeMemory::new(),
            cpus,
            programs: AtomicU32::new(0),
            objects: Objects::default(),
            pin_directory: self.pin_directory,
        };
        Ok(Engine { shared: Arc::new(shared) })
    }
}
