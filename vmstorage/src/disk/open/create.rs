//! Making new image files.

use std::path::Path;
use std::rc::Rc;

use super::{Format, Opened, Options, Source, open};
use crate::disk::Result;
use crate::disk::file::{FileDisk, OpenOptions};
use crate::disk::qcow2::{self, Qcow2};
use crate::disk::vhdx::{self, Vhdx};

/// Makes a sparse image that reads as zeroes, and opens it. What exists is refused.
///
/// # Errors
/// Of the system and the format; a file that was begun is removed.
pub async fn create(path: &Path, format: Format, size_bytes: u64) -> Result<Opened> {
    let made = make(path, format, size_bytes).await;
    if let Err(error) = made {
        return Err(error.context(format!("create `{}`", path.display())));
    }
    let options = Options {
        format: Some(format),
        ..Options::default()
    };
    open(&Source::File(path.into()), options).await
}

async fn make(path: &Path, format: Format, size_bytes: u64) -> Result<()> {
    let file_bytes = match format {
        Format::Raw => size_bytes,
        Format::Qcow2 | Format::Vhdx => 0,
    };
    let file = FileDisk::create(path, file_bytes, &OpenOptions::default()).await?;
    let file = Rc::new(file);
    let made = match format {
        Format::Raw => Ok(()),
        Format::Qcow2 => Qcow2::create(file, &qcow2::CreateOptions::new(size_bytes)).await,
        Format::Vhdx => Vhdx::create(&*file, &vhdx::CreateOptions::dynamic(size_bytes)).await,
    };
    if made.is_err() {
        // The first error tells more than that of the removal.
        let _ = std::fs::remove_file(path);
    }
    made
}
