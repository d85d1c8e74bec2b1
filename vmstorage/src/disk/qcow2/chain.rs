//! Chains of backing files.
//!
//! What an image stands on is opened by the name and the format that are recorded in it. A format
//! that is not recorded is an error: the content of a raw file is its guest's, who could have
//! written there what looks like an image that names other files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{OpenOptions, Qcow2};
use crate::disk::{Answer, Disk, Error, ErrorKind, Result};

/// Most images that stand on each other.
const MAX_DEPTH: usize = 64;

/// Opens the files that a chain is made of.
pub trait Opener {
    /// The file as a disk; `read_only` unless it is the chain's first.
    fn open(&self, path: &Path, read_only: bool) -> Answer<'_, Rc<dyn Disk>>;
}

/// Opens a qcow2 image with all that it stands on. Only the image itself is opened for writing.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a backing file whose format is not recorded or neither `raw` nor
/// `qcow2`; [`ErrorKind::Corrupt`] for a chain that loops or is deeper than 64; those of
/// [`Qcow2::open`] and of `opener`.
pub async fn open_chain(opener: &dyn Opener, path: &Path, read_only: bool) -> Result<Qcow2> {
    let mut files: Vec<(PathBuf, Rc<dyn Disk>)> = Vec::new();
    let mut next = path.to_owned();
    let mut base: Option<Rc<dyn Disk>> = None;
    loop {
        if files.iter().any(|(seen, _)| *seen == next) || files.len() >= MAX_DEPTH {
            return Err(Error::corrupt(format!(
                "the chain of backing files of `{}` loops or is too long, at `{}`",
                path.display(),
                next.display()
            )));
        }
        let file = opener.open(&next, read_only || !files.is_empty()).await?;
        let info = Qcow2::peek(Rc::clone(&file)).await?;
        files.push((next.clone(), file));
        let Some(name) = info.backing_file else { break };
        let below = resolve(&next, &name)?;
        match info.backing_format.as_deref() {
            Some("qcow2") => next = below,
            Some("raw") => {
                base = Some(opener.open(&below, true).await?);
                break;
            }
            format => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "`{}` stands on `{}` of {}; help: `qemu-img rebase -u -b FILE -F FORMAT`",
                        next.display(),
                        below.display(),
                        format.map_or("no stated format".into(), |f| format!("format `{f}`")),
                    ),
                ));
            }
        }
    }
    while files.len() > 1 {
        let Some((_, file)) = files.pop() else { break };
        let options = OpenOptions {
            read_only: true,
            backing: base,
        };
        base = Some(Rc::new(Qcow2::open(file, options).await?));
    }
    let Some((_, file)) = files.pop() else {
        return Err(Error::new(ErrorKind::Io, "the chain is empty"));
    };
    let backing = base;
    Qcow2::open(file, OpenOptions { read_only, backing }).await
}

/// The path of a backing file, of the image that names it.
fn resolve(image: &Path, name: &str) -> Result<PathBuf> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    let first = name.split('/').next().unwrap_or_default();
    if first.contains(':') || name.contains('\0') {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the backing file `{}` is not a path", name.escape_debug()),
        ));
    }
    Ok(image.parent().unwrap_or(Path::new("")).join(name))
}
