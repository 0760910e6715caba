//! Error numbers that helpers return.
#![forbid(unsafe_code)]

pub(super) const ENOMEM: i64 = -12;
pub(super) const EACCES: i64 = -13;
pub(super) const EFAULT: i64 = -14;
pub(super) const EINVAL: i64 = -22;
pub(super) const ENOSPC: i64 = -28;
pub(super) const ERANGE: i64 = -34;
