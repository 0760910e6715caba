//! Whose types answer: [`CoreTarget`].
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::btf::{Btf, builtin};

/// Types of the running kernel, read when first needed and then kept.
#[derive(Debug)]
pub struct KernelTypes {
    path: PathBuf,
    types: OnceLock<Option<Arc<Btf>>>,
}

impl KernelTypes {
    /// Those of `/sys/kernel/btf/vmlinux`.
    #[must_use]
    pub fn new() -> Self {
        Self::at("/sys/kernel/btf/vmlinux")
    }
    /// Those of another file.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), types: OnceLock::new() }
    }
    /// Where they are read from.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
    /// The types; none when they cannot be read.
    #[must_use]
    pub fn get(&self) -> Option<&Arc<Btf>> {
        self.types.get_or_init(|| Btf::read(&self.path).ok().map(Arc::new)).as_ref()
    }
}

impl Default for KernelTypes {
    fn default() -> Self {
        Self::new()
    }
}

/// Types that CO-RE relocations are answered from.
#[derive(Clone, Debug)]
pub enum CoreTarget {
    /// The context types that every kernel has.
    Builtin,
    /// The object's own types: what the compiler saw.
    Own,
    /// The running kernel's.
    Kernel(Arc<KernelTypes>),
    /// Given ones, with a name for messages.
    Types(Arc<Btf>, String),
}

impl CoreTarget {
    /// The running kernel's types. Clones share what was read.
    #[must_use]
    pub fn kernel() -> Self {
        Self::Kernel(Arc::new(KernelTypes::new()))
    }
    /// Whose types these are.
    #[must_use]
    pub fn source(&self) -> CoreSource {
        match self {
            Self::Builtin => CoreSource::Builtin,
            Self::Own => CoreSource::Own,
            Self::Kernel(_) => CoreSource::Kernel,
            Self::Types(_, name) => CoreSource::Named(name.clone()),
        }
    }
    /// The types; none when they cannot be read.
    pub(super) fn types(&self, local: &Arc<Btf>) -> Option<Arc<Btf>> {
        match self {
            Self::Builtin => Some(builtin()),
            Self::Own => Some(Arc::clone(local)),
            Self::Kernel(kernel) => kernel.get().cloned(),
            Self::Types(types, _) => Some(Arc::clone(types)),
        }
    }
}

/// Whose types answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CoreSource {
    /// The built-in ones.
    Builtin,
    /// The object's own.
    Own,
    /// The running kernel's.
    Kernel,
    /// Given ones.
    Named(String),
}

impl std::fmt::Display for CoreSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin => f.write_str("built-in"),
            Self::Own => f.write_str("object"),
            Self::Kernel => f.write_str("kernel"),
            Self::Named(name) => f.write_str(name),
        }
    }
}
