//! Attaching programs: to interfaces, cgroups, network namespaces and tracepoints, through BPF links.
//!
//! In: a loaded program and an [`AttachPoint`]. Out: [`KernelLink`], which detaches when it is dropped unless
//! it is pinned. Not here: types that load here but need what this layer does not do (uprobes, sockmaps).
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use beelift_runtime::ctx::ProgramType;
use beelift_runtime::privilege::Capabilities;

use super::prog::KernelProgram;
use super::sys::{self, LinkExtra};
use super::{Errno, Hint, OsError, caps};

const BPF_CGROUP_SOCK_OPS: u32 = 3;
const BPF_CGROUP_INET_SOCK_CREATE: u32 = 2;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_FLOW_DISSECTOR: u32 = 17;
const BPF_CGROUP_SYSCTL: u32 = 18;
const BPF_SK_LOOKUP: u32 = 36;
const BPF_XDP: u32 = 37;
const BPF_NETFILTER: u32 = 45;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

/// Where a program is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachPoint {
    /// `xdp:IFACE[:native|:generic]`
    Xdp {
        /// Name of the interface.
        interface: String,
        /// In the driver, in the stack, or as the kernel likes.
        mode: XdpMode,
    },
    /// `tcx:IFACE:ingress|egress`
    Tcx {
        /// Name of the interface.
        interface: String,
        /// Which way.
        direction: Direction,
    },
    /// `cgroup:PATH`
    Cgroup {
        /// Directory of the cgroup.
        path: PathBuf,
    },
    /// `netns` or `netns:PATH`: flow dissectors and socket lookups of a network namespace.
    Netns {
        /// File of the namespace.
        path: PathBuf,
    },
    /// `raw_tp:NAME`
    RawTracepoint {
        /// Name without its group.
        name: String,
    },
    /// `netfilter:ipv4|ipv6:HOOK[:PRIORITY]`, hook by number 0 (prerouting) to 4 (postrouting).
    Netfilter {
        /// 2 is IPv4, 10 is IPv6.
        family: u32,
        /// Hook.
        hook: u32,
        /// Order among hooks.
        priority: i32,
    },
}

/// Where in the receive path an `xdp` program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XdpMode {
    /// The driver if it can, else the stack.
    #[default]
    Any,
    /// The driver.
    Native,
    /// The stack.
    Generic,
}

/// Side of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received packets.
    Ingress,
    /// Sent packets.
    Egress,
}

/// A text that names no attach point.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{text}` is no attach point; known are xdp:IFACE[:native|:generic], tcx:IFACE:ingress|egress, \
     cgroup:PATH, netns[:PATH], raw_tp:NAME, netfilter:ipv4|ipv6:HOOK[:PRIORITY]"
)]
pub struct AttachPointError {
    /// The text.
    pub text: String,
}

impl FromStr for AttachPoint {
    type Err = AttachPointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AttachPointError { text: text.to_owned() };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "netns" if rest.is_empty() => Ok(Self::Netns { path: PathBuf::from("/proc/self/ns/net") }),
            _ if rest.is_empty() => Err(wrong()),
            "xdp" => {
                let (interface, mode) = match rest.rsplit_once(':') {
                    Some((interface, "native")) => (interface, XdpMode::Native),
                    Some((interface, "generic")) => (interface, XdpMode::Generic),
                    // A colon may be part of the interface's name.
                    _ => (rest, XdpMode::Any),
                };
                Ok(Self::Xdp { interface: interface.to_owned(), mode })
            }
            "tcx" => {
                let (interface, side) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let direction = match side {
                    "ingress" => Direction::Ingress,
                    "egress" => Direction::Egress,
                    _ => return Err(wrong()),
                };
                Ok(Self::Tcx { interface: interface.to_owned(), direction })
            }
            "cgroup" => Ok(Self::Cgroup { path: PathBuf::from(rest) }),
            "netns" => Ok(Self::Netns { path: PathBuf::from(rest) }),
            "raw_tp" => Ok(Self::RawTracepoint { name: rest.to_owned() }),
            "netfilter" => {
                let mut parts = rest.split(':');
                let family = match parts.next() {
                    Some("ipv4") => 2,
                    Some("ipv6") => 10,
                    _ => return Err(wrong()),
                };
                let hook = parts.next().and_then(|hook| hook.parse().ok()).ok_or_else(wrong)?;
                let priority = parts.next().map_or(Ok(-128), str::parse).map_err(|_| wrong())?;
                Ok(Self::Netfilter { family, hook, priority })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xdp { interface, mode: XdpMode::Any } => write!(f, "xdp:{interface}"),
            Self::Xdp { interface, mode: XdpMode::Native } => write!(f, "xdp:{interface}:native"),
            Self::Xdp { interface, mode: XdpMode::Generic } => write!(f, "xdp:{interface}:generic"),
            Self::Tcx { interface, direction: Direction::Ingress } => write!(f, "tcx:{interface}:ingress"),
            Self::Tcx { interface, direction: Direction::Egress } => write!(f, "tcx:{interface}:egress"),
            Self::Cgroup { path } => write!(f, "cgroup:{}", path.display()),
            Self::Netns { path } => write!(f, "netns:{}", path.display()),
            Self::RawTracepoint { name } => write!(f, "raw_tp:{name}"),
            Self::Netfilter { family, hook, priority } => {
                write!(f, "netfilter:{}:{hook}:{priority}", if *family == 2 { "ipv4" } else { "ipv6" })
            }
        }
    }
}

/// An attachment. Dropping it detaches, unless it was pinned.
#[derive(Debug)]
pub struct KernelLink {
    fd: OwnedFd,
}

/// What the kernel says of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkInfo {
    /// Id, for as long as the link lives.
    pub id: u32,
    /// The kernel's number of the link type (`enum bpf_link_type`).
    pub type_id: u32,
    /// Id of the program.
    pub program_id: u32,
}

impl KernelLink {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn info(&self) -> Result<LinkInfo, OsError> {
        let info = sys::link_info(self.fd.as_fd())
            .map_err(|errno| OsError::new("BPF_OBJ_GET_INFO_BY_FD", "link", errno))?;
        Ok(LinkInfo { id: info.id, type_id: info.link_type, program_id: info.prog_id })
    }

    /// Detaches at once, even if the link is pinned.
    ///
    /// # Errors
    /// Link types that can only be dropped.
    pub fn detach(self) -> Result<(), OsError> {
        sys::link_detach(self.fd.as_fd()).map_err(|errno| OsError::new("BPF_LINK_DETACH", "link", errno))
    }
}

impl AsFd for KernelLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl KernelProgram {
    /// Attaches the program.
    ///
    /// # Errors
    /// No such interface, cgroup or tracepoint; a program type that does not go there; another program in the
    /// way; a missing capability.
    pub fn attach(&self, point: &AttachPoint) -> Result<KernelLink, OsError> {
        let error = |errno: Errno| {
            let missing = caps::held().missing(needed(point));
            let hint = match errno {
                Errno::EBUSY | Errno::EEXIST => Hint::Exists,
                Errno::ENOENT | Errno::ENODEV | Errno::ENOTDIR => Hint::TargetMissing(point.to_string()),
                Errno::EOPNOTSUPP => Hint::Unsupported("this attach mode on this interface"),
                Errno::EINVAL => Hint::Unsupported("attaching this program type there"),
                _ => caps::explain(errno, missing),
            };
            OsError::new("BPF_LINK_CREATE", format!("{} to {point}", self.name()), errno).with_hint(hint)
        };
        self.attach_to(point).map(KernelLink::new).map_err(error)
    }

    fn attach_to(&self, point: &AttachPoint) -> Result<OwnedFd, Errno> {
        let create = |target, attach_type, flags, extra| {
            sys::link_create(self.as_fd(), target, attach_type, flags, extra)
        };
        match point {
            AttachPoint::Xdp { interface, mode } => {
                let flags = match mode {
                    XdpMode::Any => 0,
                    XdpMode::Generic => 1 << 1,
                    XdpMode::Native => 1 << 2,
                };
                create(sys::interface_index(interface)?, BPF_XDP, flags, LinkExtra::None)
            }
            AttachPoint::Tcx { interface, direction } => {
                let attach_type = match direction {
                    Direction::Ingress => BPF_TCX_INGRESS,
                    Direction::Egress => BPF_TCX_EGRESS,
                };
                create(sys::interface_index(interface)?, attach_type, 0, LinkExtra::None)
            }
            AttachPoint::Cgroup { path } => {
                let directory = open(path)?;
                create(raw(&directory), cgroup_attach_type(self), 0, LinkExtra::None)
            }
            AttachPoint::Netns { path } => {
                let namespace = open(path)?;
                let types = [
                    (ProgramType::FlowDissector, BPF_FLOW_DISSECTOR),
                    (ProgramType::SkLookup, BPF_SK_LOOKUP),
                ];
                let found = types.into_iter().find(|(kind, _)| *kind == self.prog_type());
                let (_, attach_type) = found.ok_or(Errno::EINVAL)?;
                create(raw(&namespace), attach_type, 0, LinkExtra::None)
            }
            AttachPoint::RawTracepoint { name } => {
                let name = CString::new(name.as_str()).map_err(|_| Errno::EINVAL)?;
                sys::raw_tracepoint_open(self.as_fd(), &name)
            }
            AttachPoint::Netfilter { family, hook, priority } => {
                let (family, hook, priority) = (*family, *hook, *priority);
                create(0, BPF_NETFILTER, 0, LinkExtra::Netfilter { family, hook, priority, flags: 0 })
            }
        }
    }
}

/// Types with one place in a cgroup are loaded without an attach type.
fn cgroup_attach_type(program: &KernelProgram) -> u32 {
    let only = [
        (ProgramType::SockOps, BPF_CGROUP_SOCK_OPS),
        (ProgramType::CgroupDevice, BPF_CGROUP_DEVICE),
        (ProgramType::CgroupSysctl, BPF_CGROUP_SYSCTL),
        (ProgramType::CgroupSock, BPF_CGROUP_INET_SOCK_CREATE),
    ];
    let place = only.into_iter().find(|(kind, _)| *kind == program.prog_type()).map(|(_, place)| place);
    place.filter(|_| program.attach_type() == 0).unwrap_or(program.attach_type())
}

fn needed(point: &AttachPoint) -> Capabilities {
    match point {
        AttachPoint::RawTracepoint { .. } => Capabilities::BPF | Capabilities::PERFMON,
        AttachPoint::Xdp { .. }
        | AttachPoint::Tcx { .. }
        | AttachPoint::Cgroup { .. }
        | AttachPoint::Netns { .. }
        | AttachPoint::Netfilter { .. } => Capabilities::BPF | Capabilities::NET_ADMIN,
    }
}

fn open(path: &Path) -> Result<File, Errno> {
    File::open(path).map_err(|error| Errno(error.raw_os_error().unwrap_or(Errno::EIO.0)))
}

fn raw(file: &File) -> u32 {
    file.as_raw_fd().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attach_points_print_as_they_are_written() {
        for text in [
            "xdp:eth0",
            "xdp:eth0.5:native",
            "xdp:lo:generic",
            "tcx:eth0:egress",
            "cgroup:/sys/fs/cgroup/a:b",
            "netns:/proc/1/ns/net",
            "raw_tp:sched_switch",
            "netfilter:ipv6:1:-200",
        ] {
            assert_eq!(text.parse::<AttachPoint>().map(|point| point.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_no_attach_points() {
        for text in
            ["", "xdp", "xdp:", "tcx:eth0", "tcx:eth0:up", "kprobe:x", "netfilter:ipv4", "netfilter:ipv4:x"]
        {
            assert!(text.parse::<AttachPoint>().is_err(), "{text}");
        }
    }
}
