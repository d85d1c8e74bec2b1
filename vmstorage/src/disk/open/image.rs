//! Image files: which format, and the layers that make a disk of them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use super::sealed::Sealed;
use super::{Format, Options};
use crate::disk::file::{FileDisk, OpenOptions};
use crate::disk::qcow2::{self, Opener, Qcow2};
use crate::disk::vhdx::{self, Vhdx};
use crate::disk::{Answer, Disk, Error, ErrorKind, Extent, Result};
use crate::nbd::client::Remote;
use crate::track::{Fingerprint, Mark};

/// An open disk, which is closed in order when its user has done with it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The disk.
    pub disk: Rc<dyn Disk>,
    /// Its format.
    pub format: Format,
    /// How it looked before it was opened.
    pub fingerprint: Fingerprint,
    image: Option<Image>,
    file: Option<Rc<File>>,
}

/// What has to be closed.
#[derive(Debug, Clone)]
enum Image {
    Raw(Rc<FileDisk>),
    Qcow2(Rc<Qcow2>),
    Vhdx(Rc<Vhdx>),
    Remote(Rc<Remote>),
}

impl Opened {
    pub(super) fn plain(disk: Rc<dyn Disk>) -> Self {
        Self {
            disk,
            format: Format::Raw,
            fingerprint: Fingerprint::new(),
            image: None,
            file: None,
        }
    }

    /// A disk of another program.
    pub fn remote(remote: Rc<Remote>, read_only: bool) -> Self {
        let mut disk: Rc<dyn Disk> = Rc::clone(&remote) as Rc<dyn Disk>;
        if read_only {
            disk = Rc::new(Sealed(disk));
        }
        Self {
            image: Some(Image::Remote(remote)),
            ..Self::plain(disk)
        }
    }

    /// What is wrong with the image's own tables, as far as its format can tell.
    ///
    /// # Errors
    /// Of the file.
    pub async fn check(&self) -> Result<Vec<String>> {
        match &self.image {
            Some(Image::Qcow2(image)) => {
                let found = image.check().await?;
                let mut messages = found.messages.clone();
                if !found.is_clean() {
                    let (leaks, corruptions) = (found.leaks, found.corruptions);
                    messages.push(format!("{corruptions} corruptions, {leaks} leaks"));
                }
                Ok(messages)
            }
            // Opening one has checked them.
            Some(Image::Vhdx(_) | Image::Raw(_) | Image::Remote(_)) | None => Ok(Vec::new()),
        }
    }

    /// What its format says of it, for people and programs.
    pub fn describe(&self) -> serde_json::Value {
        match &self.image {
            Some(Image::Qcow2(image)) => {
                let info = image.info();
                serde_json::json!({
                    "version": info.version,
                    "cluster_bytes": info.cluster_bytes,
                    "refcount_bits": info.refcount_bits,
                    "extended_l2": info.extended_l2,
                    "lazy_refcounts": info.lazy_refcounts,
                    "dirty": info.dirty,
                    "corrupt": info.corrupt,
                    "backing_file": info.backing_file,
                    "backing_format": info.backing_format,
                    "snapshots": image.snapshots().len(),
                })
            }
            Some(Image::Vhdx(image)) => {
                let info = image.info();
                let parent = info
                    .parent
                    .map(|parent| parent.relative_path.or(parent.absolute_path));
                serde_json::json!({
                    "block_bytes": info.block_bytes,
                    "logical_sector_bytes": info.logical_sector_bytes,
                    "physical_sector_bytes": info.physical_sector_bytes,
                    "fixed": info.fixed,
                    "parent": parent.flatten(),
                    "disk_id": info.disk_id,
                })
            }
            Some(Image::Raw(_) | Image::Remote(_)) | None => serde_json::json!({}),
        }
    }

    /// How it looks now, for a tracker that is about to be closed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self) -> Result<Fingerprint> {
        match &self.file {
            Some(file) => look(file, self.format),
            None => Ok(Fingerprint::new()),
        }
    }

    /// Where a tracker can leave its mark: a qcow2's header.
    pub fn mark(&self) -> Option<Rc<dyn Mark>> {
        match &self.image {
            Some(Image::Qcow2(image)) => Some(Rc::clone(image) as Rc<dyn Mark>),
            _ => None,
        }
    }

    /// What a persistent dirty bitmap of the image calls dirty, in order and apart.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the image has none of that name, or has lost track of them;
    /// [`ErrorKind::Unsupported`] when the image is no qcow2, or the bitmap was not stored at the
    /// end of its last use; those of the file.
    pub async fn dirty_bitmap(&self, name: &str) -> Result<Vec<Extent>> {
        let no = |message: &str| Error::new(ErrorKind::Unsupported, message);
        let Some(Image::Qcow2(image)) = &self.image else {
            return Err(no("only qcow2 images have dirty bitmaps"));
        };
        let bitmaps = image.bitmaps().await?;
        if bitmaps
            .iter()
            .any(|bitmap| bitmap.name == name && bitmap.in_use)
        {
            return Err(no(&format!(
                "the bitmap `{name}` was not stored at the end of its last use: it cannot be \
                 trusted\nhelp: make a full backup, and a new bitmap"
            )));
        }
        image.bitmap_extents(name).await
    }

    /// Makes everything durable and leaves the image in order.
    ///
    /// # Errors
    /// Of the disk.
    pub async fn close(&self) -> Result<()> {
        self.disk.flush().await?;
        match &self.image {
            Some(Image::Qcow2(image)) => image.close().await,
            Some(Image::Vhdx(image)) => image.close().await,
            Some(Image::Remote(remote)) => {
                remote.close().await;
                Ok(())
            }
            Some(Image::Raw(_)) | None => Ok(()),
        }
    }
}

/// The format of a file: what the caller says, or what the extension says, and otherwise raw,
/// unless the file begins as an image of another format would.
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
    let raw = FileDisk::open(path, &file_options(options, options.read_only)).await?;
    let raw = Rc::new(raw);
    let file = cached(&raw, path)?;
    let mut first = [0; 8];
    let read = file.read_at(&mut first, 0);
    let read = read.map_err(|error| Error::io(format!("pread(`{}`)", path.display()), error))?;
    let format = format_of(path, &first[..read], options.format)?;
    let fingerprint = look(&file, format)?;
    let image = match format {
        Format::Raw => Image::Raw(raw),
        Format::Vhdx => {
            let files = Files { path, raw, options };
            let open_file = async |file: &Path, read_only| files.open(file, read_only).await;
            Image::Vhdx(Rc::new(
                vhdx::open_chain(path, options.read_only, open_file).await?,
            ))
        }
        Format::Qcow2 => {
            let files = Files { path, raw, options };
            Image::Qcow2(Rc::new(
                qcow2::open_chain(&files, path, options.read_only).await?,
            ))
        }
    };
    Ok(Opened {
        disk: image.disk(),
        format,
        fingerprint,
        image: Some(image),
        file: Some(Rc::new(file)),
    })
}

fn look(file: &File, format: Format) -> Result<Fingerprint> {
    let print = Fingerprint::of_file(file)?;
    Ok(match format {
        Format::Qcow2 => print.with_mark(qcow2::tracking_mark(file)?.as_deref()),
        Format::Raw | Format::Vhdx => print,
    })
}

fn file_options(options: Options, read_only: bool) -> OpenOptions {
    OpenOptions {
        read_only,
        direct: options.direct,
        lock: !options.shared,
    }
}

/// The files of a chain: the image, which is open already, and those that it stands on.
struct Files<'a> {
    path: &'a Path,
    raw: Rc<FileDisk>,
    options: Options,
}

impl Opener for Files<'_> {
    fn open(&self, path: &Path, read_only: bool) -> Answer<'_, Rc<dyn Disk>> {
        let path = path.to_owned();
        Box::pin(async move {
            if path == self.path {
                return Ok(Rc::clone(&self.raw) as Rc<dyn Disk>);
            }
            let opened = FileDisk::open(&path, &file_options(self.options, read_only)).await?;
            Ok(Rc::new(opened) as Rc<dyn Disk>)
        })
    }
}

/// The same file through the page cache, whatever its path names by now.
fn cached(raw: &FileDisk, path: &Path) -> Result<File> {
    let again = format!("/proc/self/fd/{}", raw.as_std().as_raw_fd());
    File::open(again).map_err(|error| Error::io(format!("open(`{}`)", path.display()), error))
}

impl Image {
    fn disk(&self) -> Rc<dyn Disk> {
        match self {
            Self::Raw(disk) => Rc::clone(disk) as Rc<dyn Disk>,
            Self::Qcow2(disk) => Rc::clone(disk) as Rc<dyn Disk>,
            Self::Vhdx(disk) => Rc::clone(disk) as Rc<dyn Disk>,
            Self::Remote(disk) => Rc::clone(disk) as Rc<dyn Disk>,
        }
    }
}
