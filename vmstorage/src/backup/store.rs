//! Where the objects of a repository are: a directory, or a bucket.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};
use rustix::fs::FlockOperation;

use crate::disk::{Error, ErrorKind, Result};

/// Held while a repository is used; another process can use it beside only if neither removes.
pub trait Guard: Send {}

impl Guard for fs::File {}

/// Objects with names. Calls block.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Stores an object whole and durably, or fails. An object of that name is replaced.
    fn put(&self, name: &str, data: &[u8]) -> Result<()>;

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
        for folder in ["", "packs", "snapshots"] {
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
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at("unlink", &path, error))
            }
            _ => sync(path.parent().unwrap_or(&self.root)),
        }
    }

    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>> {
        let path = self.root.join("lock");
        let mut options = fs::File::options();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| at("open", &path, error))?;
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

/// A bucket, or a part of one.
#[derive(Debug)]
struct Remote {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Remote {
    fn path(&self, name: &str) -> object_store::path::Path {
        object_store::path::Path::from(format!("{}/{name}", self.prefix))
    }

    fn failed(name: &str, error: &object_store::Error) -> Error {
        Error::new(ErrorKind::Io, format!("backup object `{name}`: {error}"))
    }
}

impl Store for Remote {
    fn put(&self, name: &str, data: &[u8]) -> Result<()> {
        let path = self.path(name);
        let put = self.inner.put(&path, data.to_vec().into());
        let done = self.runtime.block_on(put);
        done.map(drop).map_err(|error| Self::failed(name, &error))
    }

    fn len_bytes(&self, name: &str) -> Result<u64> {
        let meta = self.runtime.block_on(self.inner.head(&self.path(name)));
        Ok(meta.map_err(|error| Self::failed(name, &error))?.size)
    }

    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset_bytes.saturating_add(len as u64);
        let path = self.path(name);
        let data = self
            .runtime
            .block_on(self.inner.get_range(&path, offset_bytes..end));
        let data = data.map_err(|error| Self::failed(name, &error))?;
        if data.len() != len {
            return Err(super::corrupt(name, "it is shorter than it should be"));
        }
        Ok(data.to_vec())
    }

    fn entries(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.path(folder);
        let all = self
            .runtime
            .block_on(self.inner.list(Some(&path)).try_collect::<Vec<_>>());
        let all = all.map_err(|error| Self::failed(folder, &error))?;
        let name = |meta: &object_store::ObjectMeta| {
            let file = meta.location.filename()?;
            Some((format!("{folder}/{file}"), meta.size))
        };
        let mut names: Vec<_> = all.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.inner.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Self::failed(name, &error)),
        }
    }

    /// A lock object that the guard removes. One that a dead process left is named in the error.
    fn lock(&self, exclusive: bool) -> Result<Box<dyn Guard>> {
        let kind = if exclusive { "exclusive" } else { "shared" };
        let name = format!("locks/{}-{kind}", uuid::Uuid::new_v4());
        self.put(&name, b"locked")?;
        let held = Held {
            store: Self {
                inner: Arc::clone(&self.inner),
                prefix: self.prefix.clone(),
                runtime: Arc::clone(&self.runtime),
            },
            name: name.clone(),
        };
        let others = self
            .list("locks")?
            .into_iter()
            .filter(|other| *other != name);
        match others
            .into_iter()
            .find(|other| exclusive || other.ends_with("-exclusive"))
        {
            None => Ok(Box::new(held)),
            Some(other) => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the repository is in use by `{other}`; help: remove that object if the \
                     command that made it does not run any more"
                ),
            )),
        }
    }
}

struct Held {
    store: Remote,
    name: String,
}

impl Guard for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.store.delete(&self.name) {
            tracing::warn!(%error, "a lock was left in the repository");
        }
    }
}

/// The store at a path, or at `s3://bucket/prefix` with the `AWS_…` variables of the environment.
/// `create` makes a directory that is not there.
///
/// # Errors
/// When it is not there, and for other kinds of address.
pub fn open(address: &str, create: bool) -> Result<Arc<dyn Store>> {
    let Some(rest) = address.strip_prefix("s3://") else {
        let path = Path::new(address);
        let made = if create { Local::create } else { Local::open };
        return Ok(Arc::new(made(path)?));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let inner = object_store::aws::AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .build();
    let inner = inner.map_err(|error| Remote::failed(address, &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the threads of the object store", error))?;
    Ok(Arc::new(Remote {
        inner: Arc::new(inner),
        prefix: prefix.into(),
        runtime: Arc::new(runtime),
    }))
}
