//! Writes `traffic.pcap`: a small capture that takes every branch of the example programs.
//!
//! Run with `cargo run --example make_traffic -- OUT.pcap`. The same bytes come out every time.

use std::error::Error;
use std::fs::File;
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapWriter};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: make_traffic OUT.pcap")?;
    let mut writer = PcapWriter::new(File::create(path)?)?;
    for (index, frame) in traffic().iter().enumerate() {
        let time = Duration::from_micros(1_700_000_000_000_000 + 125 * index as u64);
        let length = u32::try_from(frame.len())?;
        writer.write_packet(&PcapPacket::new_owned(time, length, frame.clone()))?;
    }
    Ok(())
}

/// All frames, in order.
fn traffic() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    web_session(&mut frames);
    services(&mut frames);
    tags(&mut frames);
    version_six(&mut frames);
    trouble(&mut frames);
    burst(&mut frames);
    frames
}

/// A TCP connection from hello to goodbye, and one cut off.
fn web_session(frames: &mut Vec<Vec<u8>>) {
    let client = [192, 0, 2, 10];
    let server = [10, 0, 0, 80];
    for (flags, payload) in
        [(SYN, 0), (ACK, 0), (ACK, 300), (ACK, 1200), (ACK, 17), (FIN | ACK, 0), (FIN | ACK, 0)]
    {
        frames.push(ethernet(0x0800, &ipv4(TCP, client, server, &tcp(40000, 80, flags, payload), 0, 0)));
    }
    frames.push(ethernet(0x0800, &ipv4(TCP, client, server, &tcp(40001, 80, SYN, 0), 0, 0)));
    frames.push(ethernet(0x0800, &ipv4(TCP, client, server, &tcp(40001, 80, RST, 0), 0, 0)));
    frames.push(ethernet(0x0800, &ipv4(TCP, client, server, &tcp(40002, 80, SYN | FIN, 0), 0, 0)));
}

/// What the load balancer serves, from many clients; and IPv4 options.
fn services(frames: &mut Vec<Vec<u8>>) {
    for client in 0..24_u8 {
        let from = [198, 51, 100, client];
        let port = 20_000 + u16::from(client) * 7;
        let inner = usize::from(client) * 50;
        frames.push(ethernet(0x0800, &ipv4(TCP, from, [10, 0, 0, 90], &tcp(port, 443, ACK, inner), 0, 0)));
        frames.push(ethernet(0x0800, &ipv4(UDP, from, [10, 0, 0, 53], &udp(port, 53, 30), 0, 0)));
        frames.push(ethernet(0x0800, &ipv4(TCP, from, [10, 0, 0, 80], &tcp(port, 80, ACK, inner), 2, 0)));
    }
    let options = ipv4(UDP, [192, 0, 2, 77], [10, 0, 0, 1], &udp(500, 500, 10), 10, 0);
    frames.push(ethernet(0x0800, &options));
    frames
        .push(ethernet(0x0800, &ipv4(ICMP, [192, 0, 2, 77], [10, 0, 0, 1], &[8, 0, 0, 0, 0, 1, 0, 1], 0, 0)));
}

/// One and two VLAN tags, a denied VLAN, a tag cut off.
fn tags(frames: &mut Vec<Vec<u8>>) {
    let inner = ipv4(TCP, [192, 0, 2, 20], [10, 0, 0, 90], &tcp(1000, 443, ACK, 5), 0, 0);
    let tag =
        |id: u16, protocol: u16, rest: &[u8]| [&id.to_be_bytes()[..], &protocol.to_be_bytes(), rest].concat();
    frames.push(ethernet(0x8100, &tag(100, 0x0800, &inner)));
    frames.push(ethernet(0x88a8, &tag(200, 0x8100, &tag(100, 0x0800, &inner))));
    frames.push(ethernet(0x8100, &tag(666, 0x0800, &inner)));
    frames.push(ethernet(0x8100, &[0, 100]));
    frames.push(ethernet(0x8100, &tag(7, 0x0806, &[0; 28])));
}

/// IPv6: plain, with extension headers, with too many, cut off; and a telnet client that blocks itself.
fn version_six(frames: &mut Vec<Vec<u8>>) {
    let plain = |next, payload: &[u8], host| ethernet(0x86dd, &ipv6(next, host, payload));
    frames.push(plain(UDP, &udp(5353, 53, 40), 1));
    frames.push(plain(TCP, &tcp(1234, 443, SYN, 0), 2));
    let extension = |next: u8, blocks: u8, rest: &[u8]| {
        let mut header = vec![next, blocks, 0, 0, 0, 0, 0, 0];
        header.resize(8 + usize::from(blocks) * 8, 0);
        header.extend_from_slice(rest);
        header
    };
    frames.push(plain(0, &extension(43, 1, &extension(UDP, 0, &udp(9, 53, 1))), 3));
    frames.push(plain(0, &extension(60, 255, &udp(9, 53, 1)), 3));
    frames.push(plain(
        60,
        &extension(60, 0, &extension(60, 0, &extension(60, 0, &extension(60, 0, &udp(1, 2, 3))))),
        4,
    ));
    frames.push(plain(TCP, &tcp(1, 23, SYN, 0)[..10], 5));
    frames.push(plain(TCP, &tcp(4000, 23, SYN, 0), 6));
    frames.push(plain(TCP, &tcp(4001, 443, SYN, 0), 6));
}

/// Not IP, too short, broken headers, fragments, telnet over IPv4 and what follows it.
fn trouble(frames: &mut Vec<Vec<u8>>) {
    let from = [203, 0, 113, 5];
    frames.push(ethernet(0x0806, &[0; 46]));
    frames.push(ethernet(0x0800, &[0x45]));
    frames.push(ethernet(0x0800, &[0x65; 40]));
    frames.push(ethernet(0x0800, &[0x43; 40]));
    let mut long_header = ipv4(TCP, from, [10, 0, 0, 1], &[], 0, 0);
    long_header[0] = 0x4f;
    frames.push(ethernet(0x0800, &long_header));
    frames.push(ethernet(0x0800, &ipv4(TCP, from, [10, 0, 0, 1], &tcp(1, 80, SYN, 0)[..12], 0, 0)));
    frames.push(ethernet(0x0800, &ipv4(UDP, from, [10, 0, 0, 1], &[1, 2, 3], 0, 0)));
    frames.push(ethernet(0x0800, &ipv4(UDP, from, [10, 0, 0, 1], &udp(53, 4000, 100), 0, 0x2000)));
    frames.push(ethernet(0x0800, &ipv4(UDP, from, [10, 0, 0, 1], &[0xaa; 64], 0, 0x0010)));
    for port in [23, 80, 443, 23] {
        frames.push(ethernet(0x0800, &ipv4(TCP, from, [10, 0, 0, 1], &tcp(5555, port, SYN, 0), 0, 0)));
    }
    frames.push(vec![0xff; 14]);
}

/// More packets from one source than its bucket holds, of growing length.
fn burst(frames: &mut Vec<Vec<u8>>) {
    for index in 0..40_usize {
        let payload = udp(7000, 7001, index * 35);
        frames.push(ethernet(0x0800, &ipv4(UDP, [192, 0, 2, 200], [10, 0, 0, 1], &payload, 0, 0)));
    }
}

fn ethernet(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `options` counts 4-byte words; `fragment` is the field of flags and offset.
fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8], options: u8, fragment: u16) -> Vec<u8> {
    let header = 20 + usize::from(options) * 4;
    let total = u16::try_from(header + payload.len()).expect("a frame of this capture is short");
    let mut packet = vec![0x45 + options, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0x12, 0x34]);
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0]);
    packet.extend_from_slice(&from);
    packet.extend_from_slice(&to);
    packet.resize(header, 1);
    let sum = checksum(&packet, 0);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let at = packet.len();
    packet.extend_from_slice(payload);
    if protocol == TCP && payload.len() >= 20 && fragment == 0 {
        let length = u32::try_from(payload.len()).expect("a frame of this capture is short");
        let pseudo: u32 = from.chunks(2).chain(to.chunks(2)).map(word).sum::<u32>() + u32::from(TCP) + length;
        let sum = checksum(&packet[at..], pseudo);
        packet[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn ipv6(next: u8, host: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a frame of this capture is short");
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&[next, 64]);
    let mut address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
    packet.extend_from_slice(&address);
    address[15] = 0xfe;
    packet.extend_from_slice(&address);
    packet.extend_from_slice(payload);
    packet
}

fn tcp(from: u16, to: u16, flags: u8, payload: usize) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    segment.extend((0..payload).map(|index| (index * 7 % 251) as u8));
    segment
}

fn udp(from: u16, to: u16, payload: usize) -> Vec<u8> {
    let length = u16::try_from(8 + payload).expect("a frame of this capture is short");
    let mut datagram = [from.to_be_bytes(), to.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    datagram.extend((0..payload).map(|index| (index * 11 % 253) as u8));
    datagram
}

fn word(pair: &[u8]) -> u32 {
    u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = bytes.chunks(2).map(word).sum::<u32>() + start;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
