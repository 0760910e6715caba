//! Capability rules of loading programs and creating maps, as a table.
#![forbid(unsafe_code)]
