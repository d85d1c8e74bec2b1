//! A new image has its name when it is whole, not before: whatever ends a command in the middle,
//! what it leaves cannot be taken for an image.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::disk::file::{FileDisk, OpenOptions};
use crate::disk::{Error, Result};

/// The file of an image that is being made; it is removed if it is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    target: PathBuf,
    partial: PathBuf,
}

impl Staged {
    /// A place beside `target`, which must not exist. What a command left there that was killed is
    /// removed.
    pub(super) async fn new(target: &Path) -> Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(taken(target));
        }
        let mut name = target
            .file_name()
            .map_or_else(OsString::new, OsString::from);
        name.push(".partial");
        let partial = target.with_file_name(name);
        if fs::symlink_metadata(&partial).is_ok() {
            // Who still writes it has it locked.
            drop(FileDisk::open(&partial, &OpenOptions::default()).await?);
            fs::remove_file(&partial).map_err(|error| at("unlink", &partial, error))?;
        }
        let target = target.to_owned();
        Ok(Self { target, partial })
    }

    /// Where the image is to be made.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the image its name; it is closed and durable.
    pub(super) fn keep(self) -> Result<()> {
        let (from, to) = (&self.partial, &self.target);
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(taken(to)),
            // A file system without that flag.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
                fs::rename(from, to).map_err(|error| at("rename", to, error))?;
            }
            Err(error) => return Err(at("rename", to, error.into())),
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| at("fsync", folder, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Half an image is of no use; once it has its name there is nothing here.
        let _ = fs::remove_file(&self.partial);
    }
}

fn taken(target: &Path) -> Error {
    let error = at("create", target, io::ErrorKind::AlreadyExists.into());
    error.context("what exists is not touched; help: remove it, or name another")
}

fn at(call: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("{call} `{}`", path.display()), error)
}
