//! Directories on the host for a test to try its hands at, on the root file system rather than a
//! tmpfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::error::Context as _;

/// Where fixtures and bundles are made: what `REEVE_TEST_DIR` names, `/srv`, or a temporary
/// directory for who may not write there.
pub fn base() -> PathBuf {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(find_base).clone()
}

fn find_base() -> PathBuf {
    if let Some(directory) = std::env::var_os("REEVE_TEST_DIR") {
        return PathBuf::from(directory);
    }
    let probe = Path::new("/srv").join(format!(".reeve-test-{}", std::process::id()));
    let writable = fs::create_dir(&probe)
        .and_then(|()| fs::remove_dir(&probe))
        .is_ok();
    if writable {
        PathBuf::from("/srv")
    } else {
        std::env::temp_dir()
    }
}

/// A number that no other caller in this process gets.
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A directory of its own on the host, removed when dropped.
#[derive(Debug)]
pub struct Fixture {
    path: PathBuf,
}

impl Fixture {
    /// An empty directory.
    pub fn new() -> Result<Self, Error> {
        Self::named("reeve-test")
    }

    /// An empty directory whose name starts with `prefix`.
    pub fn named(prefix: &str) -> Result<Self, Error> {
        let path = base().join(format!("{prefix}-{}-{}", std::process::id(), unique()));
        fs::create_dir_all(&path).call("mkdir", &path)?;
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory below it.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.at(name);
        fs::create_dir_all(&path).call("mkdir", &path)?;
        Ok(path)
    }

    /// Makes a file below it, with the directories above.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.at(name);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).call("mkdir", directory)?;
        }
        fs::write(&path, content).call("write", &path)?;
        Ok(path)
    }

    /// Text of a file below it.
    pub fn text(&self, name: &str) -> Result<String, Error> {
        let path = self.at(name);
        fs::read_to_string(&path).call("read", &path)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // What is left is in a machine that is thrown away.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A host path as containers of the harness see it.
pub fn in_container(path: impl AsRef<Path>) -> String {
    format!("/host{}", path.as_ref().display())
}
