//! Interfaces and routes as helpers ask for them.
//!
//! In: `struct bpf_fib_lookup` of a program. Out: the same, filled in. Not here: who has the routes (the environment).
#![forbid(unsafe_code)]

/// What helpers want to know of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Largest packet behind the link header.
    pub mtu: u32,
    /// Bytes of the link header.
    pub header_len: u32,
}

/// The loopback interface, number 1, as Linux makes it.
pub const LOOPBACK: Interface = Interface { mtu: 65_536, header_len: 14 };

/// Results of `bpf_fib_lookup` (`BPF_FIB_LKUP_RET_*`).
pub mod fib {
    #![allow(missing_docs, reason = "the names are the kernel's")]
    pub const SUCCESS: i64 = 0;
    pub const BLACKHOLE: i64 = 1;
    pub const UNREACHABLE: i64 = 2;
    pub const PROHIBIT: i64 = 3;
    pub const NOT_FWDED: i64 = 4;
    pub const FWD_DISABLED: i64 = 5;
    pub const UNSUPP_LWT: i64 = 6;
    pub const NO_NEIGH: i64 = 7;
    pub const FRAG_NEEDED: i64 = 8;
    pub const NO_SRC_ADDR: i64 = 9;
}

/// `struct bpf_fib_lookup`, byte for byte. Numbers are in the order the kernel has them: ports and addresses as on the
/// wire, the others as on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FibLookup(pub [u8; FibLookup::SIZE]);

impl FibLookup {
    /// Bytes.
    pub const SIZE: usize = 64;
    const TOT_LEN: usize = 6;
    const IFINDEX: usize = 8;
    const SRC: usize = 16;
    const DST: usize = 32;
    const VLAN: usize = 48;
    const SMAC: usize = 52;
    const DMAC: usize = 58;

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }

    /// `AF_INET` (2) or `AF_INET6` (10).
    #[must_use]
    pub fn family(&self) -> u8 {
        self.0[0]
    }
    /// IP protocol of the packet.
    #[must_use]
    pub fn l4_protocol(&self) -> u8 {
        self.0[1]
    }
    /// Source and destination port, as on the wire.
    #[must_use]
    pub fn ports(&self) -> ([u8; 2], [u8; 2]) {
        (self.array(2), self.array(4))
    }
    /// Length of the packet for a check of the MTU, or 0.
    #[must_use]
    pub fn total_len(&self) -> u16 {
        u16::from_ne_bytes(self.array(Self::TOT_LEN))
    }
    /// Interface the packet came in on; after success the one it leaves on.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        u32::from_ne_bytes(self.array(Self::IFINDEX))
    }
    /// Source address of an IPv4 packet.
    #[must_use]
    pub fn source_v4(&self) -> [u8; 4] {
        self.array(Self::SRC)
    }
    /// Source address of an IPv6 packet.
    #[must_use]
    pub fn source_v6(&self) -> [u8; 16] {
        self.array(Self::SRC)
    }
    /// Destination address of an IPv4 packet.
    #[must_use]
    pub fn destination_v4(&self) -> [u8; 4] {
        self.array(Self::DST)
    }
    /// Destination address of an IPv6 packet.
    #[must_use]
    pub fn destination_v6(&self) -> [u8; 16] {
        self.array(Self::DST)
    }
    /// Sets the interface the packet leaves on.
    pub fn set_ifindex(&mut self, ifindex: u32) {
        self.0[Self::IFINDEX..Self::IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    }
    /// Sets the MTU of the route (the same place as the length of the packet).
    pub fn set_mtu(&mut self, mtu: u16) {
        self.0[Self::TOT_LEN..Self::TOT_LEN + 2].copy_from_slice(&mtu.to_ne_bytes());
    }
    /// Sets the next hop of an IPv4 packet.
    pub fn set_gateway_v4(&mut self, address: [u8; 4]) {
        self.0[Self::DST..Self::DST + 4].copy_from_slice(&address);
    }
    /// Sets the next hop of an IPv6 packet.
    pub fn set_gateway_v6(&mut self, address: [u8; 16]) {
        self.0[Self::DST..Self::DST + 16].copy_from_slice(&address);
    }
    /// Sets link addresses of the interface and of the neighbour; there is no VLAN.
    pub fn set_link(&mut self, source: [u8; 6], destination: [u8; 6]) {
        self.0[Self::VLAN..Self::VLAN + 4].fill(0);
        self.0[Self::SMAC..Self::SMAC + 6].copy_from_slice(&source);
        self.0[Self::DMAC..Self::DMAC + 6].copy_from_slice(&destination);
    }
}

/// The interfaces of this machine by index.
#[must_use]
pub fn interfaces() -> Vec<(u32, Interface)> {
    let Ok(entries) = std::fs::read_dir("/sys/class/net") else { return vec![(1, LOOPBACK)] };
    let number =
        |path: std::path::PathBuf| -> Option<u32> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let interface = |path: std::path::PathBuf| {
        let index = number(path.join("ifindex"))?;
        let mtu = number(path.join("mtu"))?;
        // Ethernet, loopback; others (tunnels, raw IP) have no header or one of their own.
        let ethernet = matches!(number(path.join("type")), Some(1 | 772));
        Some((index, Interface { mtu, header_len: if ethernet { 14 } else { 0 } }))
    };
    entries.flatten().filter_map(|entry| interface(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_route_lie_where_the_kernel_has_them() {
        let mut lookup = FibLookup([0; FibLookup::SIZE]);
        lookup.0[0] = 2;
        lookup.0[8] = 7;
        lookup.0[32..36].copy_from_slice(&[10, 0, 0, 1]);
        assert_eq!((lookup.family(), lookup.ifindex(), lookup.destination_v4()), (2, 7, [10, 0, 0, 1]));
        lookup.set_ifindex(3);
        lookup.set_mtu(1500);
        lookup.set_link([1; 6], [2; 6]);
        assert_eq!((lookup.ifindex(), lookup.total_len()), (3, 1500));
        assert_eq!(lookup.0[48..], [[0; 4].as_slice(), &[1; 6], &[2; 6]].concat());
    }

    #[test]
    fn this_machine_has_a_loopback() {
        assert!(interfaces().iter().any(|&(index, interface)| index == 1 && interface.mtu > 0));
    }
}
