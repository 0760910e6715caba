//! [`Packet`]: bytes with room before and behind them, reused from run to run without allocation.
//!
//! The geometry is that of the kernel's XDP test run, because helpers answer from it: a frame of a page, 256
//! bytes of headroom of which the first 40 are reserved, and 320 bytes reserved behind the tailroom. Unlike there, a
//! packet over 3520 bytes is in one piece: the kernel shows a program only the first 3520 bytes of it.
#![forbid(unsafe_code)]

use crate::mem::{OutOfMemory, SharedBytes, Slab, WordSize};

/// Bytes before the packet at entry (`XDP_PACKET_HEADROOM`).
pub(crate) const HEADROOM: u64 = 256;
/// Bytes at the start of the headroom that a program never gets (`sizeof(struct xdp_frame)`).
pub(crate) const FRAME_RESERVE: u64 = 40;
/// Bytes from the start of the headroom to the end of the tailroom of a one-page frame
/// (4096 less the aligned `struct skb_shared_info`).
pub(crate) const FRAME_ROOM: u64 = 4096 - 320;
/// Bytes of an Ethernet header, which a packet keeps.
pub(crate) const ETH_HLEN: u64 = 14;
/// Largest metadata before the packet.
pub(crate) const META_MAX: u64 = 252;
/// Bytes of the native context structure.
pub(crate) const BLOCK: u64 = 512;

/// The packet does not fit into its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("packet of {len} bytes does not fit into a buffer for {capacity}")]
pub struct PacketTooLong {
    /// Bytes of the packet.
    pub len: usize,
    /// Bytes that fit.
    pub capacity: u64,
}

/// A packet buffer with headroom, tailroom and a native context structure.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut packet = beelift_runtime::ctx::Packet::new(1514)?;
/// packet.set(&[0xff; 60])?;
/// assert_eq!(packet.bytes().len(), 60);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Packet {
    /// Headroom, packet, tailroom.
    buffer: SharedBytes,
    /// The native context structure; it begins with [`Bounds`].
    block: SharedBytes,
    /// Bytes of metadata at entry.
    meta: u64,
    /// Offset of the first packet byte in the buffer.
    start: u64,
    /// Offset past the last packet byte.
    end: u64,
    /// Buffer bytes that a run may have left non-zero before `start` and from `end` on: `[dirty.0, dirty.1)`.
    dirty: (u64, u64),
    /// Bytes of tailroom are counted up to here.
    room: u64,
    /// Bytes at the start that the running program does not see (the Ethernet header, for programs of layer 3).
    pulled: u64,
}

/// Offsets of the words with which every native packet context begins.
pub(crate) mod word {
    /// First packet byte.
    pub(crate) const DATA: u64 = 0;
    /// Past the last packet byte.
    pub(crate) const DATA_END: u64 = 8;
    /// First metadata byte.
    pub(crate) const DATA_META: u64 = 16;
    /// Start of the headroom.
    pub(crate) const HARD_START: u64 = 24;
    /// End of the tailroom.
    pub(crate) const HARD_END: u64 = 32;
    /// Lowest address that was a metadata or packet byte during this run.
    pub(crate) const LOWEST: u64 = 40;
    /// Highest `DATA_END` of this run.
    pub(crate) const HIGHEST: u64 = 48;
    /// 1 if helpers have changed any of the others in this run.
    pub(crate) const MOVED: u64 = 56;
}

impl Packet {
    /// An empty packet in a buffer for up to `capacity` bytes (at least a one-page frame).
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn new(capacity: u32) -> Result<Self, OutOfMemory> {
        let room = FRAME_ROOM.max(HEADROOM + u64::from(capacity));
        Ok(Self {
            buffer: SharedBytes::new(room)?,
            block: SharedBytes::new(BLOCK)?,
            meta: 0,
            start: HEADROOM,
            end: HEADROOM,
            dirty: (HEADROOM, HEADROOM),
            room,
            pulled: 0,
        })
    }

    /// Bytes that fit.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.buffer.len() - HEADROOM
    }

    /// Replaces the packet; headroom, metadata and tailroom are empty and zero again.
    ///
    /// # Errors
    /// [`PacketTooLong`]; the old packet is kept.
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), PacketTooLong> {
        let len = bytes.len() as u64;
        if len > self.capacity() {
            return Err(PacketTooLong { len: bytes.len(), capacity: self.capacity() });
        }
        self.absorb();
        let (start, end) = (HEADROOM, HEADROOM + len);
        let (from, to) = self.dirty;
        let buffer = self.buffer.as_mut_slice();
        buffer[start as usize..end as usize].copy_from_slice(bytes);
        if from < start {
            buffer[from as usize..start as usize].fill(0);
        }
        if to > end {
            buffer[end as usize..to as usize].fill(0);
        }
        self.dirty = (start, end);
        (self.start, self.end, self.meta) = (start, end, 0);
        self.forget();
        Ok(())
    }

    /// Puts metadata before the packet (`data_meta` of the context).
    ///
    /// # Errors
    /// [`PacketTooLong`] if it is longer than 252 bytes or no multiple of 4, which the kernel refuses as well.
    pub fn set_meta(&mut self, meta: &[u8]) -> Result<(), PacketTooLong> {
        let len = meta.len() as u64;
        if len > META_MAX.min(self.start - FRAME_RESERVE) || !len.is_multiple_of(4) {
            return Err(PacketTooLong { len: meta.len(), capacity: META_MAX });
        }
        self.absorb();
        let from = self.start - len;
        let start = self.start as usize;
        self.buffer.as_mut_slice()[from as usize..start].copy_from_slice(meta);
        self.dirty.0 = self.dirty.0.min(from);
        self.meta = len;
        self.forget();
        Ok(())
    }

    /// The packet's bytes, after a run as the program left them.
    #[must_use]
    pub fn bytes(&mut self) -> &[u8] {
        self.absorb();
        let range = self.start as usize..self.end as usize;
        &self.buffer.as_mut_slice()[range]
    }

    /// Metadata and packet, as `data_out` of the kernel's test run shows them.
    #[must_use]
    pub fn bytes_with_meta(&mut self) -> &[u8] {
        self.absorb();
        let range = (self.start - self.meta) as usize..self.end as usize;
        &self.buffer.as_mut_slice()[range]
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn len(&self) -> u64 {
        let frame = self.frame();
        if frame.is_set() { frame.len() + self.pulled } else { self.end - self.start }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of metadata before the packet.
    #[must_use]
    pub fn meta_len(&self) -> u64 {
        let frame = self.frame();
        if frame.is_set() && self.pulled == 0 { frame.data() - frame.data_meta() } else { self.meta }
    }

    /// Writes the packet's place into the native structure.
    #[inline]
    pub(super) fn enter(&mut self) {
        self.enter_behind(0);
    }

    /// Likewise, hiding up to `pulled` bytes at the start (and metadata, if there are any) from the program.
    #[inline]
    pub(super) fn enter_behind(&mut self, pulled: u64) {
        let pulled = pulled.min(self.end - self.start);
        // The same packet again, at the same place: the words are there already.
        let frame = self.frame();
        if frame.is_set() && !frame.is_moved() && pulled == self.pulled {
            return;
        }
        self.enter_anew(pulled);
    }

    #[inline(never)]
    fn enter_anew(&mut self, pulled: u64) {
        self.absorb();
        self.pulled = pulled.min(self.end - self.start);
        let base = self.buffer.address();
        let data = base + self.start + self.pulled;
        let end = base + self.end;
        let lowest = base + self.start - self.meta;
        let meta = if self.pulled == 0 { lowest } else { data };
        // In the order of `word`.
        self.block.store_words(word::DATA, [data, end, meta, base, base + self.room, lowest, end, 0]);
    }

    /// The packet as helpers see it.
    #[inline]
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame { block: &self.block, buffer: &self.buffer }
    }

    /// The native structure.
    #[inline]
    pub(super) fn block(&self) -> &SharedBytes {
        &self.block
    }

    /// Headroom, packet and tailroom.
    pub(super) fn buffer(&self) -> &SharedBytes {
        &self.buffer
    }

    /// Takes over what the last run left in the native structure.
    fn absorb(&mut self) {
        let frame = self.frame();
        if !frame.is_set() {
            return;
        }
        if !frame.is_moved() {
            return self.forget();
        }
        let base = self.buffer.address();
        let (start, end) = (frame.data() - base - self.pulled, frame.data_end() - base);
        let meta = if self.pulled == 0 { frame.data() - frame.data_meta() } else { self.meta };
        let lowest = self.block.load(word::LOWEST, WordSize::B8) - base;
        let highest = self.block.load(word::HIGHEST, WordSize::B8) - base;
        self.dirty = (self.dirty.0.min(lowest), self.dirty.1.max(highest));
        (self.start, self.end, self.meta) = (start, end, meta);
        self.forget();
    }

    /// Marks the native structure as taken over.
    fn forget(&mut self) {
        self.block.store(word::HARD_START, WordSize::B8, 0);
    }
}

/// A packet during a run: its place is what the native structure says, and helpers may change it.
///
/// Addresses are kept in order and inside the buffer by everything here; programs cannot write them.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    block: &'a Slab,
    buffer: &'a Slab,
}

impl<'a> Frame<'a> {
    /// Address of the first packet byte.
    #[must_use]
    pub fn data(self) -> u64 {
        self.word(word::DATA)
    }

    /// Address past the last packet byte.
    #[must_use]
    pub fn data_end(self) -> u64 {
        self.word(word::DATA_END)
    }

    /// Address of the first metadata byte (`data` if there is none).
    #[must_use]
    pub fn data_meta(self) -> u64 {
        self.word(word::DATA_META)
    }

    /// Start of the headroom.
    #[inline]
    #[must_use]
    pub fn hard_start(self) -> u64 {
        self.word(word::HARD_START)
    }

    /// End of the tailroom.
    #[must_use]
    pub fn hard_end(self) -> u64 {
        self.word(word::HARD_END)
    }

    /// Bytes of the packet.
    #[must_use]
    pub fn len(self) -> u64 {
        self.data_end() - self.data()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The native structure.
    #[must_use]
    pub fn block(self) -> &'a Slab {
        self.block
    }

    /// Memory at an absolute address between the hard limits, if the range lies there.
    #[must_use]
    pub fn memory(self, address: u64, len: u64) -> Option<crate::mem::BytesMut<'a>> {
        self.buffer.offset_of(address, len).map(|offset| self.buffer.bytes_mut(offset, len))
    }

    /// Moves the packet's limits. Addresses that are out of order or outside the buffer are refused.
    pub(crate) fn place(self, meta: u64, data: u64, end: u64) -> bool {
        let (low, high) = (self.hard_start(), self.hard_end());
        let ordered = low <= meta && meta <= data && data <= end && end <= high;
        if ordered {
            self.set(word::DATA_META, meta);
            self.set(word::DATA, data);
            self.set(word::DATA_END, end);
            self.set(word::LOWEST, meta.min(self.word(word::LOWEST)));
            self.set(word::HIGHEST, end.max(self.word(word::HIGHEST)));
            self.set(word::MOVED, 1);
        }
        ordered
    }

    /// Whether a run has entered since the host last looked.
    #[inline]
    fn is_set(self) -> bool {
        self.hard_start() != 0
    }

    /// Whether a helper has changed the packet's place.
    #[inline]
    fn is_moved(self) -> bool {
        self.word(word::MOVED) != 0
    }

    #[inline]
    fn word(self, offset: u64) -> u64 {
        self.block.load(offset, WordSize::B8)
    }

    fn set(self, offset: u64, value: u64) {
        self.block.store(offset, WordSize::B8, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_buffer_shows_nothing_of_the_last_packet() {
        let mut packet = Packet::new(0).unwrap();
        packet.set(&[1; 100]).unwrap();
        packet.set_meta(&[7; 8]).unwrap();
        packet.enter();
        let frame = packet.frame();
        assert_eq!(frame.data() - frame.data_meta(), 8);
        let (data, end) = (frame.data(), frame.data_end());
        assert!(frame.place(data - 60, data - 50, end + 30));
        frame.memory(data - 60, 190).unwrap().fill(9);
        // The program may move back again: what it wrote before must vanish all the same.
        assert!(frame.place(data, data, end));
        assert_eq!(packet.bytes().len(), 100);
        packet.set(&[2; 20]).unwrap();
        let buffer = packet.buffer().to_vec(0, packet.buffer().len());
        let nonzero: Vec<usize> = (0..buffer.len()).filter(|&i| buffer[i] != 0).collect();
        assert_eq!(nonzero, (256..276).collect::<Vec<_>>());
        assert_eq!((packet.len(), packet.meta_len()), (20, 0));
    }

    #[test]
    fn what_a_run_moved_is_what_the_host_sees() {
        let mut packet = Packet::new(64).unwrap();
        packet.set(&(0..64).collect::<Vec<u8>>()).unwrap();
        packet.enter();
        let frame = packet.frame();
        assert!(frame.place(frame.data() + 2, frame.data() + 10, frame.data_end() - 4));
        assert_eq!((packet.len(), packet.meta_len()), (50, 8));
        assert_eq!(packet.bytes(), (10..60).collect::<Vec<u8>>());
        assert_eq!(packet.bytes_with_meta(), (2..60).collect::<Vec<u8>>());
    }

    #[test]
    fn limits_out_of_order_are_refused() {
        let mut packet = Packet::new(64).unwrap();
        packet.set(&[0; 64]).unwrap();
        packet.enter();
        let frame = packet.frame();
        let (start, data, end) = (frame.hard_start(), frame.data(), frame.data_end());
        for (meta, data, end) in
            [(start - 1, data, end), (data + 1, data, end), (data, end + 1, end), (data, data, u64::MAX)]
        {
            assert!(!frame.place(meta, data, end));
        }
    }

    #[test]
    fn a_packet_that_does_not_fit_is_refused_and_the_old_one_kept() {
        let mut packet = Packet::new(100).unwrap();
        packet.set(&[5; 10]).unwrap();
        let capacity = packet.capacity();
        assert_eq!(capacity, 3520);
        let long = vec![0; capacity as usize + 1];
        assert_eq!(packet.set(&long).unwrap_err(), PacketTooLong { len: 3521, capacity });
        assert!(packet.set_meta(&[0; 6]).is_err() && packet.set_meta(&[0; 256]).is_err());
        assert_eq!(packet.bytes(), [5; 10]);
        assert_eq!(Packet::new(65_535).unwrap().capacity(), 65_535);
    }
}
