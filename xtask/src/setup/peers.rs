//! The runtimes of Debian that the conformance suite is checked against.
//!
//! Unpacked into the cache with the libraries that they load, so that none is installed on this
//! machine and the same files run in the test machines.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt;
use crate::paths;

/// The programs, below the directory.
const PROGRAMS: [(&str, &str); 2] = [("crun", "usr/bin/crun"), ("runc", "usr/sbin/runc")];

/// The packages with the programs and with what they link, beside the C library.
const PACKAGES: [&str; 11] = [
    "crun",
    "runc",
    "libcap2",
    "libgcrypt20",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libseccomp2",
    "libsystemd0",
    "libyajl2",
    "libzstd1",
];

/// Where libraries are, below the directory.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// The directory in the cache.
pub(crate) fn dir() -> Result<PathBuf> {
    Ok(paths::cache()?.join("peers"))
}

/// Names of the runtimes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().map(|(name, _)| *name)
}

/// The program `name` in a copy of the directory at `dir`.
pub(crate) fn program(name: &str, dir: &Path) -> Option<PathBuf> {
    let found = PROGRAMS.iter().find(|(known, _)| *known == name);
    found.map(|(_, path)| dir.join(path))
}

/// `LD_LIBRARY_PATH` for the programs in a copy of the directory at `dir`.
pub(crate) fn library_path(dir: &Path) -> String {
    let places = LIBRARIES.map(|path| dir.join(path).display().to_string());
    places.join(":")
}

/// What is in the cache, if all is.
pub(crate) fn find() -> Result<Option<String>> {
    let dir = dir()?;
    let there = |(_, path): &(&str, &str)| dir.join(path).is_file();
    Ok(
        (dir.join("manifest.json").is_file() && PROGRAMS.iter().all(there))
            .then(|| "ok".to_owned()),
    )
}

/// Downloads and unpacks them.
pub(crate) fn install() -> Result<()> {
    let dir = dir()?;
    let new = dir.with_extension("new");
    paths::remove_dir(&new)?;
    let unpacked = apt::BOOKWORM.unpack(&PACKAGES.map(str::to_owned), &new)?;
    // Of no use to who runs them.
    paths::remove_dir(&new.join("usr/share"))?;
    let manifest = serde_json::to_string_pretty(&unpacked).context("write the manifest")?;
    fs::write(new.join("manifest.json"), manifest).context("write the manifest")?;
    paths::replace_dir(&new, &dir)
}
