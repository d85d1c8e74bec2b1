//! Numbers of the format: how the disk is cut into clusters, and what a table's entry says
//! (qcow2 specification, "Cluster mapping" and "Extended L2 Entries").

use crate::disk::{Error, Result};

/// L1 and L2 entries: what is pointed to has a reference count of exactly one.
pub(super) const COPIED: u64 = 1 << 63;
/// L2 entries: the cluster is compressed.
pub(super) const COMPRESSED: u64 = 1 << 62;
/// L2 entries: the cluster reads as zeroes.
pub(super) const ZERO: u64 = 1;
/// The bits of an offset in L1 and L2 entries.
pub(super) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The bits of an offset in entries of the refcount table.
pub(super) const BLOCK_MASK: u64 = !0x1ff;
/// Subclusters of a cluster with extended L2 entries.
pub(super) const SUBCLUSTERS: u64 = 32;
/// All subclusters read as zeroes.
pub(super) const ALL_ZERO: u64 = 0xffff_ffff_0000_0000;
/// Bytes of a table that are cached as one.
const SLICE_BYTES: u64 = 4096;

/// How an image cuts its disk and its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) refcount_order: u32,
    pub(super) extended: bool,
}

/// An entry of an L2 table; `bitmap` is zero without extended entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    pub(super) word: u64,
    pub(super) bitmap: u64,
}

/// Where compressed bytes are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Compressed {
    pub(super) offset_bytes: u64,
    pub(super) len_bytes: u64,
}

/// What a part of the disk is backed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The backing disk; zeroes where there is none.
    Backing,
    /// Nothing: it reads as zeroes.
    Zero,
    /// This place of the file, which may be written when nothing else refers to it.
    Data { host: u64, writable: bool },
    /// A compressed cluster.
    Compressed(Compressed),
}

impl Layout {
    pub(super) fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Bytes that are allocated together: a cluster, or a subcluster.
    pub(super) fn unit_bytes(&self) -> u64 {
        if self.extended {
            self.cluster_bytes() / SUBCLUSTERS
        } else {
            self.cluster_bytes()
        }
    }

    pub(super) fn entry_bytes(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// Entries of one L2 table.
    pub(super) fn l2_entries(&self) -> u64 {
        self.cluster_bytes() / self.entry_bytes()
    }

    /// Bytes of the disk that one L2 table describes.
    pub(super) fn l2_span_bytes(&self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }

    pub(super) fn slice_bytes(&self) -> u64 {
        self.cluster_bytes().min(SLICE_BYTES)
    }

    /// Bytes of the disk that one slice of an L2 table describes.
    pub(super) fn slice_span_bytes(&self) -> u64 {
        (self.slice_bytes() / self.entry_bytes()) << self.cluster_bits
    }

    /// Entries of the L1 table that a disk of `size_bytes` needs.
    pub(super) fn l1_entries(&self, size_bytes: u64) -> u64 {
        size_bytes.div_ceil(self.l2_span_bytes())
    }

    /// Reference counts in one block of them.
    pub(super) fn block_entries(&self) -> u64 {
        (self.cluster_bytes() * 8) >> self.refcount_order
    }

    /// The highest reference count.
    pub(super) fn max_refcount(&self) -> u64 {
        match 1_u32 << self.refcount_order {
            64 => u64::MAX,
            bits => (1 << bits) - 1,
        }
    }

    pub(super) fn clusters(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_bytes())
    }

    /// The byte within its L2 table where the entry of a guest offset is.
    pub(super) fn place_in_l2(&self, guest: u64) -> u64 {
        ((guest >> self.cluster_bits) % self.l2_entries()) * self.entry_bytes()
    }

    pub(super) fn in_cluster(&self, offset: u64) -> u64 {
        offset & (self.cluster_bytes() - 1)
    }

    pub(super) fn cluster_start(&self, offset: u64) -> u64 {
        offset & !(self.cluster_bytes() - 1)
    }

    /// Where a compressed cluster is, of its L2 entry.
    pub(super) fn compressed(&self, word: u64) -> Compressed {
        let shift = 62 - (self.cluster_bits - 8);
        let offset_bytes = word & ((1 << shift) - 1) & 0x00ff_ffff_ffff_ffff;
        let more = (word & (COMPRESSED - 1)) >> shift;
        Compressed {
            offset_bytes,
            len_bytes: (more + 1) * 512 - offset_bytes % 512,
        }
    }
}

impl Entry {
    /// The cluster in the file, zero when there is none.
    pub(super) fn host(self) -> u64 {
        if self.is_compressed() {
            0
        } else {
            self.word & OFFSET_MASK
        }
    }

    pub(super) fn is_compressed(self) -> bool {
        self.word & COMPRESSED != 0
    }

    /// It has a cluster that nothing else refers to.
    pub(super) fn is_own(self) -> bool {
        self.host() != 0 && self.word & COPIED != 0
    }

    /// Some byte of it is in the file.
    pub(super) fn has_data(self, layout: &Layout) -> bool {
        if self.is_compressed() {
            return true;
        }
        let allocated = if layout.extended {
            self.bitmap & 0xffff_ffff != 0
        } else {
            self.word & ZERO == 0
        };
        self.host() != 0 && allocated
    }

    /// Refuses what the format forbids; `guest` is for the message.
    pub(super) fn check(self, layout: &Layout, guest: u64) -> Result<()> {
        let wrong = |what: &str| {
            Err(Error::corrupt(format!(
                "the L2 entry {:#x} of the cluster at {guest:#x} {what}",
                self.word
            )))
        };
        if self.is_compressed() {
            return Ok(());
        }
        if layout.in_cluster(self.host()) != 0 {
            return wrong("points into the middle of a cluster");
        }
        if layout.extended {
            let (allocated, zero) = (self.bitmap & 0xffff_ffff, self.bitmap >> 32);
            if allocated & zero != 0 {
                return wrong("has subclusters that are both allocated and zero");
            }
            if allocated != 0 && self.host() == 0 {
                return wrong("has allocated subclusters and no place for them");
            }
        } else if self.word & ZERO != 0 && layout.version < 3 {
            return wrong("is a zero cluster, which version 2 does not have");
        }
        if self.host() == 0 && self.word & COPIED != 0 {
            return wrong("points to the image's header");
        }
        Ok(())
    }

    /// What is at `at` bytes into the cluster, and for how many bytes within it.
    pub(super) fn kind_at(self, layout: &Layout, at: u64) -> (Kind, u64) {
        let rest = layout.cluster_bytes() - at;
        if self.is_compressed() {
            return (Kind::Compressed(layout.compressed(self.word)), rest);
        }
        let data = Kind::Data {
            host: self.host() + at,
            writable: self.word & COPIED != 0,
        };
        if !layout.extended {
            let kind = match (self.word & ZERO != 0, self.host()) {
                (true, _) => Kind::Zero,
                (false, 0) => Kind::Backing,
                (false, _) => data,
            };
            return (kind, rest);
        }
        let unit = layout.unit_bytes();
        let first = at / unit;
        let state = |index: u64| {
            (
                self.bitmap >> index & 1,
                self.bitmap >> (index + SUBCLUSTERS) & 1,
            )
        };
        let here = state(first);
        let end = (first + 1..SUBCLUSTERS)
            .find(|index| state(*index) != here)
            .unwrap_or(SUBCLUSTERS);
        let kind = match here {
            (1, _) => data,
            (_, 1) => Kind::Zero,
            _ => Kind::Backing,
        };
        (kind, end * unit - at)
    }
}

impl Kind {
    /// Whether `next`, which follows after `len` bytes, can be part of the same request.
    pub(super) fn goes_on(self, len: u64, next: Self) -> bool {
        match (self, next) {
            (Self::Backing, Self::Backing) | (Self::Zero, Self::Zero) => true,
            (
                Self::Data { host, writable },
                Self::Data {
                    host: then,
                    writable: also,
                },
            ) => host + len == then && writable == also,
            _ => false,
        }
    }
}
