//! BTF: types of an object or of the kernel, CO-RE relocation, source lines.
#![forbid(unsafe_code)]

/// A set of BTF types.
#[derive(Debug)]
pub struct Btf {}
