//! An open image: its tables, and how it is opened.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::rc::Rc;

use super::cache::Cache;
use super::commit::Commits;
use super::compress::Recent;
use super::file::ImageFile;
use super::header::{self, Header, SECTOR_BYTES};
use super::layout::{Layout, OFFSET_MASK};
use super::refcount::{Refcounts, Run, words};
use super::requests::Requests;
use super::snapshot::{self, Snapshot};
use super::tracked::Tracked;
use super::{OpenOptions, check};
use crate::disk::Ranges;
use crate::disk::{Disk, Error, ErrorKind, Extent, Geometry, Result};
use crate::engine::{IoBuf, IoBufMut};

/// Memory for L2 tables: enough for 256 GiB of disk with clusters of 64 KiB.
const L2_CACHE_BYTES: u64 = 32 << 20;

/// An open image.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) file: ImageFile,
    pub(super) backing: Option<Rc<dyn Disk>>,
    pub(super) layout: Layout,
    pub(super) header: RefCell<Header>,
    /// The first sector as it is in the file.
    pub(super) sector: RefCell<Vec<u8>>,
    pub(super) header_lock: Ranges,
    /// What a part of the first cluster was before a write of it that may not have succeeded.
    pub(super) header_undo: RefCell<Vec<(u64, IoBuf)>>,
    pub(super) size_bytes: Cell<u64>,
    pub(super) read_only: bool,
    pub(super) l1: RefCell<Vec<u64>>,
    pub(super) l1_offset: Cell<u64>,
    /// Sectors of the L1 table that were changed.
    pub(super) l1_changed: RefCell<BTreeSet<u64>>,
    pub(super) l2: Cache,
    /// One task at a time makes L2 tables.
    pub(super) l2_making: Ranges,
    pub(super) refcounts: Refcounts,
    /// Clusters of the disk whose place is being changed.
    pub(super) changing: Ranges,
    pub(super) requests: Requests,
    pub(super) commits: Commits,
    /// Clusters that the tables in memory do not refer to any more, but the durable ones may.
    pub(super) freed: RefCell<Vec<Run>>,
    /// Clusters to which nothing durable refers, by the generation of requests that may know them.
    pub(super) quarantine: RefCell<VecDeque<(u64, Vec<Run>)>>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) recent: Recent,
    pub(super) tracked: Tracked,
}

impl Image {
    /// Opens an image. Only one that is being made may lack the disk that it stands on.
    pub(super) async fn open(
        disk: Rc<dyn Disk>,
        options: OpenOptions,
        is_new: bool,
    ) -> Result<Rc<Self>> {
        let file = ImageFile::new(disk);
        let read_only = options.read_only || file.disk().geometry().read_only;
        let (header, sector) = read_header(&file).await?;
        refuse_to_write(&header, read_only)?;
        if let (Some(name), None, false) = (&header.backing, &options.backing, is_new) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "it stands on `{}`, which was not given",
                    name.escape_debug()
                ),
            ));
        }
        let layout = header.layout();
        let len = u64::from(header.l1_entries) * 8;
        let l1 = match len {
            0 => Vec::new(),
            _ => {
                let buf = IoBufMut::zeroed(len as usize);
                let bytes = file.read_table(header.l1_offset, buf).await;
                words(&bytes.map_err(|error| error.context("the L1 table"))?)
            }
        };
        let refcounts = Refcounts::load(&file, &header).await?;
        let snapshots = snapshot::load(&file, &header).await?;
        let image = Self {
            layout,
            backing: options.backing,
            size_bytes: Cell::new(header.size_bytes),
            read_only,
            l1_offset: Cell::new(header.l1_offset),
            l1: RefCell::new(l1),
            l1_changed: RefCell::default(),
            l2: Cache::new(layout.slice_bytes(), L2_CACHE_BYTES),
            l2_making: Ranges::default(),
            refcounts,
            changing: Ranges::default(),
            requests: Requests::default(),
            commits: Commits::default(),
            freed: RefCell::default(),
            quarantine: RefCell::default(),
            snapshots,
            recent: Recent::default(),
            tracked: Tracked::default(),
            header: RefCell::new(header),
            sector: RefCell::new(sector),
            header_lock: Ranges::default(),
            header_undo: RefCell::default(),
            file,
        };
        let metadata = image.metadata_clusters();
        image.refcounts.metadata.replace(metadata);
        let image = Rc::new(image);
        if !read_only {
            image.prepare_to_write().await?;
        }
        Ok(image)
    }

    /// Does what the format asks of who will write.
    async fn prepare_to_write(self: &Rc<Self>) -> Result<()> {
        if self.header.borrow().incompatible & header::DIRTY != 0 {
            check::repair(self).await?;
            self.commit().await?;
            self.change_header(|header| header.incompatible &= !header::DIRTY)
                .await?;
        }
        self.start_tracking().await
    }

    /// Clusters of headers and tables.
    fn metadata_clusters(&self) -> HashSet<u64> {
        let header = self.header.borrow();
        let bits = self.layout.cluster_bits;
        let mut set = HashSet::from([0]);
        let mut add = |offset: u64, len: u64| {
            let first = offset >> bits;
            set.extend(first..first + self.layout.clusters(len));
        };
        add(header.l1_offset, u64::from(header.l1_entries) * 8);
        add(header.reftable_offset, header.reftable_bytes());
        for snapshot in &self.snapshots {
            add(snapshot.l1_offset, u64::from(snapshot.l1_entries) * 8);
        }
        let table = self.snapshots.iter().map(|snapshot| snapshot.entry_bytes);
        add(header.snapshots_offset, table.sum());
        for offset in self.refcounts.blocks() {
            if offset != 0 {
                add(offset, 1);
            }
        }
        for entry in self.l1.borrow().iter() {
            if entry & OFFSET_MASK != 0 {
                add(entry & OFFSET_MASK, 1);
            }
        }
        set
    }

    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes.get(),
            min_block_bytes: 1,
            preferred_block_bytes: 4096,
            read_only: self.read_only,
        }
    }

    /// Bytes of the backing disk that show through.
    pub(super) fn backing_bytes(&self) -> u64 {
        match &self.backing {
            Some(disk) => disk.geometry().size_bytes.min(self.size_bytes.get()),
            None => 0,
        }
    }

    /// Refuses a write of the file that would destroy metadata, or grow the file.
    pub(super) fn refuse_overlap(&self, host: u64, len: u64) -> Result<()> {
        let bits = self.layout.cluster_bits;
        let metadata = self.refcounts.metadata.borrow();
        let size = self.file.size_bytes();
        if self.layout.cluster_start(host + len - 1) >= size {
            return Err(Error::corrupt(format!(
                "data at {host:#x} is beyond the end of the file of {size} bytes"
            )));
        }
        let last = (host + len - 1) >> bits;
        match (host >> bits..=last).find(|cluster| metadata.contains(cluster)) {
            None => Ok(()),
            Some(cluster) => Err(Error::corrupt(format!(
                "data at {host:#x} overlaps metadata at {:#x}; help: `qemu-img check`",
                cluster << bits
            ))),
        }
    }

    /// Gives clusters back once nothing durable refers to them.
    pub(super) fn free(&self, host: u64, count: u64) {
        let first = host >> self.layout.cluster_bits;
        let mut freed = self.freed.borrow_mut();
        if let Some(last) = freed.last_mut()
            && last.first + last.count == first
        {
            last.count += count;
            return;
        }
        freed.push(Run { first, count });
    }

    pub(super) fn extent_check(&self, extent: Extent) -> Result<()> {
        self.geometry().check_write(extent)
    }
}

/// Reads the header, and the first sector as it is.
pub(super) async fn read_header(file: &ImageFile) -> Result<(Header, Vec<u8>)> {
    let size = file.size_bytes();
    let head = file.read_table(0, IoBufMut::zeroed(SECTOR_BYTES)).await?;
    let cluster = 1_u64 << Header::peek_cluster_bits(&head)?;
    let len = cluster.min(size).max(SECTOR_BYTES as u64);
    let bytes = file.read_table(0, IoBufMut::zeroed(len as usize)).await?;
    Ok((Header::parse(&bytes)?, head.to_vec()))
}

fn refuse_to_write(header: &Header, read_only: bool) -> Result<()> {
    if !read_only && header.incompatible & header::CORRUPT != 0 {
        return Err(Error::new(
            ErrorKind::ReadOnly,
            "the image is marked corrupt; help: open it read-only, or `qemu-img check -r all`",
        ));
    }
    Ok(())
}
