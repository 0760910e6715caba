//! ELF object files as pure data: same bytes, same `Object`, on any machine.
#![forbid(unsafe_code)]
