//! The reference engine: runs any linked program with every access checked.
#![forbid(unsafe_code)]
