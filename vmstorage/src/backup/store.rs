//! Where the objects of a repository are: a directory, or a bucket.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::remote::Remote;
use crate::disk::{Error, ErrorKind, Result};

/// Held while a repository is used; another process can use it beside only if neither removes.
pub trait Guard: Send + std::fmt::Debug {}

impl Guard for fs::File {}

/// Objects with names. Calls block.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Stores an object whole and durably, or fails. An object of that name is replaced.
    fn put(&self, name: &str, data: &[u8]) -> Result<()>;

    /// Whether there is an object of that name.
    fn exists(&self, name: &str) -> Result<bool>;

    /// Length of an object in bytes.
    fn len_bytes(&self, name: &str) -> Result<u64>;

    /// A part of an object, which must be there entirely.
    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Vec<u8>>;

    /// Names that begin with `folder/`, sorted, each with its length in bytes.
    fn entries(&self, folder: &str) -> Result<Vec<(String, u64)>>;

    /// Names that begin with `folder/`, sorted.
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = self.entries(folder)?;
        Ok(entries.into_iter().map(|(name, _)| name).collect())
    }

    /// Removes an object; one that is not there is no error.
    fn delete(&self, name: &str) -> Result<()>;

    /// Keeps others from removing objects, or from using the repository at all.
    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>>;

    /// What writers that were cut off left behind; nobody may be writing.
    fn leftovers(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// How files begin that are not whole yet.
const STAGED: &str = ".new-";

/// A directory.
#[derive(Debug)]
pub struct Local {
    root: PathBuf,
}

impl Local {
    /// Takes a directory that is there.
    ///
    /// # Errors
    /// When it is not.
    pub fn open(root: &Path) -> Result<Self> {
        match fs::metadata(root) {
            Ok(found) if found.is_dir() => Ok(Self { root: root.into() }),
            Ok(_) => Err(at("open", root, io::ErrorKind::NotADirectory.into())),
            Err(error) => Err(at("open", root, error)),
        }
    }

    /// Takes a directory that is no repository, and makes it if it is not there.
    pub(super) fn flat(root: &Path) -> Result<Self> {
        if root.join("snapshots").exists() {
            let message = format!("`{}` is a repository; help: name another", root.display());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        fs::create_dir_all(root).map_err(|error| at("mkdir", root, error))?;
        sync(root)?;
        Ok(Self { root: root.into() })
    }

    /// Takes a directory, and makes it if it is not there.
    ///
    /// # Errors
    /// Of `mkdir`.
    pub fn create(root: &Path) -> Result<Self> {
        for folder in ["", "packs", "snapshots", "manifests"] {
            let path = root.join(folder);
            fs::create_dir_all(&path)
                .and_then(|()| fs::File::open(&path)?.sync_all())
                .map_err(|error| Error::io(format!("mkdir `{}`", path.display()), error))?;
        }
        if let Some(parent) = root.parent().filter(|parent| parent.is_dir()) {
            sync(parent)?;
        }
        sync(root)?;
        Ok(Self { root: root.into() })
    }
}

fn sync(folder: &Path) -> Result<()> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io(format!("fsync `{}`", folder.display()), error))
}

fn at(call: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("{call} `{}`", path.display()), error)
}

impl Store for Local {
    fn put(&self, name: &str, data: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let staged = self.root.join(format!("{STAGED}{}", uuid::Uuid::new_v4()));
        let done = fs::File::create_new(&staged)
            .and_then(|mut file| {
                file.write_all(data)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&staged, &path));
        if let Err(error) = done {
            // What cannot be removed is never read, and is only space.
            let _ = fs::remove_file(&staged);
            return Err(at("write", &path, error));
        }
        sync(path.parent().unwrap_or(&self.root))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        let path = self.root.join(name);
        path.try_exists().map_err(|error| at("stat", &path, error))
    }

    fn len_bytes(&self, name: &str) -> Result<u64> {
        let path = self.root.join(name);
        let status = fs::metadata(&path).map_err(|error| at("stat", &path, error))?;
        Ok(status.len())
    }

    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        let path = self.root.join(name);
        let mut data = vec![0; len];
        fs::File::open(&path)
            .and_then(|file| file.read_exact_at(&mut data, offset_bytes))
            .map_err(|error| at("read", &path, error))?;
        Ok(data)
    }

    fn entries(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.root.join(folder);
        let failed = |error| at("readdir", &path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match entry.metadata() {
                Ok(found) => names.push((name, found.len())),
                // A staged object was renamed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at("stat", &self.root.join(name), error)),
            }
        }
        names.sort();
        Ok(names)
    }

    fn leftovers(&self) -> Result<Vec<String>> {
        let names = self.list(".")?;
        let staged = names
            .iter()
            .filter_map(|name| name.strip_prefix("./"))
            .filter(|name| name.starts_with(STAGED));
        Ok(staged.map(str::to_owned).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at("unlink", &path, error))
            }
            Err(_) if !folder.exists() => Ok(()),
            _ => sync(folder),
        }
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>> {
        let path = self.root.join("lock");
        let mut options = fs::File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.or_else(|error| match error.kind() {
            // Who may only read can still keep others from removing.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !exclusive => {
                let opened = fs::File::open(&path);
                opened.map_err(|_| at("open", &path, error).with_kind(ErrorKind::ReadOnly))
            }
            _ => Err(at("open", &path, error)),
        })?;
        let how = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        rustix::fs::flock(&file, how).map_err(|error| {
            at("flock", &path, error.into())
                .context("the repository is in use; help: wait for the other command to end")
        })?;
        Ok(Box::new(file))
    }
}

/// The store at a path, or at `s3://BUCKET/PREFIX` with the `AWS_…` variables of the environment.
/// `create` makes a directory that is not there.
///
/// # Errors
/// When it is not there, and for other kinds of address.
pub fn open(address: &str, create: bool) -> Result<Arc<dyn Store>> {
    if let Some(rest) = address.strip_prefix("s3://") {
        return Ok(Arc::new(Remote::open(rest)?));
    }
    if address.contains("://") {
        let message = format!("`{address}` is no repository; help: a directory, or s3://BUCKET");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let make = if create { Local::create } else { Local::open };
    Ok(Arc::new(make(Path::new(address))?))
}
