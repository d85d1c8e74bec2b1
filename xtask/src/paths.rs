//! Where things are: the workspace, its build output, and the cache that all checkouts share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

/// The workspace's root directory.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's output directory.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What is downloaded or built once a machine: `REEVE_CACHE`, or `reeve` in the user's cache.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("REEVE_CACHE") {
        return std::path::absolute(dir).context("make `REEVE_CACHE` absolute");
    }
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("reeve"));
    }
    let home = std::env::var_os("HOME").context("neither `REEVE_CACHE` nor `HOME` is set")?;
    Ok(PathBuf::from(home).join(".cache/reeve"))
}

/// Where cargo keeps the sources of dependencies.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("HOME").context("neither `CARGO_HOME` nor `HOME` is set")?;
    Ok(PathBuf::from(home).join(".cargo"))
}

/// Creates `dir` and its parents.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("mkdir `{}`", dir.display()))
}

/// Removes `dir` and everything in it; fine if there is none.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Puts the finished directory `new` in the place of `old`.
pub(crate) fn replace_dir(new: &Path, old: &Path) -> Result<()> {
    remove_dir(old)?;
    fs::rename(new, old)
        .with_context(|| format!("rename `{}` to `{}`", new.display(), old.display()))
}

/// Holds the cache for this process; waits for another that has it.
pub(crate) fn lock_cache() -> Result<File> {
    let dir = cache()?;
    create_dir(&dir)?;
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("create `{}`", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("waiting for another xtask that has `{}`", path.display());
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("flock `{}`", path.display()))?;
    }
    Ok(file)
}
