//! Objects of a runtime: handles, reference counts, ids, pinning.
#![forbid(unsafe_code)]
