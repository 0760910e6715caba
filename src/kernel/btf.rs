//! BTF in the kernel: loading an object's types, reading the kernel's own.
//!
//! In: bytes. Out: [`KernelBtf`] (a loaded object) and [`vmlinux_bytes`]. Not here: reading types
//! (`crate::btf`).
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use beelift_runtime::privilege::Capabilities;

use super::log::VerifierLog;
use super::{Errno, Hint, OsError, caps, sys};

/// BTF that the kernel has taken.
#[derive(Debug)]
pub struct KernelBtf {
    fd: OwnedFd,
}

impl KernelBtf {
    /// Loads the bytes of a `.BTF` section, fixed up as the kernel wants them.
    ///
    /// # Errors
    /// A missing capability, or the log of the kernel's check.
    pub fn load(bytes: &[u8]) -> Result<Self, OsError> {
        let errno = match sys::btf_load(bytes, &mut []) {
            Ok(fd) => return Ok(Self { fd }),
            Err(errno) => errno,
        };
        let error = OsError::new("BPF_BTF_LOAD", "", errno);
        match caps::explain(errno, caps::held().missing(Capabilities::BPF)) {
            Hint::None => {}
            hint => return Err(error.with_hint(hint)),
        }
        let mut log = vec![0; 1 << 20];
        let _ = sys::btf_load(bytes, &mut log);
        let text = sys::text(&log);
        let message = text.lines().last().unwrap_or_default().to_owned();
        let log = VerifierLog { text, at: None, insn: None, line: None, message };
        Err(OsError { log: Some(Box::new(log)), ..error })
    }

    /// Id of the object.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn id(&self) -> Result<u32, OsError> {
        let info = sys::btf_info(self.fd.as_fd());
        info.map(|info| info.id).map_err(|errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", "btf", errno))
    }

    /// Bytes of the BTF object of that id.
    ///
    /// # Errors
    /// No such object, or no permission.
    pub fn bytes_by_id(id: u32) -> Result<Vec<u8>, OsError> {
        let error = |errno| OsError::new("BPF_BTF_GET_FD_BY_ID", id.to_string(), errno);
        let fd = sys::fd_by_id(sys::ObjectKind::Btf, id).map_err(error)?;
        sys::btf_bytes(fd.as_fd()).map_err(error)
    }

    pub(super) fn raw_fd(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }
}

impl AsFd for KernelBtf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The kernel's own types.
///
/// # Errors
/// A kernel built without them.
pub fn vmlinux_bytes() -> Result<Vec<u8>, OsError> {
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    std::fs::read(PATH)
        .map_err(|error| OsError::new("read", PATH, Errno(error.raw_os_error().unwrap_or(Errno::EIO.0))))
}
