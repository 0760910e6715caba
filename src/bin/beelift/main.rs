//! The command-line tool: verbs as thin shells over the library.
fn main() {}
