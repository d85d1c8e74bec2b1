//! Zeroes and discards: whole blocks give their space back, parts of blocks are zeroed in place.

use std::rc::Rc;

use super::bat::{Entry, State};
use super::image::Image;
use super::layout::{MIB, Region};
use super::read::Part;
use crate::disk::{Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::to_the_end;
use crate::engine::{IoBuf, yield_now};

const BLOCKS_AT_ONCE: usize = 4096;

impl Image {
    /// Makes a part of the disk read as zeroes.
    pub(super) async fn write_zeroes(self: &Rc<Self>, extent: Extent, how: Zeroes) -> Result<()> {
        self.geometry().check_write(extent)?;
        self.begin().await?;
        for (index, part) in self.parts(extent).enumerate() {
            breathe(index).await;
            if how.may_unmap && self.is_whole(part) && !self.metadata.leave_allocated {
                if !self.is_zero(part.block)? || self.locks.is_held(part.block) {
                    self.drop_block(part.block, State::Zero).await?;
                }
            } else {
                self.zero_part(part, how).await?;
            }
        }
        if how.durability == Durability::Durable {
            self.flush().await?;
        }
        Ok(())
    }

    /// Gives back the space of a part of the disk.
    pub(super) async fn discard(self: &Rc<Self>, extent: Extent) -> Result<()> {
        self.geometry().check_write(extent)?;
        self.begin().await?;
        for (index, part) in self.parts(extent).enumerate() {
            breathe(index).await;
            if self.is_whole(part) && !self.metadata.leave_allocated {
                if self.bat.payload(part.block)?.in_file() {
                    self.drop_block(part.block, State::Unmapped).await?;
                }
            } else {
                self.discard_part(part).await?;
            }
        }
        Ok(())
    }

    /// Whether a part is all that the disk has of its block.
    fn is_whole(&self, part: Part) -> bool {
        let end = part.block * self.bat.block_bytes + part.len;
        part.within == 0 && (part.len == self.bat.block_bytes || end == self.size.get())
    }

    /// Whether every program reads a block as zeroes because of its state.
    fn is_zero(&self, block: u64) -> Result<bool> {
        Ok(match self.bat.payload(block)?.state {
            State::Zero => true,
            State::NotPresent => self.parent.is_none(),
            _ => false,
        })
    }

    /// Has a block be in the file no more.
    pub(super) async fn drop_block(self: &Rc<Self>, block: u64, state: State) -> Result<()> {
        let image = Rc::clone(self);
        to_the_end(async move {
            let _alone = image.locks.exclusive(block).await;
            image.make_room().await?;
            let entry = image.bat.payload(block)?;
            if image.is_zero(block)? {
                return Ok(());
            }
            image.mark(image.bat.set_payload(block, Entry { state, offset: 0 }));
            if entry.in_file() && !image.locks.was_abandoned(block) {
                image.freed.borrow_mut().push(Region {
                    offset: entry.offset,
                    len: image.bat.block_bytes,
                });
            }
            Ok(())
        })
        .await
    }

    /// Zeroes a part of a block in place.
    async fn zero_part(self: &Rc<Self>, part: Part, how: Zeroes) -> Result<()> {
        let guard = self.locks.shared(part.block).await;
        let entry = self.bat.payload(part.block);
        let in_place = match &entry {
            Ok(entry) if entry.state == State::Present => {
                let place = Extent::new(entry.offset + part.within, part.len);
                let how = Zeroes {
                    durability: Durability::Volatile,
                    ..how
                };
                Some(self.file.write_zeroes(place, how).await)
            }
            _ => None,
        };
        guard.done();
        if let Some(answer) = in_place {
            return answer;
        }
        match entry?.state {
            State::NotPresent if self.parent.is_none() => Ok(()),
            State::Zero => Ok(()),
            // Another program may take these to be anything.
            State::Undefined | State::Unmapped => self.drop_block(part.block, State::Zero).await,
            _ if how.fast_only => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} bytes of zeroes must be written one by one", part.len),
            )),
            _ => self.write_zero_bytes(part).await,
        }
    }

    async fn write_zero_bytes(self: &Rc<Self>, part: Part) -> Result<()> {
        let zeroes = IoBuf::zeroed(part.len.min(MIB) as usize);
        let start = part.block * self.bat.block_bytes + part.within;
        let mut at = 0;
        while at < part.len {
            let len = (part.len - at).min(MIB);
            let data = zeroes.slice(..len as usize);
            self.write(start + at, data, Durability::Volatile).await?;
            at += len;
        }
        Ok(())
    }

    /// Tells the file that a part of a block does not matter.
    async fn discard_part(&self, part: Part) -> Result<()> {
        let guard = self.locks.shared(part.block).await;
        let answer = match self.bat.payload(part.block) {
            Ok(entry) if entry.state == State::Present => {
                let place = Extent::new(entry.offset + part.within, part.len);
                self.file.discard(place).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        guard.done();
        answer
    }
}

/// Lets others go on now and then: a disk has millions of blocks.
pub(super) async fn breathe(index: usize) {
    if index % BLOCKS_AT_ONCE == BLOCKS_AT_ONCE - 1 {
        yield_now().await;
    }
}
