//! Opening a map: what is found in the file, what a crash left to be claimed, what is not believed.

use std::rc::Rc;

use futures_util::future::join_all;
use uuid::Uuid;

use super::fingerprint::Fingerprint;
use super::inner::{Inner, full_needed, shorten};
use super::mark::Mark;
use super::page::{PAGE_BYTES, Record, decode_index, decode_page};
use super::root::{DATA_START, MAX_HOT, ROOT_BYTES, Root, page_count};
use super::table::{Cool, Table, slot_place};
use super::tracker::Tracker;
use super::{DEFAULT_BLOCK_BYTES, MAX_BLOCK_BYTES, MIN_BLOCK_BYTES};
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::engine::IoBufMut;

/// Added to the stamp at each opening: what a crash left unfinished in the file has a lower one.
const STAMP_STEP: u64 = 1 << 32;
/// Index pages that are read beside each other.
const BATCH: u32 = 32;

/// How a map is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Block size of a map that is begun: a power of two from 4 KiB to 1 MiB. A map that exists
    /// keeps its own.
    pub block_bytes: u32,
    /// Pages of 4 KiB that are kept in memory. Pages that are to be written are kept beyond that,
    /// never more than `hot_pages`.
    pub cache_pages: usize,
    /// Pages that can be hot at once, from 8 to 4096. Each counts as changed, wholly or in part, if
    /// the machine fails.
    pub hot_pages: usize,
    /// Nothing is written; changes are refused.
    pub read_only: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// The map was closed, and the disk is as it was then.
    Continued,
    /// It was not closed: so many hot pages count as changed.
    Recovered {
        /// Pages of 504 blocks.
        pages: usize,
    },
    /// A new map, or a new generation of it: no older point is known.
    Fresh {
        /// Why.
        reason: String,
    },
}

/// What a map says of itself, without a look at its disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MapInfo {
    /// The disk's id.
    pub disk_id: Uuid,
    /// Its generation.
    pub generation: Uuid,
    /// Why the generation began.
    pub reason: String,
    /// The current epoch.
    pub epoch: u32,
    /// Size of the disk.
    pub size_bytes: u64,
    /// Block size.
    pub block_bytes: u32,
    /// It was closed.
    pub clean: bool,
    /// Hot pages.
    pub hot_pages: usize,
}

/// What a map was found to hold.
enum Found {
    Whole(Root, Box<Table>, usize),
    Unusable(Option<Root>, String),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_bytes: DEFAULT_BLOCK_BYTES,
            cache_pages: 4096,
            hot_pages: 2048,
            read_only: false,
        }
    }
}

/// Begins to track `disk` with the map in `map`, which may be empty. A map that is damaged or does
/// not belong to the disk as it is now is begun anew, and says so.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when `map` is a file of another kind, [`ErrorKind::Unsupported`] for
/// options out of range; and those of `map`. A map that would have to be begun anew but is
/// read-only is opened, and answers [`ErrorKind::FullNeeded`] to everything.
pub async fn open(
    disk: Rc<dyn Disk>,
    map: Rc<dyn Disk>,
    fingerprint: &Fingerprint,
    options: &Options,
) -> Result<(Tracker, Beginning)> {
    open_marked(disk, map, fingerprint, options, None).await
}

/// As [`open`], of an image that carries a mark of the tracker's: the `fingerprint` has what it
/// carries now. The mark is another one from here on.
///
/// # Errors
/// As [`open`]; those of `mark`.
pub async fn open_marked(
    disk: Rc<dyn Disk>,
    map: Rc<dyn Disk>,
    fingerprint: &Fingerprint,
    options: &Options,
    mark: Option<Rc<dyn Mark>>,
) -> Result<(Tracker, Beginning)> {
    let size_bytes = disk.geometry().size_bytes;
    options.check(size_bytes)?;
    let roots = read_roots(&*map).await?;
    let first_copy = roots.first_copy;
    let found = match roots.newest {
        Err(reason) => Found::Unusable(None, reason),
        Ok(root) => match not_of_disk(&root, size_bytes, fingerprint) {
            Some(reason) => Found::Unusable(Some(root), reason),
            None => read_table(&*map, root, size_bytes, options).await?,
        },
    };
    let (mut root, table, beginning) = match found {
        Found::Unusable(old, reason) => begin(old, &reason, size_bytes, options),
        Found::Whole(root, table, _) if root.clean => (root, *table, Beginning::Continued),
        Found::Whole(root, table, pages) => (root, *table, Beginning::Recovered { pages }),
    };
    root.size_bytes = size_bytes;
    root.next_size_bytes = size_bytes;
    if options.read_only {
        let inner = Inner::new(disk, map, table, root, first_copy, true);
        if let Beginning::Fresh { reason } = &beginning {
            *inner.void.borrow_mut() = Some(reason.clone());
        }
        let inner = Rc::new(inner);
        return Ok((Tracker { inner }, beginning));
    }
    root.session = Uuid::new_v4();
    root.clean = false;
    root.stamp = root.stamp.saturating_add(STAMP_STEP);
    root.prints = fingerprint.prints();
    if map.geometry().size_bytes < DATA_START {
        map.resize(DATA_START).await?;
    }
    let inner = Rc::new(Inner::new(disk, map, table, root, first_copy, false));
    inner.commit().await?;
    if matches!(beginning, Beginning::Recovered { pages } if pages > 0) {
        inner.settle(Cool::All).await?;
        inner.commit().await?;
    }
    if let Some(mark) = mark {
        inner.begin_marks(mark).await?;
    }
    Ok((Tracker { inner }, beginning))
}

/// What the map in `map` says of itself.
///
/// # Errors
/// [`ErrorKind::FullNeeded`] when there is no map or its root is damaged.
pub async fn peek(map: &dyn Disk) -> Result<MapInfo> {
    let root = read_roots(map).await?.newest;
    let root = root.map_err(|reason| full_needed(&reason))?;
    Ok(MapInfo {
        disk_id: root.disk_id,
        generation: root.generation,
        reason: root.reason,
        epoch: root.epoch,
        size_bytes: root.size_bytes,
        block_bytes: root.block_bytes,
        clean: root.clean,
        hot_pages: root.hot.len(),
    })
}

/// Opens a map to ask it, without its disk and without a change to it.
///
/// # Errors
/// As [`open`].
pub async fn inspect(map: Rc<dyn Disk>, fingerprint: &Fingerprint) -> Result<Tracker> {
    let size_bytes = peek(&*map).await.map_or(0, |info| info.size_bytes);
    let disk = Rc::new(super::offline::ClosedDisk {
        size_bytes,
        file: None,
    });
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    Ok(open(disk, map, fingerprint, &options).await?.0)
}

impl Options {
    fn check(&self, size_bytes: u64) -> Result<()> {
        let block = self.block_bytes;
        let valid = block.is_power_of_two()
            && (MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES).contains(&block)
            && (8..=MAX_HOT).contains(&self.hot_pages)
            && page_count(size_bytes, block) <= u64::from(u32::MAX);
        if valid {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a map of blocks of {block} bytes (4 KiB to 1 MiB, a power of two) with {} hot \
                 pages (8 to {MAX_HOT}) cannot track {size_bytes} bytes",
                self.hot_pages
            ),
        ))
    }

    fn table(&self, size_bytes: u64, block_bytes: u32) -> Table {
        Table::new(size_bytes, block_bytes, self.cache_pages, self.hot_pages)
    }
}

/// The newer root, or why there is none; and the copy that is to be written next.
struct Roots {
    newest: std::result::Result<Root, String>,
    first_copy: u64,
}

async fn read_roots(map: &dyn Disk) -> Result<Roots> {
    let size = map.geometry().size_bytes;
    let mut newest = Err(format!("{} is new", map.name()));
    let mut first_copy = 0;
    for copy in 0..2 {
        let start = copy * ROOT_BYTES as u64;
        if start >= size {
            break;
        }
        let len = (size - start).min(ROOT_BYTES as u64) as usize;
        let bytes = map.read(start, IoBufMut::zeroed(len)).await?;
        let head = bytes.get(..8).unwrap_or_default();
        if head.iter().all(|&byte| byte == 0) {
            continue;
        }
        if head != b"REEVEMAP" {
            return Err(Error::corrupt(format!(
                "{} is no generation map\nhelp: name another file for the map, or remove it",
                map.name()
            )));
        }
        let newer = |root: &Root| {
            newest
                .as_ref()
                .map_or(true, |other: &Root| root.seq > other.seq)
        };
        match Root::decode(&bytes) {
            Ok(root) if newer(&root) => {
                newest = Ok(root);
                first_copy = 1 - copy;
            }
            Err(error) if newest.is_err() => newest = Err(format!("{}: {error}", map.name())),
            _ => {}
        }
    }
    Ok(Roots { newest, first_copy })
}

/// Why the map is not of the disk as it is now.
fn not_of_disk(root: &Root, size_bytes: u64, fingerprint: &Fingerprint) -> Option<String> {
    let resized = !root.clean && size_bytes == root.next_size_bytes;
    if size_bytes != root.size_bytes && !resized {
        return Some(format!(
            "the disk was changed untracked: it has {size_bytes} bytes, not {}",
            root.size_bytes
        ));
    }
    if fingerprint.prints().is_empty() {
        return Some("nothing of the disk would show that it was changed untracked".into());
    }
    let difference = fingerprint.difference(&root.prints, !root.clean)?;
    Some(format!("the disk was changed untracked: {difference}"))
}

fn begin(
    old: Option<Root>,
    reason: &str,
    size_bytes: u64,
    options: &Options,
) -> (Root, Table, Beginning) {
    let root = Root {
        seq: old.as_ref().map_or(0, |old| old.seq),
        clean: false,
        disk_id: old.as_ref().map_or_else(Uuid::new_v4, |old| old.disk_id),
        generation: Uuid::new_v4(),
        session: Uuid::nil(),
        size_bytes,
        next_size_bytes: size_bytes,
        block_bytes: options.block_bytes,
        epoch: old
            .as_ref()
            .map_or(1, |old| old.epoch.checked_add(1).unwrap_or(1)),
        segments: 0,
        stamp: old.as_ref().map_or(0, |old| old.stamp),
        reason: shorten(reason),
        prints: Vec::new(),
        branches: Vec::new(),
        hot: Vec::new(),
    };
    let table = options.table(size_bytes, options.block_bytes);
    let reason = reason.to_owned();
    (root, table, Beginning::Fresh { reason })
}

/// Reads the index pages, and claims what a crash left unsure.
async fn read_table(
    map: &dyn Disk,
    root: Root,
    size_bytes: u64,
    options: &Options,
) -> Result<Found> {
    let mut table = options.table(size_bytes, root.block_bytes);
    let damaged = |what: String| format!("the map {} is damaged: {what}", map.name());
    if root.segments > 0 && map.geometry().size_bytes < slot_place(root.segments) {
        let reason = damaged("it is cut off".into());
        return Ok(Found::Unusable(Some(root), reason));
    }
    for start in (0..root.segments).step_by(BATCH as usize) {
        let end = root.segments.min(start.saturating_add(BATCH));
        let reads = (start..end).map(|slot| read_index(map, &root, slot));
        for (slot, read) in (start..end).zip(join_all(reads).await) {
            let known = read?;
            let adopted = known.is_some_and(|(number, newest, records)| {
                table.adopt(slot, number, newest, &records)
            });
            if !adopted {
                let reason = damaged(format!("index page {slot}"));
                return Ok(Found::Unusable(Some(root), reason));
            }
        }
    }
    let pages = root.hot.len();
    let count = page_count(size_bytes, root.block_bytes);
    if root.hot.iter().any(|hot| u64::from(hot.page) >= count) {
        let reason = damaged("a hot page is beyond the disk".into());
        return Ok(Found::Unusable(Some(root), reason));
    }
    for hot in &root.hot {
        let mut readable = true;
        if let Some((place, _)) = table.place_of(hot.page) {
            let bytes = map.read(place, IoBufMut::zeroed(PAGE_BYTES)).await?;
            match decode_page(&bytes, root.generation, hot.page, root.epoch) {
                Ok((entries, crc)) => table.trust(hot.page, crc, entries),
                Err(_) => readable = false,
            }
        }
        table.recover(*hot, root.epoch, readable);
    }
    Ok(Found::Whole(root, Box::new(table), pages))
}

/// The number of a slot's segment, its newer index page and what that says; `None` when both copies
/// are damaged.
async fn read_index(
    map: &dyn Disk,
    root: &Root,
    slot: u32,
) -> Result<Option<(u32, u64, Vec<Record>)>> {
    let bytes = map
        .read(slot_place(slot), IoBufMut::zeroed(2 * PAGE_BYTES))
        .await?;
    let copies = (0..).zip(bytes.chunks_exact(PAGE_BYTES));
    let copies = copies.filter_map(|(at, copy)| {
        let (label, records) = decode_index(copy, root.generation, root.epoch).ok()?;
        Some((label, at, records))
    });
    let newest = copies.max_by_key(|(label, ..)| label.stamp);
    Ok(newest.map(|(label, at, records)| (label.number, at, records)))
}
