//! Which policy number is whose: kept from install to removal, so that events can be named.

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

/// Forgets a number.
///
/// # Errors
/// A file that cannot be removed; one that is not there is no error.
pub fn unregister(root: &Path, policy: PolicyId) -> Result<(), Error> {
    let path = file(root, policy.0);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("unlink", path)(error))
        }
        _ => {
            // Goes with the last one.
            let _ = fs::remove_dir(directory(root));
            Ok(())
        }
    }
}

/// The container that a number was last registered for.
pub fn owner(root: &Path, policy: PolicyId) -> Option<String> {
    find(root, policy.0).map(|known| known.container)
}

/// What is known of a number; nothing for a container that is gone.
pub(super) fn find(root: &Path, policy: u32) -> Option<Registered> {
    serde_json::from_slice(&fs::read(file(root, policy)).ok()?).ok()
}
