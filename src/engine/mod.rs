//! The public API: engines, loading, fallback policy.
#![forbid(unsafe_code)]
