//! Pins: names of kernel objects in a BPF file system, by which they outlive this process.
//!
//! In: paths. Out: pins, and handles of what is pinned ([`Pinned`]). `/sys/fs/bpf` is mounted when it is not
//! and we may. Not here: pins of user-space maps (`beelift_runtime::object`).
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::MountFlags;

use super::link::KernelLink;
use super::map::KernelMap;
use super::prog::KernelProgram;
use super::{Errno, Hint, OsError, sys};

/// Where the BPF file system is by convention.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Magic number of a BPF file system in `statfs(2)`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Something pinned.
#[derive(Debug)]
pub enum Pinned {
    /// A map.
    Map(KernelMap),
    /// A program.
    Program(KernelProgram),
    /// An attachment.
    Link(KernelLink),
}

/// Mounts `/sys/fs/bpf` if nothing of the kind is there.
///
/// # Errors
/// When it is not there and may not be mounted.
pub fn ensure_bpffs() -> Result<(), OsError> {
    if is_bpffs(Path::new(BPFFS)) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("bpf", BPFFS, "bpf", flags, c"mode=0700")
        .map_err(|errno| OsError::new("mount", BPFFS, Errno(errno.raw_os_error())).with_hint(Hint::NotBpffs))
}

/// Whether a path lies in a BPF file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    // The kernel's field is signed or not, long or int, by architecture: only its low 32 bits count.
    rustix::fs::statfs(path).is_ok_and(|fs| (fs.f_type as u64) & 0xffff_ffff == BPF_FS_MAGIC)
}

/// Opens whatever is pinned at a path.
///
/// # Errors
/// Nothing there, not a BPF file system, not allowed.
pub fn open_pinned(path: &Path) -> Result<Pinned, OsError> {
    let fd = sys::obj_get(&c_path(path)?).map_err(|errno| error("BPF_OBJ_GET", path, errno))?;
    match kind(fd.as_fd()).as_deref() {
        Some("bpf-map") => KernelMap::from_fd(fd).map(Pinned::Map),
        Some("bpf-prog") => KernelProgram::from_fd(fd).map(Pinned::Program),
        Some("bpf_link" | "bpf-link") => Ok(Pinned::Link(KernelLink::new(fd))),
        _ => Err(error("BPF_OBJ_GET", path, Errno::EINVAL).with_hint(Hint::Unsupported("this kind of pin"))),
    }
}

/// Removes a pin. What was pinned lives on while something else holds it.
///
/// # Errors
/// Nothing there, or not a pin: other files are left alone.
pub fn unpin(path: &Path) -> Result<(), OsError> {
    if !is_bpffs(path) {
        let missing = !path.exists();
        let errno = if missing { Errno::ENOENT } else { Errno::EINVAL };
        let hint = if missing { Hint::None } else { Hint::NotBpffs };
        return Err(error("unlink", path, errno).with_hint(hint));
    }
    std::fs::remove_file(path)
        .map_err(|failure| error("unlink", path, Errno(failure.raw_os_error().unwrap_or(Errno::EIO.0))))
}

impl KernelMap {
    /// Pins the map. Missing directories below the BPF file system are made.
    ///
    /// # Errors
    /// Something there already, not a BPF file system, not allowed.
    pub fn pin(&self, path: &Path) -> Result<(), OsError> {
        pin(self.as_fd(), path)
    }
    /// Opens a pinned map.
    ///
    /// # Errors
    /// Nothing there, or no map.
    pub fn open_pinned(path: &Path) -> Result<Self, OsError> {
        match open_pinned(path)? {
            Pinned::Map(map) => Ok(map),
            Pinned::Program(_) | Pinned::Link(_) => Err(wrong_kind(path, "a pin that is no map")),
        }
    }
}

impl KernelProgram {
    /// Pins the program. Missing directories below the BPF file system are made.
    ///
    /// # Errors
    /// Something there already, not a BPF file system, not allowed.
    pub fn pin(&self, path: &Path) -> Result<(), OsError> {
        pin(self.as_fd(), path)
    }
    /// Opens a pinned program.
    ///
    /// # Errors
    /// Nothing there, or no program.
    pub fn open_pinned(path: &Path) -> Result<Self, OsError> {
        match open_pinned(path)? {
            Pinned::Program(program) => Ok(program),
            Pinned::Map(_) | Pinned::Link(_) => Err(wrong_kind(path, "a pin that is no program")),
        }
    }
}

impl KernelLink {
    /// Pins the link: it stays attached when this handle goes.
    ///
    /// # Errors
    /// Something there already, not a BPF file system, not allowed.
    pub fn pin(&self, path: &Path) -> Result<(), OsError> {
        pin(self.as_fd(), path)
    }
}

fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<(), OsError> {
    if path.starts_with(BPFFS) {
        ensure_bpffs()?;
    }
    if let Some(parent) = path.parent()
        && path.starts_with(BPFFS)
    {
        std::fs::create_dir_all(parent).map_err(|failure| {
            error("mkdir", parent, Errno(failure.raw_os_error().unwrap_or(Errno::EIO.0)))
        })?;
    }
    sys::obj_pin(fd, &c_path(path)?).map_err(|errno| error("BPF_OBJ_PIN", path, errno))
}

/// What the descriptor is, by the name the kernel gives its anonymous file.
fn kind(fd: BorrowedFd<'_>) -> Option<String> {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let name = target.to_str()?.strip_prefix("anon_inode:")?;
    Some(name.trim_matches(['[', ']']).to_owned())
}

fn c_path(path: &Path) -> Result<CString, OsError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| error("path", path, Errno::EINVAL))
}

fn wrong_kind(path: &Path, what: &'static str) -> OsError {
    error("BPF_OBJ_GET", path, Errno::EINVAL).with_hint(Hint::Unsupported(what))
}

fn error(op: &'static str, path: &Path, errno: Errno) -> OsError {
    let in_bpffs = path.ancestors().find(|part| part.exists()).is_some_and(is_bpffs);
    let hint = match errno {
        Errno::EEXIST => Hint::Exists,
        Errno::EPERM | Errno::EINVAL | Errno::EACCES | Errno::ENOENT if !in_bpffs => Hint::NotBpffs,
        _ => Hint::None,
    };
    OsError::new(op, path.display().to_string(), errno).with_hint(hint)
}
