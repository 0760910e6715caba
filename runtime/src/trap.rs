//! Why a running program stopped: one table read by generated code, stubs and `Display`.
#![forbid(unsafe_code)]

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $tag:literal, $message:literal;)*) => {
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
            /// Stable name, for scripts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $tag),* }
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
    Fuel = 1, "fuel", "out of fuel";
    /// More nested calls than the limit.
    CallDepth = 2, "call_depth", "too many nested calls";
    /// A host helper panicked; the panic message is kept with the trap.
    HelperPanic = 3, "helper_panic", "a host helper panicked";
    /// The interpreter refused a memory access (never happens to a verified program).
    Access = 4, "access", "invalid memory access";
    /// The program called a helper that nobody bound.
    HelperMissing = 5, "helper_missing", "call to an unbound helper";
    /// A fact that the verifier proved does not hold (a bug; only with fact checking on).
    FactViolated = 6, "fact_violated", "a proven fact does not hold";
    /// The interpreter reached an instruction that is not part of the program.
    InvalidInsn = 7, "invalid_insn", "control left the program";
    /// The interpreter refused a helper's argument.
    Argument = 8, "argument", "invalid helper argument";
    /// The run's time is over.
    Time = 9, "time", "out of time";
    /// The interpreter stopped a program without a proof: it reads what it never wrote.
    Uninitialised = 10, "uninitialised", "a register is read before anything was written to it";
    /// Likewise: the program type does not allow this result.
    ReturnValue = 11, "return_value", "the return value is out of range";
    /// Likewise: what was taken was not given back.
    Unreleased = 12, "unreleased", "the program ends while it holds a reference";
    /// Likewise: the stack is accessed in naturally aligned words only.
    Misaligned = 13, "misaligned", "misaligned stack access";
}
