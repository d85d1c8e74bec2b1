//! The configuration space and the features of a virtio block device (virtio 1.2, 5.2.3 and
//! 5.2.4).

use super::Options;
use crate::disk::Geometry;

/// Bytes of a sector, whatever the disk's blocks are.
pub(super) const SECTOR_BYTES: u64 = 512;
/// Most ranges of one discard or write-zeroes request.
pub(super) const MAX_RANGES: usize = 32;
/// Longest range of one, in sectors: 2 GiB.
const MAX_RANGE_SECTORS: u32 = 4 << 20;
/// Length of `virtio_blk_config` with all of the fields below.
const CONFIG_BYTES: usize = 60;

/// Feature bits.
pub(super) mod feature {
    pub(crate) const SEG_MAX: u64 = 1 << 2;
    pub(crate) const RO: u64 = 1 << 5;
    pub(crate) const BLK_SIZE: u64 = 1 << 6;
    pub(crate) const FLUSH: u64 = 1 << 9;
    pub(crate) const TOPOLOGY: u64 = 1 << 10;
    pub(crate) const MQ: u64 = 1 << 12;
    pub(crate) const DISCARD: u64 = 1 << 13;
    pub(crate) const WRITE_ZEROES: u64 = 1 << 14;
    pub(crate) const RING_INDIRECT_DESC: u64 = 1 << 28;
    pub(crate) const RING_EVENT_IDX: u64 = 1 << 29;
    /// Of vhost-user itself.
    pub(crate) const PROTOCOL_FEATURES: u64 = 1 << 30;
    pub(crate) const VERSION_1: u64 = 1 << 32;
}

/// What the guest reads of the device.
#[derive(Debug, Clone)]
pub(super) struct Config {
    bytes: [u8; CONFIG_BYTES],
    pub(super) features: u64,
}

impl Config {
    pub(super) fn new(geometry: &Geometry, options: &Options) -> Self {
        let mut features = feature::SEG_MAX
            | feature::BLK_SIZE
            | feature::FLUSH
            | feature::TOPOLOGY
            | feature::MQ
            | feature::RING_INDIRECT_DESC
            | feature::RING_EVENT_IDX
            | feature::PROTOCOL_FEATURES
            | feature::VERSION_1;
        features |= match geometry.read_only {
            true => feature::RO,
            false => feature::DISCARD | feature::WRITE_ZEROES,
        };
        let mut config = Self {
            bytes: [0; CONFIG_BYTES],
            features,
        };
        let block = u64::from(geometry.min_block_bytes).clamp(SECTOR_BYTES, 4096);
        let best = u64::from(geometry.preferred_block_bytes).max(block);
        let align = (best / SECTOR_BYTES) as u32;
        let in_blocks = u32::try_from(best / block).unwrap_or(u32::MAX);
        // A chain has a header and a status beside its data.
        let segments = u32::from(options.queue_size.saturating_sub(2).max(1));
        config.resize(geometry.size_bytes);
        config.put(12, &segments.min(126).to_le_bytes());
        config.put(20, &(block as u32).to_le_bytes());
        config.put(24, &[in_blocks.ilog2() as u8, 0]);
        config.put(26, &(in_blocks.min(u16::MAX.into()) as u16).to_le_bytes());
        config.put(28, &in_blocks.to_le_bytes());
        config.put(34, &options.queues.to_le_bytes());
        config.put(36, &MAX_RANGE_SECTORS.to_le_bytes());
        config.put(40, &(MAX_RANGES as u32).to_le_bytes());
        config.put(44, &align.to_le_bytes());
        config.put(48, &MAX_RANGE_SECTORS.to_le_bytes());
        config.put(52, &(MAX_RANGES as u32).to_le_bytes());
        config.put(56, &[1]);
        config
    }

    /// A rest that is no whole sector is not seen.
    pub(super) fn resize(&mut self, size_bytes: u64) {
        self.put(0, &(size_bytes / SECTOR_BYTES).to_le_bytes());
    }

    /// `size` bytes from `offset` on; beyond the fields there are zeroes.
    pub(super) fn read(&self, offset: u32, size: u32) -> Vec<u8> {
        let start = offset as usize;
        let known = self.bytes.iter().skip(start).take(size as usize).copied();
        let mut out: Vec<u8> = known.collect();
        // The protocol's messages are short; a longer answer would be refused there.
        out.resize((size as usize).min(256), 0);
        out
    }

    fn put(&mut self, at: usize, field: &[u8]) {
        self.bytes[at..at + field.len()].copy_from_slice(field);
    }
}
