//! Captures: any bytes end in frames or in an error that says where, and frames that are written are read again.

#[path = "../../src/bin/beelift/capture.rs"]
mod capture;

use std::time::Duration;

use capture::{CaptureError, Format, Frame};

/// The bytes are a capture file.
pub(crate) fn captures(data: &[u8]) {
    match capture::read(data) {
        Ok(frames) => {
            let held: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
            assert!(held <= data.len(), "{held} bytes of frames in a file of {}", data.len());
            written_and_read(&frames, Format::Pcap, Duration::from_micros(1));
            written_and_read(&frames, Format::Pcapng, Duration::from_nanos(1));
        }
        Err(error) => {
            let said = (error.to_string(), error.place(), error.hint());
            assert!(!matches!(error, CaptureError::Io(_)), "a slice has no trouble: {said:?}");
        }
    }
}

fn written_and_read(frames: &[Frame], format: Format, unit: Duration) {
    let mut file = Vec::new();
    let given = frames.iter().map(|frame| (frame.timestamp, &frame.bytes[..]));
    match capture::write(format, &mut file, given) {
        Ok(()) => {}
        // Times after 2106 do not fit the format.
        Err(CaptureError::Broken { packet, .. }) => {
            let late = frames[packet - 1].timestamp;
            assert!(format == Format::Pcap && late.as_secs() > u64::from(u32::MAX), "{late:?}");
            return;
        }
        Err(error) => panic!("frames that were read cannot be written: {error}"),
    }
    let again = capture::read(&file[..]).expect("what was written");
    let cut = |time: Duration| time.as_nanos() - time.as_nanos() % unit.as_nanos();
    assert_eq!(again.len(), frames.len());
    for (left, right) in frames.iter().zip(&again) {
        assert_eq!((cut(left.timestamp), &left.bytes), (right.timestamp.as_nanos(), &right.bytes));
    }
}
