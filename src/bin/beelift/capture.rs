//! Packet captures in and out: pcap and pcapng through the `pcap-file` crate.
//!
//! In: bytes. Out: frames with their times. A capture that ends inside a packet, holds another link type or is no
//! capture at all is an error that names the packet. Any bytes end in frames or in an error: a fuzz target
//! (`tests/fuzzing/captures.rs`) includes this file, so it knows nothing of the tool around it.
#![forbid(unsafe_code)]

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

/// Longest frame read: more than any interface delivers; the format allows 4 GiB.
const LONGEST_FRAME: usize = 256 << 10;

/// One captured frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Time since the epoch.
    pub(crate) timestamp: Duration,
    /// From the Ethernet header on.
    pub(crate) bytes: Vec<u8>,
}

/// Why a capture cannot be read or written. `packet` counts from 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Less than a magic number.
    #[error("not a capture: the file is shorter than its magic number")]
    TooShort,
    /// Something else.
    #[error("not a capture: it starts with {}", magic(*.0))]
    NotACapture([u8; 4]),
    /// Ends before the first packet.
    #[error("the capture ends inside its header")]
    EndsInHeader,
    /// Ends too early.
    #[error("the capture ends inside a packet")]
    EndsInPacket {
        /// Which.
        packet: usize,
    },
    /// Frames of another kind of interface.
    #[error("link type {:?} ({})", .0, u32::from(*.0))]
    Link(DataLink),
    /// An absurd length.
    #[error("a frame of {len} bytes")]
    TooLong {
        /// Which.
        packet: usize,
        /// Its length.
        len: usize,
    },
    /// A packet of an interface that the file does not describe.
    #[error("interface {interface} is not described in the file")]
    NoInterface {
        /// Which.
        packet: usize,
        /// Its interface.
        interface: u32,
    },
    /// What the crate says; packet 0 is the file header.
    #[error("{message}")]
    Broken {
        /// Which.
        packet: usize,
        /// What.
        message: String,
    },
}

impl CaptureError {
    fn of(packet: usize, error: PcapError) -> Self {
        match error {
            PcapError::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => Self::Io(error),
            PcapError::IncompleteBuffer | PcapError::IoError(_) if packet == 0 => Self::EndsInHeader,
            PcapError::IncompleteBuffer | PcapError::IoError(_) => Self::EndsInPacket { packet },
            error => Self::Broken { packet, message: error.to_string() },
        }
    }

    /// Where in the file.
    pub(crate) fn place(&self) -> Option<String> {
        match self {
            Self::EndsInHeader | Self::Broken { packet: 0, .. } => Some("file header".to_owned()),
            Self::EndsInPacket { packet }
            | Self::TooLong { packet, .. }
            | Self::NoInterface { packet, .. }
            | Self::Broken { packet, .. } => Some(format!("packet {packet}")),
            Self::Io(_) | Self::TooShort | Self::NotACapture(_) | Self::Link(_) => None,
        }
    }

    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::TooShort | Self::NotACapture(_) => Some("pcap and pcapng files are understood".to_owned()),
            Self::Link(_) => Some(
                "programs see Ethernet frames: capture on an Ethernet interface, or convert the file"
                    .to_owned(),
            ),
            Self::TooLong { .. } => Some(format!("frames up to {LONGEST_FRAME} bytes are read")),
            Self::EndsInPacket { .. } => {
                Some("copy the file again, or keep the whole packets: `editcap IN OUT`".to_owned())
            }
            Self::Io(_) | Self::EndsInHeader | Self::NoInterface { .. } | Self::Broken { .. } => None,
        }
    }
}

fn magic(bytes: [u8; 4]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads all frames of an Ethernet capture, pcap or pcapng by its first bytes. The input may be a pipe.
pub(crate) fn read(mut input: impl Read) -> Result<Vec<Frame>, CaptureError> {
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => CaptureError::TooShort,
        _ => CaptureError::Io(error),
    })?;
    let reader = BufReader::new(io::Cursor::new(magic).chain(input));
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => read_pcapng(reader),
        [0xd4, 0xc3, 0xb2, 0xa1]
        | [0xa1, 0xb2, 0xc3, 0xd4]
        | [0x4d, 0x3c, 0xb2, 0xa1]
        | [0xa1, 0xb2, 0x3c, 0x4d] => read_pcap(reader),
        other => Err(CaptureError::NotACapture(other)),
    }
}

fn read_pcap(reader: impl Read) -> Result<Vec<Frame>, CaptureError> {
    let mut reader = PcapReader::new(reader).map_err(|error| CaptureError::of(0, error))?;
    check_link(reader.header().datalink)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.map_err(|error| CaptureError::of(frames.len() + 1, error))?;
        push(&mut frames, packet.timestamp, packet.data.into_owned())?;
    }
    Ok(frames)
}

fn read_pcapng(reader: impl Read) -> Result<Vec<Frame>, CaptureError> {
    let mut reader = PcapNgReader::new(reader).map_err(|error| CaptureError::of(0, error))?;
    let mut frames = Vec::new();
    loop {
        let Some(block) = reader.next_block() else { return Ok(frames) };
        let block = block.map_err(|error| CaptureError::of(frames.len() + 1, error))?.into_owned();
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
            return Err(CaptureError::NoInterface { packet: frames.len() + 1, interface });
        };
        check_link(described.linktype)?;
        let timestamp = time_of(timestamp, described);
        push(&mut frames, timestamp, bytes)?;
    }
}

fn push(frames: &mut Vec<Frame>, timestamp: Duration, bytes: Vec<u8>) -> Result<(), CaptureError> {
    if bytes.len() > LONGEST_FRAME {
        return Err(CaptureError::TooLong { packet: frames.len() + 1, len: bytes.len() });
    }
    frames.push(Frame { timestamp, bytes });
    Ok(())
}

fn check_link(link: DataLink) -> Result<(), CaptureError> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(CaptureError::Link(link)) }
}

/// Form of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Times in microseconds.
    Pcap,
    /// Times in nanoseconds.
    Pcapng,
}

/// Writes frames in little endian, as other tools do.
pub(crate) fn write<'a>(
    format: Format,
    output: impl Write,
    frames: impl Iterator<Item = (Duration, &'a [u8])>,
) -> Result<(), CaptureError> {
    match format {
        Format::Pcap => write_pcap(output, frames),
        Format::Pcapng => write_pcapng(output, frames),
    }
}

fn write_pcap<'a>(
    output: impl Write,
    frames: impl Iterator<Item = (Duration, &'a [u8])>,
) -> Result<(), CaptureError> {
    let header =
        PcapHeader { snaplen: LONGEST_FRAME as u32, endianness: Endianness::Little, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(output, header).map_err(|error| CaptureError::of(0, error))?;
    for (number, (timestamp, bytes)) in frames.enumerate() {
        let length = length(number + 1, bytes)?;
        writer
            .write_packet(&PcapPacket::new(timestamp, length, bytes))
            .map_err(|error| CaptureError::of(number + 1, error))?;
    }
    Ok(writer.into_writer().flush()?)
}

fn write_pcapng<'a>(
    output: impl Write,
    frames: impl Iterator<Item = (Duration, &'a [u8])>,
) -> Result<(), CaptureError> {
    let at = |packet: usize| move |error: PcapError| CaptureError::of(packet, error);
    let mut writer = PcapNgWriter::with_endianness(output, Endianness::Little).map_err(at(0))?;
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: LONGEST_FRAME as u32,
        options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
    };
    writer.write_pcapng_block(interface).map_err(at(0))?;
    for (number, (timestamp, bytes)) in frames.enumerate() {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp,
            original_len: length(number + 1, bytes)?,
            data: bytes.into(),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).map_err(at(number + 1))?;
    }
    Ok(writer.into_inner().flush()?)
}

fn length(packet: usize, bytes: &[u8]) -> Result<u32, CaptureError> {
    u32::try_from(bytes.len()).map_err(|_| CaptureError::TooLong { packet, len: bytes.len() })
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
