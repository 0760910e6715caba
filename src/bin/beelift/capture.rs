//! Packet captures in and out: pcap and pcapng through the `pcap-file` crate.
//!
//! In: a path. Out: frames with their place in the file. A capture that ends inside a packet, holds another
//! link type or is no capture at all is an error that names the file and the packet.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::failure::Failure;

/// Longest frame read: more than any interface delivers; the format allows 4 GiB.
const LONGEST_FRAME: usize = 256 << 10;

/// One captured frame.
pub(crate) struct Frame {
    pub(crate) timestamp: Duration,
    pub(crate) bytes: Vec<u8>,
}

/// Reads all frames of an Ethernet capture, pcap or pcapng by its first bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<Frame>, Failure> {
    let at = |error: std::io::Error| Failure::failure(error).at(path.display());
    let mut file = File::open(path).map_err(at)?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(|_| {
        Failure::failure("not a capture: the file is shorter than its magic number").at(path.display())
    })?;
    file.rewind().map_err(at)?;
    let reader = BufReader::new(file);
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => read_pcapng(path, reader),
        [0xd4, 0xc3, 0xb2, 0xa1]
        | [0xa1, 0xb2, 0xc3, 0xd4]
        | [0x4d, 0x3c, 0xb2, 0xa1]
        | [0xa1, 0xb2, 0x3c, 0x4d] => read_pcap(path, reader),
        other => {
            Err(Failure::failure(format!("not a capture: it starts with {}", crate::input::to_hex(&other)))
                .at(path.display())
                .hint("pcap and pcapng files are understood"))
        }
    }
}

fn read_pcap(path: &Path, reader: impl Read) -> Result<Vec<Frame>, Failure> {
    let mut reader = PcapReader::new(reader).map_err(|error| broken(path, 0, &error))?;
    check_link(path, reader.header().datalink)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| broken(path, frames.len() + 1, &error))?;
        push(path, &mut frames, packet.timestamp, packet.data.into_owned())?;
    }
    Ok(frames)
}

fn read_pcapng(path: &Path, reader: impl Read) -> Result<Vec<Frame>, Failure> {
    let mut reader = PcapNgReader::new(reader).map_err(|error| broken(path, 0, &error))?;
    let mut frames = Vec::new();
    loop {
        let Some(block) = reader.next_block() else { return Ok(frames) };
        let block = block.map_err(|error| broken(path, frames.len() + 1, &error))?.into_owned();
        let (interface, timestamp, bytes) = match block {
            Block::EnhancedPacket(packet) => {
                (packet.interface_id, packet.timestamp, packet.data.into_owned())
            }
            Block::SimplePacket(packet) => (0, Duration::ZERO, packet.data.into_owned()),
            Block::Packet(packet) => {
                (u32::from(packet.interface_id), Duration::ZERO, packet.data.into_owned())
            }
            _ => continue,
        };
        let Some(described) = reader.interfaces().get(interface as usize) else {
            return Err(Failure::failure(format!("interface {interface} is not described in the file"))
                .at(format!("{}: packet {}", path.display(), frames.len() + 1)));
        };
        check_link(path, described.linktype)?;
        let timestamp = time_of(timestamp, described);
        push(path, &mut frames, timestamp, bytes)?;
    }
}

fn push(path: &Path, frames: &mut Vec<Frame>, timestamp: Duration, bytes: Vec<u8>) -> Result<(), Failure> {
    if bytes.len() > LONGEST_FRAME {
        let place = format!("{}: packet {}", path.display(), frames.len() + 1);
        return Err(Failure::failure(format!("a frame of {} bytes", bytes.len()))
            .at(place)
            .hint(format!("frames up to {LONGEST_FRAME} bytes are read")));
    }
    frames.push(Frame { timestamp, bytes });
    Ok(())
}

fn check_link(path: &Path, link: DataLink) -> Result<(), Failure> {
    if link == DataLink::ETHERNET {
        return Ok(());
    }
    Err(Failure::failure(format!("link type {link:?} ({})", u32::from(link)))
        .at(path.display())
        .hint("programs see Ethernet frames: capture on an Ethernet interface, or convert the file"))
}

fn broken(path: &Path, packet: usize, error: &PcapError) -> Failure {
    let ends =
        if packet == 0 { "the capture ends inside its header" } else { "the capture ends inside a packet" };
    let message = match error {
        PcapError::IncompleteBuffer => ends.to_owned(),
        PcapError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => ends.to_owned(),
        PcapError::IoError(error) => error.to_string(),
        error => error.to_string(),
    };
    let place = if packet == 0 {
        format!("{}: file header", path.display())
    } else {
        format!("{}: packet {packet}", path.display())
    };
    Failure::failure(message).at(place)
}

/// Writes frames: pcapng with nanosecond times when the name ends in `.pcapng`, else pcap with microsecond times.
pub(crate) fn write<'a>(
    path: &Path,
    frames: impl Iterator<Item = (Duration, &'a [u8])>,
) -> Result<(), Failure> {
    if path.extension().is_some_and(|extension| extension == "pcapng") {
        return write_pcapng(path, frames);
    }
    let at = |error: PcapError| Failure::failure(error).at(path.display());
    let file = File::create(path).map_err(|error| Failure::failure(error).at(path.display()))?;
    let header =
        PcapHeader { snaplen: LONGEST_FRAME as u32, endianness: Endianness::Little, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(BufWriter::new(file), header).map_err(at)?;
    for (timestamp, bytes) in frames {
        let length = u32::try_from(bytes.len())
            .map_err(|_| Failure::failure("a frame longer than 4 GiB").at(path.display()))?;
        writer.write_packet(&PcapPacket::new(timestamp, length, bytes)).map_err(at)?;
    }
    Ok(())
}

fn write_pcapng<'a>(path: &Path, frames: impl Iterator<Item = (Duration, &'a [u8])>) -> Result<(), Failure> {
    let at = |error: PcapError| Failure::failure(error).at(path.display());
    let file = File::create(path).map_err(|error| Failure::failure(error).at(path.display()))?;
    let mut writer = PcapNgWriter::with_endianness(BufWriter::new(file), Endianness::Little).map_err(at)?;
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: LONGEST_FRAME as u32,
        options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
    };
    writer.write_pcapng_block(interface).map_err(at)?;
    for (timestamp, bytes) in frames {
        let original_len = u32::try_from(bytes.len())
            .map_err(|_| Failure::failure("a frame longer than 4 GiB").at(path.display()))?;
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp,
            original_len,
            data: bytes.into(),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).map_err(at)?;
    }
    Ok(())
}

/// `if_tsresol` of nanoseconds.
const NANOSECONDS: u8 = 9;

/// The time of a packet. The crate takes ticks for nanoseconds; an interface says how long a tick is
/// (`if_tsresol`, microseconds if it does not).
fn time_of(ticks: Duration, interface: &InterfaceDescriptionBlock<'_>) -> Duration {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let per_second = match resolution.unwrap_or(6) {
        power @ 0x80.. => 1_u128.checked_shl(u32::from(power & 0x7f)),
        power => 10_u128.checked_pow(u32::from(power)),
    };
    let nanos = per_second
        .filter(|&per_second| per_second != 0)
        .and_then(|per_second| Some(ticks.as_nanos().checked_mul(1_000_000_000)? / per_second));
    // A resolution that no clock has, or a time after all times: none is better than a wrong one.
    nanos.and_then(|nanos| u64::try_from(nanos).ok()).map_or(Duration::ZERO, Duration::from_nanos)
}
