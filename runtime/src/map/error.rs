//! Errors of map operations and of map creation, with the kernel's error numbers.
#![forbid(unsafe_code)]

use super::MapKind;

/// Why a map operation failed; [`MapError::errno`] is what the kernel returns for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// ENOENT
    #[error("no such element")]
    NotFound,
    /// EEXIST
    #[error("element exists")]
    Exists,
    /// E2BIG
    #[error("map is full, or the index is past its end")]
    TooBig,
    /// EINVAL
    #[error("operation or argument is invalid for this map type")]
    Invalid,
    /// ENOMEM
    #[error("out of memory")]
    NoMemory,
    /// ENOSPC
    #[error("no space left in the map")]
    NoSpace,
    /// EPERM
    #[error("map is frozen or access is not allowed")]
    Permission,
    /// ENOTSUPP (524)
    #[error("operation is not supported by this map type")]
    NotSupported,
    /// EOPNOTSUPP
    #[error("operation is not supported")]
    OpNotSupported,
    /// EBUSY
    #[error("map is busy")]
    Busy,
    /// EAGAIN
    #[error("try again")]
    Again,
    /// EBADF
    #[error("no such descriptor")]
    BadDescriptor,
    /// Any other, by number.
    #[error("errno {0}")]
    Other(i32),
}

impl MapError {
    /// The kernel's positive error number.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::NotFound => 2,
            Self::Exists => 17,
            Self::TooBig => 7,
            Self::Invalid => 22,
            Self::NoMemory => 12,
            Self::NoSpace => 28,
            Self::Permission => 1,
            Self::NotSupported => 524,
            Self::OpNotSupported => 95,
            Self::Busy => 16,
            Self::Again => 11,
            Self::BadDescriptor => 9,
            Self::Other(errno) => errno,
        }
    }
}

/// Why a map could not be created; [`CreateError::errno`] is what the kernel returns for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The definition breaks a rule of its map type.
    #[error("{kind} map: {rule}")]
    Invalid {
        /// Type of the map.
        kind: MapKind,
        /// The rule.
        rule: &'static str,
        /// EINVAL, E2BIG, ENOTSUPP …
        errno: i32,
    },
    /// The system has no memory for it.
    #[error("{kind} map: no memory for {bytes} bytes")]
    NoMemory {
        /// Type of the map.
        kind: MapKind,
        /// Bytes asked for (`u64::MAX`: more than can be counted).
        bytes: u64,
    },
    /// User space has no map of this type.
    #[error("{kind} map: not supported in user space")]
    Unsupported {
        /// Type of the map.
        kind: MapKind,
    },
}

impl CreateError {
    /// The kernel's positive error number.
    #[must_use]
    pub const fn errno(self) -> i32 {
        match self {
            Self::Invalid { errno, .. } => errno,
            Self::NoMemory { .. } => 12,
            Self::Unsupported { .. } => 524,
        }
    }
}
