//! What an embedder adds to the kernel's interface: helpers and a program type.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::ctx::{ContextLayout, HostType, ProgramType, ReturnRange};
use beelift_runtime::helper::{self, Helper, HelperTable};

use super::Program;

/// What an embedder adds to the kernel's interface.
#[derive(Clone, Debug, Default)]
pub struct HostInterface {
    /// Helpers beside the kernel's.
    pub helpers: Arc<HelperTable>,
    /// The context of programs of type [`ProgramType::Host`].
    pub host_type: Option<HostType>,
}

impl HostInterface {
    /// Whether both are known to add the same: nothing, or what one table holds.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let helpers = Arc::ptr_eq(&self.helpers, &other.helpers)
            || (self.helpers.is_empty() && other.helpers.is_empty());
        helpers && self.host_type == other.host_type
    }
    /// Helpers only, for programs of the kernel's types.
    #[must_use]
    pub fn with_helpers(helpers: HelperTable) -> Self {
        Self { helpers: Arc::new(helpers), host_type: None }
    }
}

impl Program {
    /// The same program with what a host adds; of type [`ProgramType::Host`] if that has a context.
    #[must_use]
    pub fn for_host(mut self, host: HostInterface) -> Self {
        if let Some(host_type) = host.host_type {
            (self.prog_type, self.attach_type) = (ProgramType::Host, host_type.attach_type());
        }
        self.host = host;
        self
    }

    /// The helper of that number: the kernel's or the host's.
    #[must_use]
    pub fn helper(&self, number: u32) -> Option<&Helper> {
        match helper::by_id(number) {
            Some(found) => Some(found),
            None => self.host.helpers.by_id(number),
        }
    }

    /// How the program sees its context.
    #[must_use]
    pub fn layout(&self) -> ContextLayout {
        match self.host.host_type {
            Some(host_type) if self.prog_type == ProgramType::Host => host_type.layout(),
            Some(_) | None => self.prog_type.layout(self.attach_type),
        }
    }

    /// What r0 may be at exit.
    #[must_use]
    pub fn return_range(&self) -> ReturnRange {
        match self.host.host_type {
            Some(host_type) if self.prog_type == ProgramType::Host => host_type.return_range(),
            Some(_) | None => self.prog_type.return_range(self.attach_type),
        }
    }
}
