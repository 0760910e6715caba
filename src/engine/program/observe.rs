//! Runs of a loaded program on the interpreter under the eyes of an observer.
#![forbid(unsafe_code)]

use beelift_runtime::ctx::Context;
use beelift_runtime::helper::Effects;

use super::{Body, Loaded};
use crate::engine::Error;
use crate::engine::record::{Action, Input, on_input};
use crate::interp::{Observer, handle_address};
use crate::link::Trap;

impl Loaded {
    /// Addresses of the handles of its maps, by slot: what map registers hold. None outside of the interpreter.
    pub(in crate::engine) fn handle_addresses(&self) -> Vec<u64> {
        match &*self.body {
            Body::Interp(interp) => interp.maps().iter().map(|handle| handle_address(handle)).collect(),
            #[cfg(feature = "jit")]
            Body::Jit(_) => Vec::new(),
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => Vec::new(),
        }
    }

    /// One run on the interpreter, watched.
    pub(in crate::engine) fn observe(
        &self,
        input: &Input,
        observer: &mut dyn Observer,
    ) -> Result<Result<u64, Trap>, Error> {
        let mut watched = Watched { program: self, observer, context: &input.context };
        match on_input(self.types.0, input, &mut watched) {
            Ok(value) => Ok(Ok(value)),
            Err(Error::Trap(trap)) => Ok(Err(*trap)),
            Err(error) => Err(error),
        }
    }
}

struct Watched<'a> {
    program: &'a Loaded,
    observer: &'a mut dyn Observer,
    context: &'a [u8],
}

impl Action for Watched<'_> {
    type Result = u64;
    fn on<C: Context>(&mut self, context: &mut C) -> Result<u64, Error> {
        if !self.context.is_empty() {
            context.set_uapi(self.context);
        }
        match &*self.program.body {
            Body::Interp(interp) => {
                let effects = Effects::default();
                self.program.interpret_observed(interp, 0, context, &effects, self.observer)
            }
            #[cfg(feature = "jit")]
            Body::Jit(_) => Err(Error::Unverified),
            #[cfg(feature = "kernel")]
            Body::Kernel(_) => Err(Error::Unverified),
        }
    }
}
