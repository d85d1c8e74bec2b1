//! Writing blocks.

use std::rc::Rc;

use futures_util::future::join_all;

use super::bat::{Entry, State};
use super::bitmap::all_set;
use super::image::Image;
use super::layout::{MIB, Region};
use super::lock::GROW;
use super::read::Part;
use crate::disk::{Durability, Extent, Result, Zeroes};
use crate::engine::to_the_end;
use crate::engine::{IoBuf, IoBufMut};

impl Image {
    /// Writes data.
    pub(super) async fn write(
        self: &Rc<Self>,
        offset: u64,
        data: IoBuf,
        how: Durability,
    ) -> Result<()> {
        let extent = Extent::new(offset, data.len() as u64);
        self.geometry().check_write(extent)?;
        self.begin().await?;
        let direct = how == Durability::Durable && !self.unsettled();
        let how_parts = if direct { how } else { Durability::Volatile };
        let mut parts = self.parts(extent);
        match parts.next() {
            None => {}
            Some(only) if only.len == extent.len_bytes => {
                self.write_part(only, data, how_parts).await?;
            }
            Some(first) => {
                let mut at = 0;
                let writes = std::iter::once(first).chain(parts).map(|part| {
                    let end = at + part.len as usize;
                    let data = data.slice(at..end);
                    at = end;
                    self.write_part(part, data, how_parts)
                });
                let results = join_all(writes).await;
                results.into_iter().collect::<Result<()>>()?;
            }
        }
        if how == Durability::Durable && (!direct || self.unsettled()) {
            self.flush().await?;
        }
        Ok(())
    }

    async fn write_part(self: &Rc<Self>, part: Part, data: IoBuf, how: Durability) -> Result<()> {
        let guard = self.locks.shared(part.block).await;
        match self.place(part).await {
            Ok(Some(offset)) => {
                let answer = self.file.write(offset, data, how).await;
                guard.done();
                return answer;
            }
            Ok(None) => guard.done(),
            Err(error) => {
                guard.done();
                return Err(error);
            }
        }
        let image = Rc::clone(self);
        to_the_end(async move { image.write_alone(part, data, how).await }).await
    }

    /// Where a part can be written without a change of metadata.
    async fn place(&self, part: Part) -> Result<Option<u64>> {
        let entry = self.bat.payload(part.block)?;
        let whole = match entry.state {
            State::Present => true,
            State::Partial => {
                let sectors = self.bitmaps.sectors(part.within, part.len);
                all_set(&self.bits(part.block, sectors).await?)
            }
            _ => false,
        };
        Ok(whole.then_some(entry.offset + part.within))
    }

    /// Writes a part that changes what its block is.
    async fn write_alone(self: &Rc<Self>, part: Part, data: IoBuf, how: Durability) -> Result<()> {
        let _alone = self.locks.exclusive(part.block).await;
        // The disk may have become smaller while this waited.
        let start = part.block * self.bat.block_bytes + part.within;
        self.geometry().check(Extent::new(start, part.len))?;
        let entry = self.bat.payload(part.block)?;
        match entry.state {
            State::Present => self.file.write(entry.offset + part.within, data, how).await,
            State::Partial => self.write_partial(part, entry.offset, data).await,
            State::NotPresent if self.shows_parent(part) => {
                self.write_over_parent(part, data).await
            }
            _ => {
                let len = self.bat.block_bytes;
                let offset = self.allocate(len).await?;
                let place = Region { offset, len };
                let written = self.file.write(offset + part.within, data, how).await;
                self.publish(part.block, place, State::Present, written)
                    .await
            }
        }
    }

    /// Whether some of a block that is not present would be the parent's after a write.
    fn shows_parent(&self, part: Part) -> bool {
        let start = part.block * self.bat.block_bytes;
        let end = (start + self.bat.block_bytes).min(self.size.get());
        let covered = part.within == 0 && start + part.len >= end;
        let parent = self.parent.as_ref();
        !covered && parent.is_some_and(|parent| parent.disk.geometry().size_bytes > start)
    }

    /// Writes the first sectors of a block that the parent has.
    async fn write_over_parent(self: &Rc<Self>, part: Part, data: IoBuf) -> Result<()> {
        self.ensure_bitmap(part.block).await?;
        let len = self.bat.block_bytes;
        let offset = self.allocate(len).await?;
        let place = Region { offset, len };
        let bits = match self.block_bits(part.block).await {
            Ok(bits) => bits,
            Err(error) => {
                self.space.release(place);
                return Err(error);
            }
        };
        self.make_room()
            .await
            .inspect_err(|_| self.space.release(place))?;
        // Bits of a block that was not present mean nothing.
        self.set_bits(&bits, false);
        self.publish(part.block, place, State::Partial, Ok(()))
            .await?;
        self.write_partial(part, offset, data).await
    }

    /// Writes sectors of a block that is partially present and sets their bits.
    async fn write_partial(self: &Rc<Self>, part: Part, offset: u64, data: IoBuf) -> Result<()> {
        let sectors = self.bitmaps.sectors(part.within, part.len);
        let bits = self.bits(part.block, sectors.clone()).await?;
        let all = self.block_bits(part.block).await?;
        let sector = u64::from(self.metadata.logical_bytes);
        let whole = Part {
            within: sectors.start * sector,
            len: (sectors.end - sectors.start) * sector,
            ..part
        };
        let data = if whole.len == part.len {
            data
        } else {
            let buf = IoBufMut::zeroed(whole.len as usize);
            let mut buf = self.read_partial(whole, offset, buf).await?;
            let at = (part.within - whole.within) as usize;
            buf[at..at + data.len()].copy_from_slice(&data);
            buf.freeze()
        };
        self.file
            .write(offset + whole.within, data, Durability::Volatile)
            .await?;
        self.make_room().await?;
        self.set_bits(&bits, true);
        if all_set(&all) {
            let state = State::Present;
            self.mark(self.bat.set_payload(part.block, Entry { state, offset }));
        }
        Ok(())
    }

    /// Has the BAT point to a new block, if it could be written.
    async fn publish(
        self: &Rc<Self>,
        block: u64,
        place: Region,
        state: State,
        written: Result<()>,
    ) -> Result<()> {
        let ready = match written {
            Ok(()) => self.make_room().await,
            Err(error) => Err(error),
        };
        match ready {
            Ok(()) => {
                let offset = place.offset;
                self.mark(self.bat.set_payload(block, Entry { state, offset }));
                Ok(())
            }
            Err(error) => {
                self.space.release(place);
                Err(error)
            }
        }
    }

    /// Finds space that reads as zeroes: used before and free now, or at the end of the file.
    pub(super) async fn allocate(&self, len: u64) -> Result<u64> {
        debug_assert_eq!(len % MIB, 0, "blocks are whole");
        if let Some(offset) = self.space.take(len) {
            let how = Zeroes {
                durability: Durability::Volatile,
                may_unmap: true,
                fast_only: false,
            };
            let zeroed = self.file.write_zeroes(Extent::new(offset, len), how).await;
            self.barrier.set(true);
            return match zeroed {
                Ok(()) => Ok(offset),
                Err(error) => {
                    self.space.release(Region { offset, len });
                    Err(error)
                }
            };
        }
        let _alone = self.locks.exclusive(GROW).await;
        let offset = self.space.end_bytes();
        self.file.resize(offset + len).await?;
        self.space.grown(len);
        Ok(offset)
    }
}
