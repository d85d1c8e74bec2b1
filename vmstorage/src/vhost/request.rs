//! A request as the guest wrote it (virtio 1.2, 5.2.6), taken apart and checked.
//!
//! The device-readable part of a chain is one stream of bytes and the device-writable part another,
//! however they are cut into descriptors (2.7.4): a header of 16 bytes and data to write, data to
//! read and one byte of status.

use std::ops::Deref;

use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::config::{MAX_RANGES, SECTOR_BYTES};

/// Length of a request's header.
const HEADER_BYTES: u64 = 16;
/// Length of a range of a discard or write-zeroes request.
const RANGE_BYTES: usize = 16;

/// A request's kind with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Read into the segments.
    Read(u64),
    /// Write from the segments.
    Write(u64),
    /// Make durable.
    Flush,
    /// Tell the serial number.
    Id,
    /// Discard ranges.
    Discard(Vec<Range>),
    /// Zero ranges.
    Zero(Vec<Range>),
    /// A kind or flag that is not known.
    Unsupported,
    /// Not a request.
    Broken,
}

/// A part of the disk, not yet checked against its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u64,
    pub(super) unmap: bool,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    /// Where the data is, in order.
    pub(super) data: Vec<Segment>,
    /// Where the status goes; nowhere if the guest left no room for it.
    pub(super) status: Option<GuestAddress>,
}

/// A piece of guest memory, not yet checked to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: GuestAddress,
    pub(super) len_bytes: u64,
}

mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const GET_ID: u32 = 8;
    pub(super) const DISCARD: u32 = 11;
    pub(super) const WRITE_ZEROES: u32 = 13;
}

/// Flag of a write-zeroes range: storage may be given back.
const UNMAP: u32 = 1;

impl Request {
    /// Takes a chain apart. What is wrong with it makes it [`Kind::Broken`].
    pub(super) fn parse<M>(mut chain: DescriptorChain<M>) -> Self
    where
        M: Deref + Clone,
        M::Target: GuestMemory + Sized,
    {
        let (mut readable, mut writable) = (Vec::new(), Vec::new());
        let (mut ordered, mut whole) = (true, false);
        for descriptor in chain.by_ref() {
            // Iteration ends early at loops, bad indices and tables that are not in memory.
            whole = !descriptor.has_next();
            if descriptor.is_write_only() {
                writable.push(segment(&descriptor));
            } else {
                ordered &= writable.is_empty();
                readable.push(segment(&descriptor));
            }
        }
        let status = cut_status(&mut writable);
        let memory = chain.memory();
        let header = split(&mut readable, HEADER_BYTES).and_then(|header| {
            let mut bytes = [0; HEADER_BYTES as usize];
            gather(memory, &header, &mut bytes)?;
            Some(bytes)
        });
        let (kind, data) = match header {
            Some(header) if ordered && whole && status.is_some() => {
                understand(memory, header, readable, writable)
            }
            _ => (Kind::Broken, Vec::new()),
        };
        Self { kind, data, status }
    }

    /// How long its data is, in bytes.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data.iter().map(|segment| segment.len_bytes).sum()
    }
}

fn segment(descriptor: &Descriptor) -> Segment {
    Segment {
        address: descriptor.addr(),
        len_bytes: descriptor.len().into(),
    }
}

/// The last byte of the writable part, which is left without it.
fn cut_status(writable: &mut Vec<Segment>) -> Option<GuestAddress> {
    while writable.last().is_some_and(|last| last.len_bytes == 0) {
        writable.pop();
    }
    let last = writable.last_mut()?;
    last.len_bytes -= 1;
    let address = last.address.0.checked_add(last.len_bytes);
    address.map(GuestAddress)
}

/// The first `len` bytes of segments, which are left without them.
fn split(segments: &mut Vec<Segment>, mut len: u64) -> Option<Vec<Segment>> {
    let mut head = Vec::new();
    while len > 0 {
        let first = segments.first_mut()?;
        let taken = first.len_bytes.min(len);
        head.push(Segment {
            address: first.address,
            len_bytes: taken,
        });
        len -= taken;
        if taken == first.len_bytes {
            segments.remove(0);
        } else {
            first.address = GuestAddress(first.address.0.checked_add(taken)?);
            first.len_bytes -= taken;
        }
    }
    Some(head)
}

/// Copies segments into `out`, which is as long as they are.
fn gather<M: GuestMemory>(memory: &M, segments: &[Segment], out: &mut [u8]) -> Option<()> {
    let mut at = 0;
    for segment in segments {
        let end = at + segment.len_bytes as usize;
        memory
            .read_slice(out.get_mut(at..end)?, segment.address)
            .ok()?;
        at = end;
    }
    Some(())
}

fn understand<M: GuestMemory>(
    memory: &M,
    header: [u8; HEADER_BYTES as usize],
    readable: Vec<Segment>,
    writable: Vec<Segment>,
) -> (Kind, Vec<Segment>) {
    let (number, sector) = (le_u32(&header[..4]), le_u64(&header[8..]));
    let offset = sector.checked_mul(SECTOR_BYTES);
    let kind = match (number, offset) {
        (kind::IN, Some(offset)) => return (Kind::Read(offset), writable),
        (kind::OUT, Some(offset)) => return (Kind::Write(offset), readable),
        (kind::IN | kind::OUT, None) => Kind::Broken,
        (kind::FLUSH, _) => Kind::Flush,
        (kind::GET_ID, _) => return (Kind::Id, writable),
        (kind::DISCARD | kind::WRITE_ZEROES, _) => ranges(memory, number, &readable),
        _ => Kind::Unsupported,
    };
    (kind, Vec::new())
}

fn ranges<M: GuestMemory>(memory: &M, number: u32, segments: &[Segment]) -> Kind {
    let len: u64 = segments.iter().map(|segment| segment.len_bytes).sum();
    let most = (MAX_RANGES * RANGE_BYTES) as u64;
    if len == 0 || len > most || !len.is_multiple_of(RANGE_BYTES as u64) {
        return Kind::Broken;
    }
    let mut bytes = vec![0; len as usize];
    if gather(memory, segments, &mut bytes).is_none() {
        return Kind::Broken;
    }
    let mut ranges = Vec::new();
    for range in bytes.chunks_exact(RANGE_BYTES) {
        let flags = le_u32(&range[12..]);
        let known = if number == kind::DISCARD { 0 } else { UNMAP };
        if flags & !known != 0 {
            return Kind::Unsupported;
        }
        let Some(offset_bytes) = le_u64(&range[..8]).checked_mul(SECTOR_BYTES) else {
            return Kind::Broken;
        };
        ranges.push(Range {
            offset_bytes,
            len_bytes: u64::from(le_u32(&range[8..12])) * SECTOR_BYTES,
            unmap: flags & UNMAP != 0,
        });
    }
    match number {
        kind::DISCARD => Kind::Discard(ranges),
        _ => Kind::Zero(ranges),
    }
}

fn le_u32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn le_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}
