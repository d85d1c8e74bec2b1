//! Which policy number is whose: kept from install to removal, so that events can be named, and so
//! that whoever takes a container's policies away knows which tables there may be.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ebpf_common::PolicyId;
use policy::Compiled;
use serde::{Deserialize, Serialize};

use super::Error;

/// What is known of a policy number.
#[derive(Serialize, Deserialize)]
pub(super) struct Registered {
    /// The container's id.
    pub(super) container: String,
    /// Its policy.
    pub(super) compiled: Compiled,
}

fn directory(root: &Path) -> PathBuf {
    root.join(".policies")
}

fn file(root: &Path, policy: u32) -> PathBuf {
    directory(root).join(format!("{policy}.json"))
}

/// Notes whose policy a number is.
///
/// # Errors
/// A file that cannot be written; it is written whole or not at all.
pub fn register(
    root: &Path,
    policy: PolicyId,
    container: &str,
    compiled: &Compiled,
) -> Result<(), Error> {
    let directory = directory(root);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(Error::file("mkdir", &directory))?;
    let known = Registered {
        container: container.to_owned(),
        compiled: compiled.clone(),
    };
    let text = serde_json::to_vec(&known)?;
    let target = file(root, policy.0);
    let draft = target.with_extension("new");
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&draft, &target));
    written.map_err(Error::file("write", target))
}

/// Forgets all numbers of a container.
///
/// # Errors
/// A file that cannot be removed; one that is not there is no error.
pub fn unregister(root: &Path, policy: PolicyId) -> Result<(), Error> {
    for number in policy.generations() {
        unregister_one(root, number)?;
    }
    // Goes with the last one.
    let _ = fs::remove_dir(directory(root));
    Ok(())
}

/// Forgets a number.
///
/// # Errors
/// A file that cannot be removed; one that is not there is no error.
pub fn unregister_one(root: &Path, policy: PolicyId) -> Result<(), Error> {
    let path = file(root, policy.0);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("unlink", path)(error))
        }
        _ => Ok(()),
    }
}

/// The container that a number was last registered for.
pub fn owner(root: &Path, policy: PolicyId) -> Option<String> {
    let mut known = policy
        .generations()
        .filter_map(|number| find(root, number.0));
    known.next().map(|known| known.container)
}

/// Every generation of a container's policy that is registered: more than one while it is being
/// replaced, or after whoever replaced it was killed.
pub fn generations(root: &Path, policy: PolicyId) -> Vec<(PolicyId, Compiled)> {
    let known = policy.generations().filter_map(|number| {
        let known = find(root, number.0)?;
        Some((number, known.compiled))
    });
    known.collect()
}

/// Every number that is registered, with its container.
pub fn all(root: &Path) -> Vec<(PolicyId, String)> {
    let entries = fs::read_dir(directory(root))
        .into_iter()
        .flatten()
        .flatten();
    let numbers = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let number = name.strip_suffix(".json")?.parse().ok()?;
        Some((PolicyId(number), find(root, number)?.container))
    });
    numbers.collect()
}

/// What is known of a number; nothing for a container that is gone.
pub(super) fn find(root: &Path, policy: u32) -> Option<Registered> {
    serde_json::from_slice(&fs::read(file(root, policy)).ok()?).ok()
}
