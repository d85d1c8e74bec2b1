//! The disk: its requests as the server wants them, and what to do where the server lacks one.

use super::Remote;
use super::handshake::Exported;
use super::pending::Ask;
use crate::disk::{
    Answer, Disk, Durability, Error, ErrorKind, Extent, Geometry, Result, Status, Zeroes,
};
use crate::engine::{IoBuf, IoBufMut};
use crate::nbd::proto::{BASE_ALLOCATION, Headers, allocation, command, command_flag, export_flag};

/// Most zeroes that are written as data at once, in bytes.
const ZEROES_BYTES: u64 = 1 << 20;

impl Exported {
    /// Longest request without data, in bytes.
    pub(super) fn most_bytes(&self) -> u64 {
        match self.headers {
            Headers::Simple | Headers::Structured => 1 << 30,
            Headers::Extended => 1 << 42,
        }
    }

    /// Longest data of a request, in bytes.
    fn data_bytes(&self) -> u64 {
        u64::from(self.max_bytes - self.max_bytes % self.min_bytes)
    }

    fn is_aligned(&self, extent: Extent) -> bool {
        aligned(extent, self) == extent
    }
}

/// The whole blocks that an extent lies in, as far as the disk goes.
pub(super) fn aligned(extent: Extent, exported: &Exported) -> Extent {
    let block = u64::from(exported.min_bytes);
    let start = extent.offset_bytes - extent.offset_bytes % block;
    let end = extent
        .end_bytes()
        .next_multiple_of(block)
        .min(exported.size_bytes);
    Extent::new(start, end.max(start) - start)
}

/// Parts of at most `most` bytes.
fn pieces(extent: Extent, most: u64) -> impl Iterator<Item = Extent> {
    let mut at = extent.offset_bytes;
    std::iter::from_fn(move || {
        let len = (extent.end_bytes() - at).min(most);
        at += len;
        (len > 0).then(|| Extent::new(at - len, len))
    })
}

impl Remote {
    pub(super) fn check(&self, extent: Extent) -> Result<()> {
        let checked = self.geometry().check(extent);
        checked.map_err(|error| error.context(&self.target))
    }

    fn check_write(&self, extent: Extent) -> Result<()> {
        let checked = self.geometry().check_write(extent);
        checked.map_err(|error| error.context(&self.target))
    }

    /// Asks for what has no data.
    async fn plain(&self, command: u16, flags: u16, extent: Extent) -> Result<()> {
        let ask = Ask {
            command,
            flags,
            extent,
            payload: None,
            buf: None,
        };
        let asked = self.ask(ask).await;
        asked.map_err(|error| error.context(&self.target))?;
        Ok(())
    }

    async fn read_aligned(&self, offset_bytes: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let whole = Extent::new(offset_bytes, buf.len() as u64);
        let mut read: Option<IoBufMut> = None;
        for extent in pieces(whole, self.exported.data_bytes()) {
            let ask = Ask {
                command: command::READ,
                flags: 0,
                extent,
                payload: None,
                buf: Some(buf.split_to(extent.len_bytes as usize)),
            };
            let answered = self.ask(ask).await;
            let answered = answered.map_err(|error| error.context(&self.target))?;
            let Some(part) = answered.buf else {
                return Err(Error::new(ErrorKind::Io, "a read without its buffer"));
            };
            match &mut read {
                Some(read) => read.unsplit(part),
                None => read = Some(part),
            }
        }
        Ok(read.unwrap_or(buf))
    }

    async fn read_any(&self, offset_bytes: u64, mut buf: IoBufMut) -> Result<IoBufMut> {
        let extent = Extent::new(offset_bytes, buf.len() as u64);
        self.check(extent)?;
        if self.exported.is_aligned(extent) {
            return self.read_aligned(offset_bytes, buf).await;
        }
        let around = aligned(extent, &self.exported);
        let whole = IoBufMut::scratch(around.len_bytes as usize);
        let whole = self.read_aligned(around.offset_bytes, whole).await?;
        let skip = (offset_bytes - around.offset_bytes) as usize;
        buf.copy_from_slice(&whole[skip..skip + extent.len_bytes as usize]);
        Ok(buf)
    }

    async fn write_aligned(&self, offset_bytes: u64, data: IoBuf, flags: u16) -> Result<()> {
        let whole = Extent::new(offset_bytes, data.len() as u64);
        for extent in pieces(whole, self.exported.data_bytes()) {
            let from = (extent.offset_bytes - offset_bytes) as usize;
            let ask = Ask {
                command: command::WRITE,
                flags,
                extent,
                payload: Some(data.slice(from..from + extent.len_bytes as usize)),
                buf: None,
            };
            let asked = self.ask(ask).await;
            asked.map_err(|error| error.context(&self.target))?;
        }
        Ok(())
    }

    /// Waits until `extent` may be changed: alone, or beside others that do not read it first.
    async fn change(&self, extent: Extent, alone: bool) -> impl Sized {
        let end = extent.end_bytes();
        self.changing.enter(extent.offset_bytes, end, alone).await
    }

    async fn write_any(&self, offset_bytes: u64, data: IoBuf, how: Durability) -> Result<()> {
        let extent = Extent::new(offset_bytes, data.len() as u64);
        self.check_write(extent)?;
        let flags = self.fua(how);
        if self.exported.is_aligned(extent) {
            let _pass = self.change(extent, false).await;
            self.write_aligned(offset_bytes, data, flags).await?;
        } else {
            let around = aligned(extent, &self.exported);
            let _pass = self.change(around, true).await;
            let whole = IoBufMut::scratch(around.len_bytes as usize);
            let mut whole = self.read_aligned(around.offset_bytes, whole).await?;
            let skip = (offset_bytes - around.offset_bytes) as usize;
            whole[skip..skip + data.len()].copy_from_slice(&data);
            let whole = whole.freeze();
            self.write_aligned(around.offset_bytes, whole, flags)
                .await?;
        }
        self.make_durable(how).await
    }

    /// The command flag that makes a write durable, where the server has it.
    fn fua(&self, how: Durability) -> u16 {
        match how {
            Durability::Durable if self.exported.can(export_flag::SEND_FUA) => command_flag::FUA,
            _ => 0,
        }
    }

    /// Flushes where durable writes need it.
    async fn make_durable(&self, how: Durability) -> Result<()> {
        match how {
            Durability::Durable if !self.exported.can(export_flag::SEND_FUA) => {
                self.flush_all().await
            }
            _ => Ok(()),
        }
    }

    /// A server that does not offer it has nothing to flush.
    async fn flush_all(&self) -> Result<()> {
        if !self.exported.can(export_flag::SEND_FLUSH) {
            return Ok(());
        }
        self.plain(command::FLUSH, 0, Extent::new(0, 0)).await
    }

    async fn zero_any(&self, extent: Extent, how: Zeroes) -> Result<()> {
        self.check_write(extent)?;
        let offered = self.exported.can(export_flag::SEND_WRITE_ZEROES);
        let fast = self.exported.can(export_flag::SEND_FAST_ZERO);
        if how.fast_only && !(offered && fast && self.exported.is_aligned(extent)) {
            let what = format!("{}: the server has no fast zeroes", self.target);
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let block = u64::from(self.exported.min_bytes);
        let start = extent
            .offset_bytes
            .next_multiple_of(block)
            .min(extent.end_bytes());
        let end = match extent.end_bytes() {
            end if end == self.exported.size_bytes => end,
            end => (end - end % block).max(start),
        };
        let mut flags = self.fua(how.durability);
        if !how.may_unmap {
            flags |= command_flag::NO_HOLE;
        }
        if how.fast_only {
            flags |= command_flag::FAST_ZERO;
        }
        for piece in pieces(Extent::new(start, end - start), self.exported.most_bytes()) {
            let zeroed = match offered {
                true => {
                    let _pass = self.change(piece, false).await;
                    self.plain(command::WRITE_ZEROES, flags, piece).await
                }
                false => Err(Error::new(ErrorKind::Unsupported, "")),
            };
            match zeroed {
                Err(error) if error.kind() == ErrorKind::Unsupported && !how.fast_only => {
                    self.zero_slowly(piece, how.durability).await?;
                }
                other => other?,
            }
        }
        let head = Extent::new(extent.offset_bytes, start - extent.offset_bytes);
        let tail = Extent::new(end, extent.end_bytes() - end);
        for part in [head, tail] {
            self.zero_slowly(part, how.durability).await?;
        }
        self.make_durable(how.durability).await
    }

    async fn zero_slowly(&self, extent: Extent, how: Durability) -> Result<()> {
        let most = ZEROES_BYTES.min(self.exported.data_bytes());
        let zeroes = IoBuf::zeroed(most.min(extent.len_bytes) as usize);
        for piece in pieces(extent, most) {
            let data = zeroes.slice(..piece.len_bytes as usize);
            self.write_any(piece.offset_bytes, data, how).await?;
        }
        Ok(())
    }

    /// Asks for what is a hint only: whole blocks inside of the extent, and a refusal is fine.
    async fn hint(&self, command: u16, flag: u16, extent: Extent, most: u64) -> Result<()> {
        if !self.exported.can(flag) {
            return Ok(());
        }
        let block = u64::from(self.exported.min_bytes);
        let start = extent.offset_bytes.next_multiple_of(block);
        let end = extent.end_bytes() - extent.end_bytes() % block;
        for piece in pieces(Extent::new(start, end.saturating_sub(start)), most) {
            match self.plain(command, 0, piece).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }
}

impl Disk for Remote {
    fn name(&self) -> String {
        self.target.to_string()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.exported.size_bytes,
            min_block_bytes: self.exported.min_bytes,
            preferred_block_bytes: self.exported.preferred_bytes,
            read_only: self.exported.can(export_flag::READ_ONLY),
        }
    }

    fn read(&self, offset_bytes: u64, buf: IoBufMut) -> Answer<'_, IoBufMut> {
        Box::pin(self.read_any(offset_bytes, buf))
    }

    fn write(&self, offset_bytes: u64, data: IoBuf, durability: Durability) -> Answer<'_, ()> {
        Box::pin(self.write_any(offset_bytes, data, durability))
    }

    fn write_zeroes(&self, extent: Extent, how: Zeroes) -> Answer<'_, ()> {
        Box::pin(self.zero_any(extent, how))
    }

    fn discard(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check_write(extent)?;
            let most = self.exported.most_bytes();
            let _pass = self.change(extent, false).await;
            self.hint(command::TRIM, export_flag::SEND_TRIM, extent, most)
                .await
        })
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(self.flush_all())
    }

    fn cache(&self, extent: Extent) -> Answer<'_, ()> {
        Box::pin(async move {
            self.check(extent)?;
            let most = self.exported.data_bytes();
            self.hint(command::CACHE, export_flag::SEND_CACHE, extent, most)
                .await
        })
    }

    fn status(&self, extent: Extent, limit: usize) -> Answer<'_, Vec<Status>> {
        Box::pin(async move {
            let contexts = &self.exported.contexts;
            let index = contexts.iter().position(|name| name == BASE_ALLOCATION);
            let (Some(index), true) = (index, extent.len_bytes > 0) else {
                self.check(extent)?;
                return Ok(vec![Status {
                    extent,
                    allocated: true,
                    zero: false,
                }]);
            };
            let found = self.extents(index, extent, limit).await;
            let found = found.map_err(|error| error.context(&self.target))?;
            let status = found.into_iter().map(|part| Status {
                extent: part.extent,
                allocated: part.value & allocation::HOLE == 0,
                zero: part.value & allocation::ZERO != 0,
            });
            Ok(status.collect())
        })
    }

    /// NBD servers do not change the size of a disk for a client.
    fn resize(&self, _: u64) -> Answer<'_, ()> {
        let what = format!("{}: an NBD export cannot be resized from here", self.target);
        Box::pin(std::future::ready(Err(Error::new(
            ErrorKind::Unsupported,
            what,
        ))))
    }
}
