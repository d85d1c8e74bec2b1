//! Files and directories of a cgroup file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use crate::failure::{Called, Failure};

/// Writes a file of a cgroup in one call, as the kernel wants it. It is never created: the error
/// for one that the kernel does not have would be another.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .called(|| format!("open(\"{}\", O_WRONLY)", path.display()))?;
    file.write_all(text.as_bytes())
        .called(|| format!("write(\"{}\", \"{text}\")", path.display()))
}

/// Reads a file; `None` if there is none, or its group has just been removed.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        // Names of processes are in some, and need not be text.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error).called(|| format!("read(\"{}\")", path.display())),
    }
}

/// Whether this is the error of a group that is not there (any more).
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::NODEV];
    Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno))
}

/// The number in a file; `max` is [`u64::MAX`], and what is not there is `None`.
pub(super) fn number(path: &Path) -> Option<u64> {
    let text = read(path).ok()??;
    match text.trim() {
        "max" => Some(u64::MAX),
        // Version 1 writes "no limit" as −1 in some files.
        "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// Opens the directory of a group.
pub(super) fn open_dir(dir: &Path) -> Result<File, Failure> {
    File::open(dir).called(|| format!("open(\"{}\", O_DIRECTORY)", dir.display()))
}

/// Makes a directory and its parents. A parent may vanish meanwhile: the last container to leave
/// removes it.
pub(super) fn make_dir(dir: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        match fs::create_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 100 => tries += 1,
            result => return result.called(|| format!("mkdir(\"{}\")", dir.display())),
        }
    }
}

/// The groups directly below one; empty if it is gone.
///
/// # Errors
/// The directory cannot be read, so that nothing is known of them.
pub(super) fn groups_below(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let call = || format!("readdir(\"{}\")", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        entries => entries.called(call)?,
    };
    let mut groups = Vec::new();
    for entry in entries {
        let entry = match entry {
            Err(error) if is_gone(&error) => continue,
            entry => entry.called(call)?,
        };
        if entry.file_type().called(call)?.is_dir() {
            groups.push(entry.path());
        }
    }
    Ok(groups)
}

/// Removes a group and those below it. The kernel may call a group busy for a moment after its last
/// process.
pub(super) fn remove_tree(dir: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < 200 => {
                tries += 1;
                let below = groups_below(dir)?;
                for group in &below {
                    remove_tree(group)?;
                }
                if below.is_empty() {
                    sleep(Duration::from_millis(5));
                }
            }
            result => return result.called(|| format!("rmdir(\"{}\")", dir.display())),
        }
    }
}
