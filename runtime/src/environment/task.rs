//! The task that runs a program, as the host knows it: the calling thread.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::OnceLock;

use super::Unreadable;

/// A PID namespace, and the task's numbers in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PidNamespace {
    /// Device of its file.
    pub device: u64,
    /// Inode of its file.
    pub inode: u64,
    /// The thread.
    pub pid: u32,
    /// Its thread group.
    pub tgid: u32,
}

/// What is asked of the host once.
#[derive(Default)]
pub(super) struct Task {
    cgroups: OnceLock<Vec<u64>>,
    memory: OnceLock<Option<File>>,
}

impl Task {
    /// Ids of the cgroup of this process and all above it, from the root on.
    pub(super) fn cgroups(&self) -> &[u64] {
        self.cgroups.get_or_init(|| find_cgroups().unwrap_or_default())
    }

    /// Copies memory of this process. Reading a file cannot fault, whatever the address is.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let memory = self.memory.get_or_init(|| File::open("/proc/self/mem").ok());
        let memory = memory.as_ref().ok_or(Unreadable)?;
        memory.read_exact_at(into, address).map_err(|_| Unreadable)
    }
}

fn find_cgroups() -> Option<Vec<u64>> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    // The line of the unified hierarchy.
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut place = std::path::PathBuf::from("/sys/fs/cgroup");
    let mut ids = vec![std::fs::metadata(&place).ok()?.ino()];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        place.push(name);
        ids.push(std::fs::metadata(&place).ok()?.ino());
    }
    Some(ids)
}

fn numbers() -> (u32, u32) {
    let pid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    (pid, std::process::id())
}

pub(super) fn pid_tgid() -> u64 {
    let (pid, tgid) = numbers();
    u64::from(tgid) << 32 | u64::from(pid)
}

pub(super) fn uid_gid() -> u64 {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    u64::from(gid) << 32 | u64::from(uid)
}

pub(super) fn comm() -> [u8; 16] {
    let mut name = [0; 16];
    let found = std::fs::read("/proc/thread-self/comm").unwrap_or_default();
    let len = found.iter().take(15).take_while(|&&byte| byte != b'\n').count();
    name[..len].copy_from_slice(&found[..len]);
    name
}

pub(super) fn pid_namespace() -> Option<PidNamespace> {
    let file = std::fs::metadata("/proc/self/ns/pid").ok()?;
    let (pid, tgid) = numbers();
    Some(PidNamespace { device: file.dev(), inode: file.ino(), pid, tgid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_without_a_fault() {
        let task = Task::default();
        let word = 0x1234_5678_9abc_def0_u64;
        let address = std::ptr::from_ref(&word).expose_provenance() as u64;
        let mut copy = [0; 8];
        assert_eq!(task.read(address, &mut copy), Ok(()));
        assert_eq!(u64::from_ne_bytes(copy), word);
        for address in [0, 8, 0x10_0000_0000_0000, 0xffff_ffff_8000_0000, u64::MAX] {
            assert_eq!(task.read(address, &mut copy), Err(Unreadable), "{address:#x}");
        }
    }

    #[test]
    fn the_thread_has_numbers_and_a_name() {
        assert_eq!(pid_tgid() >> 32, u64::from(std::process::id()));
        assert_ne!(comm(), [0; 16]);
        assert!(pid_namespace().is_some_and(|namespace| namespace.inode != 0));
    }
}
