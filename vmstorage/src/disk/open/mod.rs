//! Opening disks by name: path or URI, format, locks.
//!
//! A format is never guessed from content alone. Whoever writes a raw disk, a guest for instance,
//! can write the header of a qcow2 image into it, and one that names `/etc/shadow` as its backing
//! file; a service that probes would then serve that file. So a format is what the caller says, or
//! what the extension of the file's name says.

mod create;
mod format;
mod image;
mod sealed;
mod source;

use std::path::Path;
use std::rc::Rc;

pub use create::create;
pub use format::{Engine, Format};
pub use image::{Opened, format_of};
pub use source::{Address, NBD_PORT, Source};

use super::memory::Memory;
use super::{Error, Result};
use crate::backup;
use crate::engine::unblock;
use crate::nbd::client::{self, Remote};

/// How a disk is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Its format; without one, the extension of the file's name decides.
    pub format: Option<Format>,
    /// Refuse writes.
    pub read_only: bool,
    /// Go around the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Others may have it open too, also for writing.
    pub shared: bool,
}

/// Opens a disk and all that it stands on.
///
/// # Errors
/// With what was being opened: of the system, of the image's format, of the remote server, and when
/// the format cannot be known.
pub async fn open(source: &Source, options: Options) -> Result<Opened> {
    let opened = match source {
        Source::File(path) => image::open(path, options).await,
        Source::Memory { size_bytes } => {
            let memory = Memory::try_new(*size_bytes);
            memory.map(|memory| {
                let memory = match options.read_only {
                    true => memory.read_only(),
                    false => memory,
                };
                Opened::plain(Rc::new(memory))
            })
        }
        Source::Backup {
            repository,
            point,
            key,
        } => backup_point(repository, point, key.as_deref()).await,
        Source::Nbd(target) => {
            let remote = Remote::open(target.clone(), client::Options::default()).await;
            remote.map(|remote| Opened::remote(Rc::new(remote), options.read_only))
        }
    };
    opened.map_err(|error| error.context(format!("open `{source}`")))
}

/// A point of a repository.
async fn backup_point(repository: &str, point: &str, key: Option<&Path>) -> Result<Opened> {
    let (address, key) = (repository.to_owned(), key.map(Path::to_owned));
    let point = point.to_owned();
    let opening = unblock(move || {
        let key = key.as_deref().map(backup::Key::from_file).transpose()?;
        let repo = backup::Repository::open(backup::open_store(&address, false)?, key)?;
        let found = repo.find(&point)?;
        Ok::<_, Error>((repo, found.id))
    });
    let (repo, id) = opening.await?;
    let image = backup::Image::open(&repo, &id).await?;
    Ok(Opened::plain(Rc::new(image)))
}
