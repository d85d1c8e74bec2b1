//! Whether an image's tables agree with each other; and repair of reference counts.

use std::collections::BTreeMap;

use super::bitmap::MAX_TABLE_BYTES;
use super::header::Header;
use super::image::Image;
use super::layout::{COPIED, Entry, OFFSET_MASK};
use super::refcount::words;
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::IoBufMut;

/// Clusters of a file that are counted at most; each takes 4 bytes.
const MAX_CLUSTERS: u64 = 1 << 28;
/// Messages that are kept.
const MAX_MESSAGES: usize = 32;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Clusters that are counted as used and are not: lost space, no harm.
    pub leaks: u64,
    /// What endangers data: clusters in use that are counted too low, wrong offsets and flags.
    pub corruptions: u64,
    /// Clusters of the disk that have data or a place in the file.
    pub allocated_clusters: u64,
    /// The first findings.
    pub messages: Vec<String>,
}

/// References to each cluster of the file.
struct Walk<'a> {
    image: &'a Image,
    references: Vec<u32>,
    /// L2 tables by their offset: each is read once, however many lead to it.
    tables: BTreeMap<u64, Uses>,
    /// Flags that say that there is one reference are compared with the counts.
    flags: bool,
    found: Check,
}

/// What leads to an L2 table.
#[derive(Debug, Clone, Copy)]
struct Uses {
    /// L1 entries, those of snapshots too.
    all: u32,
    /// Those of the disk.
    active: u32,
    /// The first entry's number.
    index: u64,
}

impl Check {
    /// Neither leaks nor corruptions.
    pub fn is_clean(&self) -> bool {
        self.leaks == 0 && self.corruptions == 0
    }

    fn note(&mut self, message: String) {
        if self.messages.len() < MAX_MESSAGES {
            self.messages.push(message);
        }
    }

    fn corrupt(&mut self, message: String) {
        self.corruptions += 1;
        self.note(message);
    }
}

/// Compares the references in an image with its reference counts; nothing is changed.
pub(super) async fn check(image: &Image) -> Result<Check> {
    let mut walk = Walk::new(image, true)?;
    walk.everything().await?;
    for cluster in 0..walk.references.len() as u64 {
        let count = image.refcounts.count(&image.file, cluster).await;
        let references = u64::from(walk.references[cluster as usize]);
        let offset = cluster << image.layout.cluster_bits;
        match count {
            Err(error) => walk.found.corrupt(error.to_string()),
            Ok(count) if count < references => walk.found.corrupt(format!(
                "the cluster at {offset:#x} is counted {count} times, used {references} times"
            )),
            Ok(count) if count > references => {
                walk.found.leaks += 1;
                walk.found.note(format!(
                    "the cluster at {offset:#x} is counted {count} times, used {references} times"
                ));
            }
            Ok(_) => {}
        }
    }
    Ok(walk.found)
}

/// Makes all reference counts what they should be.
pub(super) async fn repair(image: &Image) -> Result<()> {
    // Flags may disagree with counts that are wrong; offsets must not be.
    let mut walk = Walk::new(image, false)?;
    walk.everything().await?;
    if walk.found.corruptions > 0 {
        let what = walk.found.messages.first().map_or("", String::as_str);
        return Err(Error::corrupt(format!(
            "it is marked dirty, and more is wrong than its reference counts: {what}\n\
             help: `qemu-img convert` makes a new image of what can be read"
        )));
    }
    for cluster in 0..walk.references.len() as u64 {
        let references = u64::from(walk.references[cluster as usize]);
        if image.refcounts.count(&image.file, cluster).await? != references {
            let place = image.refcounts.missing_block(cluster)?;
            if place.is_some_and(|place| walk.references[place as usize] != 0) {
                return Err(Error::corrupt(format!(
                    "the refcount block of cluster {cluster:#x} is lost; \
                     help: `qemu-img check -r all`"
                )));
            }
            image
                .refcounts
                .correct(&image.file, cluster, references)
                .await?;
        }
    }
    Ok(())
}

impl<'a> Walk<'a> {
    fn new(image: &'a Image, flags: bool) -> Result<Self> {
        let clusters = image.layout.clusters(image.file.size_bytes());
        if clusters > MAX_CLUSTERS {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the file has {clusters} clusters, too many to check"),
            ));
        }
        Ok(Self {
            image,
            references: vec![0; clusters as usize],
            tables: BTreeMap::new(),
            flags,
            found: Check::default(),
        })
    }

    fn refer(&mut self, offset: u64, len: u64, what: &str) {
        self.refer_often(offset, len, 1, what);
    }

    fn refer_often(&mut self, offset: u64, len: u64, times: u32, what: &str) {
        let bits = self.image.layout.cluster_bits;
        let last = offset.saturating_add(len.max(1) - 1) >> bits;
        for cluster in offset >> bits..=last {
            let Some(count) = self.references.get_mut(cluster as usize) else {
                self.found.corrupt(format!(
                    "{what} at {offset:#x} is beyond the end of the file"
                ));
                return;
            };
            *count = count.saturating_add(times);
        }
    }

    async fn everything(&mut self) -> Result<()> {
        let image = self.image;
        let header: Header = image.header.borrow().clone();
        let cluster = image.layout.cluster_bytes();
        self.refer(0, 1, "the header");
        let l1_len = u64::from(header.l1_entries) * 8;
        if l1_len > 0 {
            self.refer(header.l1_offset, l1_len, "the L1 table");
        }
        self.refer(
            header.reftable_offset,
            header.reftable_bytes(),
            "the refcount table",
        );
        for block in image.refcounts.blocks() {
            if !block.is_multiple_of(cluster) {
                let message = format!("the refcount block at {block:#x} is not aligned");
                self.found.corrupt(message);
            } else if block != 0 {
                self.refer(block, cluster, "a refcount block");
            }
        }
        let active = image.l1.borrow().clone();
        self.table(&active, true).await;
        let mut snapshots_bytes = 0;
        for snapshot in &image.snapshots {
            snapshots_bytes += snapshot.entry_bytes;
            let len = u64::from(snapshot.l1_entries) * 8;
            if len == 0 {
                continue;
            }
            self.refer(snapshot.l1_offset, len, "a snapshot's L1 table");
            let buf = IoBufMut::zeroed(len as usize);
            let table = image.file.read_table(snapshot.l1_offset, buf).await?;
            self.table(&words(&table), false).await;
        }
        self.l2_tables().await?;
        if snapshots_bytes > 0 {
            self.refer(
                header.snapshots_offset,
                snapshots_bytes,
                "the table of snapshots",
            );
        }
        self.bitmaps().await
    }

    async fn bitmaps(&mut self) -> Result<()> {
        let image = self.image;
        let entries = image.directory().await?;
        if let (Some((offset, len)), false) = (image.directory_place(), entries.is_empty()) {
            self.refer(offset, len, "the bitmap directory");
        }
        // Tables that are apart are in the file together.
        let mut left = image.file.size_bytes();
        for entry in entries {
            let len = u64::from(entry.table_entries) * 8;
            let Some(rest) = left.checked_sub(len).filter(|_| len <= MAX_TABLE_BYTES) else {
                let message = format!("the bitmap tables up to `{}` are too large", entry.name);
                self.found.corrupt(message);
                break;
            };
            left = rest;
            self.refer(entry.table_offset, len, "a bitmap table");
            let buf = IoBufMut::zeroed(len as usize);
            let table = image.file.read_table(entry.table_offset, buf).await?;
            for word in words(&table) {
                if word & OFFSET_MASK != 0 {
                    self.refer(
                        word & OFFSET_MASK,
                        image.layout.cluster_bytes(),
                        "bitmap data",
                    );
                }
            }
        }
        Ok(())
    }

    /// Notes which L2 tables an L1 table leads to.
    async fn table(&mut self, l1: &[u64], active: bool) {
        let image = self.image;
        let layout = image.layout;
        for (index, word) in l1.iter().enumerate() {
            let offset = word & OFFSET_MASK;
            if offset == 0 {
                continue;
            }
            if layout.in_cluster(offset) != 0 {
                let message = format!("entry {index} of an L1 table, {word:#x}, is not aligned");
                self.found.corrupt(message);
                continue;
            }
            self.refer(offset, layout.cluster_bytes(), "an L2 table");
            if offset >= image.file.size_bytes() {
                continue;
            }
            if active {
                self.flag(offset, word & COPIED != 0, "L1").await;
            }
            let uses = self.tables.entry(offset).or_insert(Uses {
                all: 0,
                active: 0,
                index: index as u64,
            });
            uses.all = uses.all.saturating_add(1);
            uses.active = uses.active.saturating_add(u32::from(active));
        }
    }

    async fn l2_tables(&mut self) -> Result<()> {
        let layout = self.image.layout;
        for (offset, uses) in std::mem::take(&mut self.tables) {
            let buf = IoBufMut::zeroed(layout.cluster_bytes() as usize);
            let table = words(&self.image.file.read_table(offset, buf).await?);
            let step = layout.entry_bytes() as usize / 8;
            for (number, entry) in table.chunks_exact(step).enumerate() {
                let entry = Entry {
                    word: entry[0],
                    bitmap: entry.get(1).copied().unwrap_or(0),
                };
                let number = uses.index * layout.l2_entries() + number as u64;
                self.entry(entry, number << layout.cluster_bits, uses).await;
            }
        }
        Ok(())
    }

    async fn entry(&mut self, entry: Entry, guest: u64, uses: Uses) {
        let layout = self.image.layout;
        if let Err(error) = entry.check(&layout, guest) {
            self.found.corrupt(error.to_string());
            return;
        }
        if entry.is_compressed() {
            let place = layout.compressed(entry.word);
            self.refer_compressed(place.offset_bytes, place.len_bytes, uses.all);
            self.found.allocated_clusters += u64::from(uses.active);
        } else if entry.host() != 0 {
            self.refer_often(entry.host(), layout.cluster_bytes(), uses.all, "data");
            self.found.allocated_clusters += u64::from(uses.active);
            if uses.active > 0 {
                let copied = entry.word & COPIED != 0;
                self.flag(entry.host(), copied, "L2").await;
            }
        }
    }

    /// A compressed cluster may state sectors beyond the end of the file.
    fn refer_compressed(&mut self, offset: u64, len: u64, times: u32) {
        let end = self.image.file.size_bytes();
        let inside = len.min(end.saturating_sub(offset)).max(1);
        let bits = self.image.layout.cluster_bits;
        let last = (offset + inside - 1) >> bits;
        if (offset + len - 1) >> bits > last + 1 {
            let message = format!("compressed data at {offset:#x} is beyond the end of the file");
            self.found.corrupt(message);
        }
        self.refer_often(offset, inside, times, "compressed data");
    }

    async fn flag(&mut self, offset: u64, copied: bool, table: &str) {
        if !self.flags {
            return;
        }
        let cluster = offset >> self.image.layout.cluster_bits;
        let count = self.image.refcounts.count(&self.image.file, cluster).await;
        let Ok(count) = count else { return };
        if copied != (count == 1) {
            self.found.corrupt(format!(
                "the {table} entry of the cluster at {offset:#x} is wrong about its one reference: \
                 it has {count}"
            ));
        }
    }
}
