//! Copying and comparing disks: many requests at once, and nothing where there is nothing.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

use super::{Disk, Durability, Error, ErrorKind, Extent, Result, Status, Zeroes};
use crate::engine::{IoBufMut, yield_now};

/// How much one request moves.
const CHUNK_BYTES: u64 = 1 << 20;
/// Parts that a disk is asked for at once.
const PARTS: usize = 256;
/// Questions about a disk at once.
const LOOKS: usize = 4;
/// Longest part that one question is about.
const WINDOW_BYTES: u64 = 1 << 30;
/// Scattered parts within so many bytes are asked about together.
const NEAR_BYTES: u64 = 64 << 20;
/// Zeroes are in pieces of so many steps.
const ZERO_STEPS: u64 = 256;
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
    let copies = pieces(&**source, parts, CHUNK_BYTES).map(|piece| async move {
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

/// Pieces of parts of a disk, in order, and whether each is zero. Their ends are those of the parts
/// or at multiples of `step_bytes`; zeroes are not cut so often.
///
/// The disk is asked about neighbouring parts together, and ahead of who takes the pieces:
/// scattered changes cost no round trip each.
pub fn pieces<'d>(
    disk: &'d dyn Disk,
    parts: &'d [Extent],
    step_bytes: u64,
) -> impl Stream<Item = Result<(Extent, bool)>> + 'd {
    let looks = stream::iter(windows(parts)).map(move |window| look(disk, window, step_bytes));
    looks
        .buffered(LOOKS)
        .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
        .try_flatten()
}

/// Neighbouring parts together, and long ones cut.
fn windows(parts: &[Extent]) -> impl Iterator<Item = Vec<Extent>> {
    let cut = parts.iter().flat_map(|part| {
        let (mut at, end) = (part.offset_bytes, part.end_bytes());
        std::iter::from_fn(move || {
            let piece = Extent::new(at, (end - at).min(WINDOW_BYTES));
            at = piece.end_bytes();
            (piece.len_bytes > 0).then_some(piece)
        })
    });
    let mut cut = cut.peekable();
    std::iter::from_fn(move || {
        let first = cut.next()?;
        let mut window = vec![first];
        let (mut end, most) = (first.end_bytes(), first.offset_bytes + NEAR_BYTES);
        while let Some(near) =
            cut.next_if(|next| next.offset_bytes >= end && next.end_bytes() <= most)
        {
            end = near.end_bytes();
            window.push(near);
        }
        Some(window)
    })
}

async fn look(
    disk: &dyn Disk,
    window: Vec<Extent>,
    step_bytes: u64,
) -> Result<Vec<(Extent, bool)>> {
    let end = window.last().map_or(0, |part| part.end_bytes());
    let mut known = VecDeque::new();
    let mut found = Vec::new();
    for part in window {
        let mut at = part.offset_bytes;
        while at < part.end_bytes() {
            while known
                .front()
                .is_some_and(|one: &Status| one.extent.end_bytes() <= at)
            {
                known.pop_front();
            }
            let covering = known.front().filter(|one| one.extent.offset_bytes <= at);
            let Some(one) = covering else {
                known = disk.status(Extent::new(at, end - at), PARTS).await?.into();
                // Long runs of answers from memory leave others their turn.
                yield_now().await;
                let says =
                    |one: &Status| one.extent.offset_bytes <= at && one.extent.end_bytes() > at;
                if !known.front().is_some_and(says) {
                    let message = format!("`{}` says nothing about byte {at}", disk.name());
                    return Err(Error::new(ErrorKind::Io, message));
                }
                continue;
            };
            let to = one.extent.end_bytes().min(part.end_bytes());
            let step = if one.zero {
                ZERO_STEPS * step_bytes
            } else {
                step_bytes
            };
            while at < to {
                // At multiples of the step, whatever the first one begins with.
                let end = to.min((at / step + 1) * step);
                found.push((Extent::new(at, end - at), one.zero));
                at = end;
            }
        }
    }
    Ok(found)
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
    let whole = [Extent::new(0, sizes.0.max(sizes.1))];
    let looks = pieces(&**longer, &whole, CHUNK_BYTES).map(|piece| async move {
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

    #[test]
    fn pieces_are_the_parts_and_zero_where_the_disk_is() {
        run(async {
            let mut rng = StdRng::seed_from_u64(7);
            for _ in 0..20 {
                let mut bytes = vec![0; 4 << 20];
                for _ in 0..rng.random_range(0..400) {
                    let at = rng.random_range(0..bytes.len() - 4096);
                    let len = rng.random_range(1..4096);
                    bytes[at..at + len].fill(1);
                }
                let (mut parts, mut at) = (Vec::new(), 0);
                while at < bytes.len() as u64 {
                    let len = rng.random_range(1..64 << 10).min(bytes.len() as u64 - at);
                    if rng.random_bool(0.5) {
                        parts.push(Extent::new(at, len));
                    }
                    at += len + rng.random_range(0..2) * rng.random_range(0..9000);
                }
                let disk = Memory::with_content(bytes.clone());
                let found: Vec<_> = pieces(&disk, &parts, 8192).try_collect().await.unwrap();
                let mut joined: Vec<Extent> = Vec::new();
                for (piece, zero) in found {
                    let range = piece.offset_bytes as usize..piece.end_bytes() as usize;
                    assert!(!zero || bytes[range].iter().all(|&byte| byte == 0));
                    assert!(zero || piece.len_bytes <= 8192 && piece.len_bytes > 0);
                    let part = parts[joined.len().saturating_sub(1)];
                    match joined
                        .last_mut()
                        .filter(|last| last.end_bytes() < part.end_bytes())
                    {
                        Some(last) => {
                            assert_eq!(last.end_bytes(), piece.offset_bytes);
                            last.len_bytes += piece.len_bytes;
                        }
                        None => joined.push(piece),
                    }
                }
                assert_eq!(joined, parts);
            }
        })
        .unwrap();
    }
}
