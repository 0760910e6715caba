//! Reasons of rejection, each with a stable code.
#![forbid(unsafe_code)]

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $({ $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })? = $code:literal, $text:literal;)*) => {
        /// What could not be proven. The code of a reason never changes; its text may.
        #[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* #[error($text)] $name $({ $($(#[$fdoc])* $field: $ty),* })?),*
        }
        impl Reason {
            /// Stable code, for scripts and documentation.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code),* }
            }
            /// All codes.
            pub const CODES: &'static [&'static str] = &[$($code),*];
        }
    };
}

reasons! {
    /// Fewer than one instruction.
    Empty = "empty_program", "the program has no instructions";
    /// An instruction that no path reaches.
    Unreachable = "unreachable_insn", "no path reaches this instruction";
    /// The last instruction of a function lets control run on.
    FallOff = "falls_off", "control runs off the end of the function";
    /// A jump leaves its function.
    JumpOutOfFunction = "jump_out_of_function", "jump leaves its function";
    /// A function calls itself, directly or not.
    Recursion = "recursion", "the call graph has a cycle";
    /// A register that was not written on this path.
    UninitialisedRegister {
        /// Register.
        reg: String,
    } = "uninitialised_register", "{reg} was not written on this path";
}
