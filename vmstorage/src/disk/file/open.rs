//! Opening, and finding out what the file or device asks for.

use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, ioctl_blksszget, statx};

use super::{FileDisk, Inner, lock};
use crate::disk::{Error, ErrorKind, Result};
use crate::engine::{File, unblock};

/// Largest block that a device may have; Linux has none above a huge page.
const MAX_BLOCK_BYTES: u64 = 1 << 20;
/// What direct I/O is done in where neither the kernel nor the device tells: a page is always
/// right.
const SAFE_BLOCK_BYTES: u64 = 4096;

/// How an image is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Refuse changes.
    pub read_only: bool,
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Take the locks that QEMU takes, so that a second writer, or `qemu-img`, is refused.
    pub lock: bool,
}

impl Default for OpenOptions {
    /// For writing, through the page cache, locked.
    fn default() -> Self {
        Self {
            read_only: false,
            direct: false,
            lock: true,
        }
    }
}

impl FileDisk {
    /// Opens an image.
    ///
    /// # Errors
    /// Of `open`, which names the path; [`ErrorKind::Unsupported`] for what is neither a file nor a
    /// block device, and for `O_DIRECT` where it cannot be had; [`ErrorKind::Io`] when another
    /// process holds a lock.
    pub async fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        let (path, options) = (path.to_owned(), options.clone());
        let probed = unblock(move || {
            let mut open = fs::File::options();
            open.read(true).write(!options.read_only);
            open_at(&path, &mut open, &options).and_then(|file| probe(file, &path, &options))
        });
        Ok(Self::over(probed.await?))
    }

    /// Takes a file that is open for reading and writing, and locked by who opened it; messages
    /// name its `path`.
    ///
    /// # Errors
    /// As [`FileDisk::open`].
    pub fn from_file(file: fs::File, path: &Path) -> Result<Self> {
        let options = OpenOptions {
            lock: false,
            ..OpenOptions::default()
        };
        Ok(Self::over(probe(file, path, &options)?))
    }

    /// Makes a new sparse image of `size_bytes` and opens it. An existing file is refused.
    ///
    /// # Errors
    /// As [`FileDisk::open`], and of `ftruncate`; the file is then removed.
    pub async fn create(path: &Path, size_bytes: u64, options: &OpenOptions) -> Result<Self> {
        let (path, options) = (path.to_owned(), options.clone());
        let made = unblock(move || {
            let mut open = fs::File::options();
            open.read(true).write(true).create_new(true);
            let file = open_at(&path, &mut open, &options)?;
            let sized = file.set_len(size_bytes).map_err(|error| {
                let call = format!("ftruncate of `{}` to {size_bytes} bytes", path.display());
                Error::io(call, error)
            });
            let probed = sized.and_then(|()| probe(file, &path, &options));
            if probed.is_err() {
                // The first error tells more than what a failed removal would.
                let _ = fs::remove_file(&path);
            }
            probed
        });
        Ok(Self::over(made.await?))
    }

    fn over(probed: Probed) -> Self {
        let inner = Inner {
            name: probed.name,
            file: File::new(probed.file),
            cached: Default::default(),
            size_bytes: probed.size_bytes.into(),
            read_only: probed.read_only,
            is_device: probed.is_device,
            block_bytes: probed.block_bytes,
            memory_bytes: probed.memory_bytes,
            preferred_bytes: probed.preferred_bytes,
            direct: probed.direct,
            ranges: Default::default(),
            flushes: Default::default(),
            lost: Default::default(),
            no_punch: Default::default(),
            no_zero_range: Default::default(),
        };
        Self {
            inner: Rc::new(inner),
        }
    }
}

/// An open file with what was found out about it.
struct Probed {
    name: String,
    file: fs::File,
    size_bytes: u64,
    read_only: bool,
    is_device: bool,
    direct: bool,
    block_bytes: u64,
    memory_bytes: usize,
    preferred_bytes: u32,
}

fn open_at(path: &Path, open: &mut fs::OpenOptions, options: &OpenOptions) -> Result<fs::File> {
    let flags = if options.direct { libc::O_DIRECT } else { 0 };
    // A FIFO would wait for its other end.
    let opened = open.custom_flags(flags | libc::O_NONBLOCK).open(path);
    let opened = opened.and_then(|file| {
        let flags = fcntl_getfl(&file)?;
        fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    });
    opened.map_err(|error| {
        let shown = path.display();
        let mode = if options.read_only {
            "O_RDONLY"
        } else {
            "O_RDWR"
        };
        if options.direct && error.raw_os_error() == Some(libc::EINVAL) {
            let message = format!(
                "open(`{shown}`, {mode}|O_DIRECT): the file system has no direct I/O; \
                 help: open it through the page cache"
            );
            return Error::new(ErrorKind::Unsupported, message);
        }
        let direct = if options.direct { "|O_DIRECT" } else { "" };
        Error::io(format!("open(`{shown}`, {mode}{direct})"), error)
    })
}

fn probe(file: fs::File, path: &Path, options: &OpenOptions) -> Result<Probed> {
    let name = format!("`{}`", path.display());
    let failed = |call: &str, error: io::Error| Error::io(format!("{call} of {name}"), error);
    let metadata = file.metadata().map_err(|error| failed("fstat", error))?;
    let is_device = metadata.file_type().is_block_device();
    if !is_device && !metadata.is_file() {
        let message = format!("{name} is neither a file nor a block device");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if options.lock {
        lock::lock(&file, &name, options.read_only)?;
    }
    let size_bytes = match is_device {
        true => device_size(&file).map_err(|error| failed("lseek", error))?,
        false => metadata.len(),
    };
    let sector = match is_device {
        true => ioctl_blksszget(&file)
            .map_err(|error| failed("ioctl(BLKSSZGET)", error.into()))?
            .into(),
        false => 1,
    };
    let (block_bytes, memory_bytes) = match options.direct {
        true => direct_alignment(&file, sector, &name)?,
        false => (sector, 1),
    };
    let preferred = metadata.blksize().clamp(SAFE_BLOCK_BYTES, MAX_BLOCK_BYTES);
    Ok(Probed {
        size_bytes,
        read_only: options.read_only,
        is_device,
        direct: options.direct,
        block_bytes,
        memory_bytes,
        preferred_bytes: preferred.next_power_of_two().max(block_bytes) as u32,
        name,
        file,
    })
}

/// The blocks that direct I/O is done in, and the alignment of its memory.
fn direct_alignment(file: &fs::File, sector: u64, name: &str) -> Result<(u64, usize)> {
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    let told = told.filter(|told| told.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    let (block, memory) = match told {
        Some(told) if told.stx_dio_offset_align == 0 => {
            let message = format!("{name} has no direct I/O; help: open it through the page cache");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Some(told) => (
            u64::from(told.stx_dio_offset_align).max(sector),
            u64::from(told.stx_dio_mem_align).max(1),
        ),
        // Before Linux 6.1 only devices tell.
        None if sector > 1 => (sector, sector),
        None => (SAFE_BLOCK_BYTES, SAFE_BLOCK_BYTES),
    };
    let is_sound = |size: u64| size.is_power_of_two() && size <= MAX_BLOCK_BYTES;
    if !is_sound(block) || !is_sound(memory) || memory > SAFE_BLOCK_BYTES {
        let message = format!("{name}: direct I/O in blocks of {block} bytes at {memory}");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok((block, memory as usize))
}

/// Bytes of a block device as they are now.
pub(super) fn device_size(mut file: &fs::File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}
