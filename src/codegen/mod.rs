//! IR to Cranelift IR to inert machine code.
#![forbid(unsafe_code)]
