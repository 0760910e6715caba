//! Error numbers that helpers return.
#![forbid(unsafe_code)]

pub(super) const ENOENT: i64 = -2;
pub(super) const E2BIG: i64 = -7;
pub(super) const ENOMEM: i64 = -12;
pub(super) const EACCES: i64 = -13;
pub(super) const EFAULT: i64 = -14;
pub(super) const EBUSY: i64 = -16;
pub(super) const ENODEV: i64 = -19;
pub(super) const EINVAL: i64 = -22;
pub(super) const ENOSPC: i64 = -28;
pub(super) const ERANGE: i64 = -34;
pub(super) const EDEADLK: i64 = -35;
pub(super) const EPROTO: i64 = -71;
pub(super) const EOPNOTSUPP: i64 = -95;
pub(super) const EAFNOSUPPORT: i64 = -97;
pub(super) const ETIMEDOUT: i64 = -110;
pub(super) const EALREADY: i64 = -114;
pub(super) const ENOTSUPP: i64 = -524;
