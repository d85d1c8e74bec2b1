//! Image files: which format, and the layers that make a disk of them.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use super::{Format, Options};
use crate::disk::file::FileDisk;
use crate::disk::{Disk, Error, ErrorKind, Result};
use crate::track::Fingerprint;

/// An open disk, which is closed in order when its user has done with it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The disk.
    pub disk: Rc<dyn Disk>,
    /// Its format.
    pub format: Format,
    /// How it looked before it was opened.
    pub fingerprint: Fingerprint,
    file: Option<Rc<File>>,
}

impl Opened {
    pub(super) fn plain(disk: Rc<dyn Disk>) -> Self {
        Self {
            disk,
            format: Format::Raw,
            fingerprint: Fingerprint::new(),
            file: None,
        }
    }

    /// How it looks now, for a tracker that is about to be closed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self) -> Result<Fingerprint> {
        match &self.file {
            Some(file) => Fingerprint::of_file(file),
            None => Ok(Fingerprint::new()),
        }
    }

    /// Makes everything durable and leaves the image in order.
    ///
    /// # Errors
    /// Of the disk.
    pub async fn close(&self) -> Result<()> {
        self.disk.flush().await
    }
}

/// The format of a file: what the caller says, or what the extension says, and otherwise raw, unless
/// the file begins as an image of another format would.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when it cannot be known.
pub fn format_of(path: &Path, first_bytes: &[u8], said: Option<Format>) -> Result<Format> {
    if let Some(format) = said.or_else(|| Format::of_extension(path)) {
        return Ok(format);
    }
    let Some(found) = Format::of_magic(first_bytes) else {
        return Ok(Format::Raw);
    };
    let found = found.name();
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "its name does not say which format it has, and it begins as a {found} image does; the \
             user of a raw disk can write that, to have other files of this host read as its \
             backing file; help: say `--format {found}` if you made it so, or `--format raw`"
        ),
    ))
}

pub(super) async fn open(path: &Path, options: Options) -> Result<Opened> {
    let call = |name: &str| format!("{name}(`{}`)", path.display());
    let mut flags = OpenOptions::new();
    flags.read(true).write(!options.read_only);
    let file = flags
        .open(path)
        .map_err(|error| Error::io(call("open"), error))?;
    let mut first = [0; 8];
    let read = file
        .read_at(&mut first, 0)
        .map_err(|error| Error::io(call("pread"), error))?;
    let format = format_of(path, &first[..read], options.format)?;
    let fingerprint = Fingerprint::of_file(&file)?;
    let data = if options.direct {
        // The same file, whatever its path names by now.
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        flags.custom_flags(libc::O_DIRECT);
        flags
            .open(again)
            .map_err(|error| Error::io(call("open O_DIRECT"), error))?
    } else {
        file.try_clone()
            .map_err(|error| Error::io(call("dup"), error))?
    };
    let raw = Rc::new(FileDisk::new(data, path, options.read_only)?);
    let disk: Rc<dyn Disk> = match format {
        Format::Raw => raw,
        _ => return Err(Error::new(ErrorKind::Unsupported, "not yet")),
    };
    Ok(Opened {
        disk,
        format,
        fingerprint,
        file: Some(Rc::new(file)),
    })
}
