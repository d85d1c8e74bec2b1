//! Changing the disk's size: the BAT is moved when it must grow beyond its region, and the size in
//! the metadata changes through the log.

use std::cmp::Ordering;
use std::rc::Rc;

use super::bat::{self, Entry, State};
use super::commit::page_of;
use super::image::Image;
use super::layout::{self, MAX_DISK_BYTES, MIB, PAGE_BYTES, REGION_TABLE_OFFSETS, Region, put};
use super::lock::{COMMIT, RESIZE};
use super::log::Update;
use super::read::Part;
use super::regions;
use crate::disk::{Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::to_the_end;

const PAGE: u64 = PAGE_BYTES as u64;

impl Image {
    /// Changes the disk's size; what is new reads as zeroes.
    pub(super) async fn resize(self: &Rc<Self>, size: u64) -> Result<()> {
        if self.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the disk is read-only"));
        }
        let sector = u64::from(self.metadata.logical_bytes);
        if size == 0 || size > MAX_DISK_BYTES || !size.is_multiple_of(sector) {
            return Err(unsupported(format!(
                "a VHDX disk of {size} bytes: it must be a multiple of {sector}, above 0 and at \
                 most 64 TiB"
            )));
        }
        self.begin().await?;
        let image = Rc::clone(self);
        to_the_end(async move {
            let _alone = image.locks.exclusive(RESIZE).await;
            match size.cmp(&image.size.get()) {
                Ordering::Equal => Ok(()),
                Ordering::Greater => image.grow(size).await,
                Ordering::Less => image.shrink(size).await,
            }
        })
        .await
    }

    async fn grow(self: &Rc<Self>, size: u64) -> Result<()> {
        let old = self.size.get();
        let parent = self.parent.as_ref();
        if parent.is_some_and(|parent| parent.disk.geometry().size_bytes > old) {
            return Err(unsupported(
                "a differencing disk that is shorter than its parent cannot grow: what the parent \
                 has there would appear"
                    .into(),
            ));
        }
        self.zero_tail(old).await?;
        let count = bat::entry_count(&self.metadata, size);
        bat::check_count(count)?;
        self.grow_bat(count).await?;
        if self.metadata.leave_allocated {
            let len = self.bat.block_bytes;
            for block in old.div_ceil(len)..size.div_ceil(len) {
                let offset = self.allocate(len).await?;
                self.make_room().await?;
                let state = State::Present;
                self.mark(self.bat.set_payload(block, Entry { state, offset }));
            }
        }
        self.commit(self.size_pages(size).await?).await?;
        self.size.set(size);
        Ok(())
    }

    async fn shrink(self: &Rc<Self>, size: u64) -> Result<()> {
        if self.metadata.leave_allocated || self.metadata.locator.is_some() {
            return Err(unsupported(
                "only dynamic VHDX disks can shrink: make a smaller disk and copy".into(),
            ));
        }
        let old = self.size.replace(size);
        let cut = async {
            let len = self.bat.block_bytes;
            for block in size.div_ceil(len)..old.div_ceil(len) {
                if self.bat.payload(block)?.in_file() || self.locks.is_held(block) {
                    self.drop_block(block, State::NotPresent).await?;
                }
            }
            self.zero_tail(size).await?;
            self.commit(self.size_pages(size).await?).await
        };
        if let Err(error) = cut.await {
            self.size.set(old);
            return Err(error);
        }
        self.bat.resize(bat::entry_count(&self.metadata, size))
    }

    /// Zeroes what the last block has beyond the disk's end.
    async fn zero_tail(&self, end: u64) -> Result<()> {
        let within = end % self.bat.block_bytes;
        if within == 0 {
            return Ok(());
        }
        let part = Part {
            block: end / self.bat.block_bytes,
            within,
            len: self.bat.block_bytes - within,
        };
        let _alone = self.locks.exclusive(part.block).await;
        let entry = self.bat.payload(part.block)?;
        if entry.in_file() {
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: false,
                fast_only: false,
            };
            let place = Extent::new(entry.offset + part.within, part.len);
            self.file.write_zeroes(place, how).await?;
        }
        // The new size must not become durable before the zeroes.
        self.barrier.set(true);
        Ok(())
    }

    /// Has the BAT have room for more entries, which are all of blocks that are not present.
    async fn grow_bat(self: &Rc<Self>, count: u64) -> Result<()> {
        let region = self.bat.region();
        let wanted = count * bat::ENTRY_BYTES;
        if wanted > region.len {
            return self.move_bat(count).await;
        }
        // No block of the disk is described there yet, so it needs no log.
        let used = self.bat.count() * bat::ENTRY_BYTES;
        let (start, end) = (used.next_multiple_of(PAGE), wanted.next_multiple_of(PAGE));
        if start < end {
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: false,
                fast_only: false,
            };
            let place = Extent::new(region.offset + start, end - start);
            self.file.write_zeroes(place, how).await?;
            self.barrier.set(true);
        }
        if !used.is_multiple_of(PAGE) {
            self.mark(region.offset + used / PAGE * PAGE);
        }
        self.bat.resize(count)
    }

    /// Copies the BAT to a larger place and has the region tables point there.
    async fn move_bat(self: &Rc<Self>, count: u64) -> Result<()> {
        let len = (count * bat::ENTRY_BYTES).next_multiple_of(MIB);
        let offset = self.allocate(len).await?;
        let new = Region { offset, len };
        let _alone = self.locks.exclusive(COMMIT).await;
        let old = self.bat.region();
        let copied = async {
            self.usable()?;
            let used = self.bat.count() * bat::ENTRY_BYTES;
            for at in (0..used).step_by(PAGE_BYTES) {
                let page = self.bat.page(at);
                self.file
                    .write(new.offset + at, page, Durability::Volatile)
                    .await?;
            }
            let mut table = regions::read_table(&*self.file).await?;
            regions::move_bat(&mut table, new);
            let table = table.freeze();
            let updates: Vec<Update> = (0..regions::used_bytes(&table))
                .step_by(PAGE_BYTES)
                .flat_map(|at| {
                    let page = table.slice(at..at + PAGE_BYTES);
                    REGION_TABLE_OFFSETS.map(|table_at| Update {
                        offset: table_at + at as u64,
                        page: page.clone(),
                    })
                })
                .collect();
            Ok(updates)
        };
        let updates = match copied.await {
            Ok(updates) => updates,
            Err(error) => {
                self.space.release(new);
                return Err(error);
            }
        };
        self.bat.moved(new);
        self.bat.resize(count)?;
        // Pages that changed while they were copied.
        let moved = |page: u64| {
            if old.contains(page) {
                page - old.offset + new.offset
            } else {
                page
            }
        };
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        self.dirty.borrow_mut().extend(dirty.into_iter().map(moved));
        self.barrier.set(true);
        let result = self.commit_locked(updates).await;
        result.map_err(|error| self.break_down(error))?;
        // Entries of the log change the old place: it must not be used while they may be replayed.
        self.empty_log().await?;
        self.space.release(old);
        Ok(())
    }

    /// The pages that hold the disk's size, with another one in them.
    async fn size_pages(&self, size: u64) -> Result<Vec<Update>> {
        let at = self.metadata.disk_bytes_at;
        let first = page_of(at);
        let len = page_of(at + 7) + PAGE - first;
        let mut bytes = layout::read_at(&*self.file, "the metadata", first, len as usize).await?;
        put(&mut bytes, (at - first) as usize, &size.to_le_bytes());
        let bytes = bytes.freeze();
        let pages = (0..bytes.len()).step_by(PAGE_BYTES).map(|page| Update {
            offset: first + page as u64,
            page: bytes.slice(page..page + PAGE_BYTES),
        });
        Ok(pages.collect())
    }
}

fn unsupported(why: String) -> Error {
    Error::new(ErrorKind::Unsupported, why)
}
