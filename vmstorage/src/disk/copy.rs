//! Copying and comparing disks: many requests at once, and nothing where there is nothing.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Disk, Durability, Error, ErrorKind, Extent, Result, Zeroes};
use crate::engine::{IoBufMut, yield_now};

/// How much one request moves.
const CHUNK_BYTES: u64 = 1 << 20;
/// Parts that a disk is asked for at once.
const PARTS: usize = 256;
/// The unit in which zeroes are looked for.
const ZERO_BYTES: usize = 4096;

/// How disks are copied.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests at once.
    pub requests: usize,
    /// The target reads as zeroes: there is nothing to do for zeroes.
    pub target_is_zero: bool,
    /// Look for zeroes in data too, and leave holes for them.
    pub find_zeroes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests: 16,
            target_is_zero: false,
            find_zeroes: true,
        }
    }
}

/// What was done so far; shared with who shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the disk that are done.
    pub done_bytes: Cell<u64>,
    /// Bytes that were read and written.
    pub copied_bytes: Cell<u64>,
    /// Bytes that were zero.
    pub zero_bytes: Cell<u64>,
}

impl Progress {
    fn add(cell: &Cell<u64>, bytes: u64) {
        cell.set(cell.get() + bytes);
    }
}

/// Copies all of `source` to the beginning of `target`, and makes it durable.
///
/// # Errors
/// Of the disks; [`ErrorKind::OutOfRange`] when the target is smaller.
pub async fn copy(
    source: &Rc<dyn Disk>,
    target: &Rc<dyn Disk>,
    options: Options,
    progress: &Progress,
) -> Result<()> {
    let whole = Extent::new(0, source.geometry().size_bytes);
    copy_parts(source, target, &[whole], options, progress).await
}

/// Copies parts of `source` to the same places of `target`, and makes it durable.
///
/// # Errors
/// As [`copy`].
pub async fn copy_parts(
    source: &Rc<dyn Disk>,
    target: &Rc<dyn Disk>,
    parts: &[Extent],
    options: Options,
    progress: &Progress,
) -> Result<()> {
    for part in parts {
        source.geometry().check(*part)?;
        target.geometry().check_write(*part)?;
    }
    let pieces = stream::iter(parts).flat_map(|part| Box::pin(pieces(&**source, *part)));
    let copies = pieces.map(|piece| async move {
        let (extent, zero) = piece?;
        copy_piece(source, target, extent, zero, options, progress).await?;
        Progress::add(&progress.done_bytes, extent.len_bytes);
        Ok::<_, Error>(())
    });
    let copies = copies.buffer_unordered(options.requests.max(1));
    copies.try_for_each(|()| async { Ok(()) }).await?;
    target.flush().await
}

async fn copy_piece(
    source: &Rc<dyn Disk>,
    target: &Rc<dyn Disk>,
    extent: Extent,
    zero: bool,
    options: Options,
    progress: &Progress,
) -> Result<()> {
    if zero {
        Progress::add(&progress.zero_bytes, extent.len_bytes);
        return clear(target, extent, options).await;
    }
    let buf = IoBufMut::zeroed(extent.len_bytes as usize);
    let data = source.read(extent.offset_bytes, buf).await?.freeze();
    if !options.find_zeroes {
        Progress::add(&progress.copied_bytes, extent.len_bytes);
        return target
            .write(extent.offset_bytes, data, Durability::Volatile)
            .await;
    }
    for (start, end, zero) in runs(&data) {
        let offset_bytes = extent.offset_bytes + start as u64;
        let len_bytes = (end - start) as u64;
        if zero {
            Progress::add(&progress.zero_bytes, len_bytes);
            clear(target, Extent::new(offset_bytes, len_bytes), options).await?;
        } else {
            Progress::add(&progress.copied_bytes, len_bytes);
            let part = data.slice(start..end);
            target
                .write(offset_bytes, part, Durability::Volatile)
                .await?;
        }
    }
    Ok(())
}

async fn clear(target: &Rc<dyn Disk>, extent: Extent, options: Options) -> Result<()> {
    if options.target_is_zero {
        return Ok(());
    }
    let how = Zeroes {
        durability: Durability::Volatile,
        may_unmap: true,
        fast_only: false,
    };
    target.write_zeroes(extent, how).await
}

/// Cuts data into runs of zeroes and others.
fn runs(data: &[u8]) -> Vec<(usize, usize, bool)> {
    let mut runs: Vec<(usize, usize, bool)> = Vec::new();
    for (index, unit) in data.chunks(ZERO_BYTES).enumerate() {
        let start = index * ZERO_BYTES;
        let end = start + unit.len();
        let zero = unit.iter().all(|&byte| byte == 0);
        match runs.last_mut() {
            Some(last) if last.2 == zero => last.1 = end,
            _ => runs.push((start, end, zero)),
        }
    }
    runs
}

/// Parts of a disk in order, none longer than a chunk, and whether each is zero.
fn pieces(disk: &dyn Disk, extent: Extent) -> impl stream::Stream<Item = Result<(Extent, bool)>> {
    let start = extent.offset_bytes;
    let parts = stream::try_unfold(start, move |at| async move {
        if at >= extent.end_bytes() {
            return Ok(None);
        }
        let rest = Extent::new(at, extent.end_bytes() - at);
        let parts = disk.status(rest, PARTS).await?;
        // Long runs of answers from memory leave others their turn.
        yield_now().await;
        let end = at + parts.iter().map(|part| part.extent.len_bytes).sum::<u64>();
        if end <= at {
            return Err(Error::new(
                ErrorKind::Io,
                "a disk says nothing about a part of it",
            ));
        }
        let zero_chunk = CHUNK_BYTES * 256;
        let cut = parts.into_iter().flat_map(move |part| {
            let step = if part.zero { zero_chunk } else { CHUNK_BYTES };
            let (from, to) = (part.extent.offset_bytes, part.extent.end_bytes());
            // Chunks end at multiples of their size, whatever the first one begins with.
            let mut at = from;
            std::iter::from_fn(move || {
                if at >= to {
                    return None;
                }
                let end = to.min((at / step + 1) * step);
                let piece = (Extent::new(at, end - at), part.zero);
                at = end;
                Some(piece)
            })
        });
        let cut: Vec<_> = cut.collect();
        Ok(Some((stream::iter(cut.into_iter().map(Ok)), end)))
    });
    parts.try_flatten()
}

/// The first byte in which two disks differ; where one is longer, what is beyond the other has to
/// be zero.
///
/// # Errors
/// Of the disks.
pub async fn compare(
    one: &Rc<dyn Disk>,
    other: &Rc<dyn Disk>,
    progress: &Progress,
) -> Result<Option<u64>> {
    let sizes = (one.geometry().size_bytes, other.geometry().size_bytes);
    let longer = if sizes.0 >= sizes.1 { one } else { other };
    let pieces = pieces(&**longer, Extent::new(0, sizes.0.max(sizes.1)));
    let looks = pieces.map(|piece| async move {
        let (extent, _) = piece?;
        let differs = differs(one, other, extent).await?;
        Progress::add(&progress.done_bytes, extent.len_bytes);
        Ok::<_, Error>(differs)
    });
    let mut looks = std::pin::pin!(looks.buffered(16));
    while let Some(difference) = looks.try_next().await? {
        if difference.is_some() {
            return Ok(difference);
        }
    }
    Ok(None)
}

async fn differs(one: &Rc<dyn Disk>, other: &Rc<dyn Disk>, extent: Extent) -> Result<Option<u64>> {
    let mut at = extent.offset_bytes;
    while at < extent.end_bytes() {
        let len = (extent.end_bytes() - at).min(CHUNK_BYTES);
        let part = Extent::new(at, len);
        let (a, b) = futures_util::try_join!(read(one, part), read(other, part))?;
        let (a, b) = match (a, b) {
            (None, None) => {
                at += len;
                continue;
            }
            (a, b) => (or_zeroes(a, len), or_zeroes(b, len)),
        };
        if a[..] != b[..] {
            let first = a.iter().zip(&b[..]).position(|(a, b)| a != b);
            return Ok(first.map(|index| at + index as u64));
        }
        at += len;
    }
    Ok(None)
}

fn or_zeroes(read: Option<IoBufMut>, len: u64) -> IoBufMut {
    read.unwrap_or_else(|| IoBufMut::zeroed(len as usize))
}

/// Bytes of a disk, zeroes beyond its end; nothing when all of it is known to be zero.
async fn read(disk: &Rc<dyn Disk>, extent: Extent) -> Result<Option<IoBufMut>> {
    let size = disk.geometry().size_bytes;
    let len = extent
        .len_bytes
        .min(size.saturating_sub(extent.offset_bytes));
    if len == 0 {
        return Ok(None);
    }
    let within = Extent::new(extent.offset_bytes, len);
    let parts = disk.status(within, PARTS).await?;
    let known: u64 = parts.iter().map(|part| part.extent.len_bytes).sum();
    if known >= len && parts.iter().all(|part| part.zero) {
        return Ok(None);
    }
    let mut buf = IoBufMut::zeroed(extent.len_bytes as usize);
    let head = buf.split_to(len as usize);
    let mut head = disk.read(extent.offset_bytes, head).await?;
    head.unsplit(buf);
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::disk::memory::Memory;
    use crate::engine::run;

    #[test]
    fn copies_are_the_same_and_differences_are_found() {
        run(async {
            let mut rng = StdRng::seed_from_u64(1);
            let mut bytes = vec![0; 3_000_001];
            for _ in 0..20 {
                let at = rng.random_range(0..bytes.len() - 9000);
                rng.fill(&mut bytes[at..at + 9000]);
            }
            let source: Rc<dyn Disk> = Rc::new(Memory::with_content(bytes.clone()));
            for target_is_zero in [false, true] {
                let fill = if target_is_zero { 0 } else { 9 };
                let memory = Rc::new(Memory::with_content(vec![fill; bytes.len()]));
                let target = Rc::clone(&memory) as Rc<dyn Disk>;
                let options = Options {
                    target_is_zero,
                    ..Options::default()
                };
                let progress = Progress::default();
                copy(&source, &target, options, &progress).await.unwrap();
                assert!(memory.content() == bytes);
                assert_eq!(progress.done_bytes.get(), bytes.len() as u64);
                assert!(progress.copied_bytes.get() < bytes.len() as u64 / 3);
                let same = compare(&source, &target, &Progress::default())
                    .await
                    .unwrap();
                assert_eq!(same, None);
            }
            let mut other = bytes.clone();
            other[2_999_999] ^= 1;
            other.extend([0; 5000]);
            let longer: Rc<dyn Disk> = Rc::new(Memory::with_content(other.clone()));
            for (a, b) in [(&source, &longer), (&longer, &source)] {
                let found = compare(a, b, &Progress::default()).await.unwrap();
                assert_eq!(found, Some(2_999_999));
            }
            other[2_999_999] ^= 1;
            let longer: Rc<dyn Disk> = Rc::new(Memory::with_content(other.clone()));
            let same = compare(&source, &longer, &Progress::default())
                .await
                .unwrap();
            assert_eq!(same, None);
            other[3_000_001 + 4000] = 1;
            let longer: Rc<dyn Disk> = Rc::new(Memory::with_content(other));
            let found = compare(&source, &longer, &Progress::default())
                .await
                .unwrap();
            assert_eq!(found, Some(3_004_001));
        })
        .unwrap();
    }
}
