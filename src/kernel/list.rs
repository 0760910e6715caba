//! What is loaded in the kernel: objects by id.
//!
//! In: ids. Out: information and handles. Needs CAP_SYS_ADMIN. Objects come and go while we list: one that is
//! gone when we open it is left out.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use beelift_runtime::privilege::Capabilities;

use super::link::{KernelLink, LinkInfo};
use super::map::{KernelMap, MapInfo};
use super::prog::{KernelProgram, ProgramInfo};
use super::sys::{self, ObjectKind};
use super::{Errno, OsError, caps};

/// All maps in the kernel.
///
/// # Errors
/// CAP_SYS_ADMIN missing.
pub fn maps() -> Result<Vec<MapInfo>, OsError> {
    let fds = all(ObjectKind::Map)?;
    Ok(fds
        .iter()
        .filter_map(|fd| sys::map_info(fd.as_fd()).ok())
        .map(|info| MapInfo::from_kernel(&info))
        .collect())
}

/// All programs in the kernel.
///
/// # Errors
/// CAP_SYS_ADMIN missing.
pub fn programs() -> Result<Vec<ProgramInfo>, OsError> {
    let fds = all(ObjectKind::Program)?;
    let read = |fd: &OwnedFd| {
        let info = sys::prog_info(fd.as_fd()).ok()?;
        Some(ProgramInfo::from_kernel(&info, sys::prog_map_ids(fd.as_fd()).ok()?))
    };
    Ok(fds.iter().filter_map(read).collect())
}

/// All links in the kernel.
///
/// # Errors
/// CAP_SYS_ADMIN missing.
pub fn links() -> Result<Vec<LinkInfo>, OsError> {
    let fds = all(ObjectKind::Link)?;
    Ok(fds.into_iter().filter_map(|fd| KernelLink::new(fd).info().ok()).collect())
}

impl KernelMap {
    /// Opens the map of that id.
    ///
    /// # Errors
    /// No such map; CAP_SYS_ADMIN missing.
    pub fn open_id(id: u32) -> Result<Self, OsError> {
        Self::from_fd(open(ObjectKind::Map, "BPF_MAP_GET_FD_BY_ID", id)?)
    }
}

impl KernelProgram {
    /// Opens the program of that id.
    ///
    /// # Errors
    /// No such program; CAP_SYS_ADMIN missing.
    pub fn open_id(id: u32) -> Result<Self, OsError> {
        Self::from_fd(open(ObjectKind::Program, "BPF_PROG_GET_FD_BY_ID", id)?)
    }
}

fn open(kind: ObjectKind, op: &'static str, id: u32) -> Result<OwnedFd, OsError> {
    sys::fd_by_id(kind, id).map_err(|errno| error(op, format!("id {id}"), errno))
}

fn all(kind: ObjectKind) -> Result<Vec<OwnedFd>, OsError> {
    let (next, by_id) = match kind {
        ObjectKind::Program => ("BPF_PROG_GET_NEXT_ID", "BPF_PROG_GET_FD_BY_ID"),
        ObjectKind::Map => ("BPF_MAP_GET_NEXT_ID", "BPF_MAP_GET_FD_BY_ID"),
        ObjectKind::Btf => ("BPF_BTF_GET_NEXT_ID", "BPF_BTF_GET_FD_BY_ID"),
        ObjectKind::Link => ("BPF_LINK_GET_NEXT_ID", "BPF_LINK_GET_FD_BY_ID"),
    };
    let (mut fds, mut id) = (Vec::new(), 0);
    loop {
        id = match sys::next_id(kind, id) {
            Ok(id) => id,
            Err(Errno::ENOENT) => return Ok(fds),
            Err(errno) => return Err(error(next, String::new(), errno)),
        };
        match sys::fd_by_id(kind, id) {
            Ok(fd) => fds.push(fd),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(error(by_id, format!("id {id}"), errno)),
        }
    }
}

fn error(op: &'static str, object: String, errno: Errno) -> OsError {
    let missing = caps::held().missing(Capabilities::SYS_ADMIN);
    OsError::new(op, object, errno).with_hint(caps::explain(errno, missing))
}
