//! Why a running program stopped: one table read by generated code, stubs and `Display`.
#![forbid(unsafe_code)]

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $message:literal;)*) => {
        /// Reason of a trap. The numbers are part of the ABI of generated code; 0 means "no trap".
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum TrapKind { $($(#[$doc])* $name = $code),* }

        impl TrapKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// From the number that generated code stored.
            #[inline]
            #[must_use]
            pub fn from_code(code: u32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
            /// Number that generated code stores.
            #[must_use]
            pub const fn code(self) -> u32 { self as u32 }
        }

        impl std::fmt::Display for TrapKind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => $message),* })
            }
        }
    };
}

traps! {
    /// The fuel given to the run is used up.
    Fuel = 1, "out of fuel";
    /// More nested calls than the limit.
    CallDepth = 2, "too many nested calls";
    /// A host helper panicked; the panic message is kept with the trap.
    HelperPanic = 3, "a host helper panicked";
    /// The interpreter refused a memory access (never happens to a verified program).
    Access = 4, "invalid memory access";
    /// The program called a helper that nobody bound.
    HelperMissing = 5, "call to an unbound helper";
    /// A fact that the verifier proved does not hold (a bug; only with fact checking on).
    FactViolated = 6, "a proven fact does not hold";
    /// The interpreter reached an instruction that is not part of the program.
    InvalidInsn = 7, "control left the program";
    /// The interpreter refused a helper's argument.
    Argument = 8, "invalid helper argument";
    /// The run's time is over.
    Time = 9, "out of time";
}
