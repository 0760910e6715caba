//! Sockets that the embedder shows to programs: `struct bpf_sock` and `struct bpf_tcp_sock` in memory of their own.
//!
//! In: [`SocketQuery`] of a program, [`SocketInfo`] of the embedder. Out: [`Socket`], which a run keeps until its end.
//! User space has no sockets by itself. Not here: storage that belongs to a socket (`map::storage`).
#![forbid(unsafe_code)]

use crate::mem::{OutOfMemory, Slab, WordSize};

/// `TCP_LISTEN`
pub(crate) const STATE_LISTEN: u32 = 10;
/// `IPPROTO_TCP`
pub(crate) const TCP: u32 = 6;

/// What a program looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketQuery {
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u32,
    /// `struct bpf_sock_tuple`: addresses and ports as on the wire, 12 bytes of IPv4 or 36 of IPv6.
    pub tuple: Vec<u8>,
    /// Id of the network namespace; negative: the program's own.
    pub namespace: i64,
    /// Whether any kind of TCP socket will do (`bpf_skc_lookup_tcp`), or a full one is wanted.
    pub any: bool,
}

/// What programs read of a socket.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketInfo {
    /// What storage maps know it by, and the embedder.
    pub handle: u32,
    /// `bound_dev_if`
    pub bound_dev_if: u32,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u32,
    /// `SOCK_STREAM` (1), …
    pub kind: u32,
    /// `IPPROTO_TCP` (6), …
    pub protocol: u32,
    /// `mark`
    pub mark: u32,
    /// `priority`
    pub priority: u32,
    /// Own address, as on the wire; the first four bytes for IPv4.
    pub source: [u8; 16],
    /// The other's address, as on the wire.
    pub destination: [u8; 16],
    /// Own port.
    pub source_port: u16,
    /// The other's port.
    pub destination_port: u16,
    /// State of a TCP socket (1: established, 10: listening, …).
    pub state: u32,
    /// Queue it receives on, or -1.
    pub rx_queue: i32,
    /// `struct bpf_tcp_sock`, for TCP: as many of its bytes as are known.
    pub tcp: Vec<u8>,
}

/// A socket with the memory that programs read.
#[derive(Debug)]
pub struct Socket {
    info: SocketInfo,
    memory: Slab,
}

/// Bytes of `struct bpf_sock`.
const SOCK: u64 = 80;
/// Bytes of `struct bpf_tcp_sock`.
const TCP_SOCK: u64 = 120;

impl Socket {
    /// A socket.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(info: SocketInfo) -> Result<Self, OutOfMemory> {
        let memory = Slab::new(SOCK + TCP_SOCK)?;
        let words = [
            (0, info.bound_dev_if),
            (4, info.family),
            (8, info.kind),
            (12, info.protocol),
            (16, info.mark),
            (20, info.priority),
            (44, u32::from(info.source_port)),
            (72, info.state),
            (76, info.rx_queue.cast_unsigned()),
        ];
        for (at, word) in words {
            memory.store(at, WordSize::B4, u64::from(word));
        }
        memory.write(48, &info.destination_port.to_be_bytes());
        // IPv4 and IPv6 addresses have places of their own.
        let v4 = info.family == 2;
        memory.write(if v4 { 24 } else { 28 }, &info.source[..if v4 { 4 } else { 16 }]);
        memory.write(if v4 { 52 } else { 56 }, &info.destination[..if v4 { 4 } else { 16 }]);
        let known = info.tcp.len().min(TCP_SOCK as usize);
        memory.write(SOCK, &info.tcp[..known]);
        Ok(Self { info, memory })
    }

    /// What it was made from.
    #[must_use]
    pub fn info(&self) -> &SocketInfo {
        &self.info
    }

    /// What programs read.
    pub(crate) fn memory(&self) -> &Slab {
        &self.memory
    }

    /// Address of its `struct bpf_sock`.
    pub(crate) fn address(&self) -> u64 {
        self.memory.address()
    }

    /// Address of its `struct bpf_tcp_sock`, if it is a TCP socket.
    pub(crate) fn tcp_address(&self) -> Option<u64> {
        (self.info.protocol == TCP).then(|| self.memory.address() + SOCK)
    }

    /// Whether the address is one of the two.
    pub(crate) fn is_at(&self, address: u64) -> bool {
        address == self.address() || Some(address) == self.tcp_address()
    }
}
