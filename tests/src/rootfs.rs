//! The files of a container: the probe, busybox where the host has it, and empty directories.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::Context as _;
use crate::{Error, fixture, tools};

/// Directories of the root; `/own` is for tests to do with as they like.
const DIRECTORIES: [&str; 13] = [
    "bin", "dev", "etc", "host", "lib64", "mnt", "own", "proc", "run", "sys", "tmp", "usr", "var",
];

/// Makes a root file system in `root`.
///
/// The programs are hard links to one copy on the same file system, so that a root costs no data.
pub fn make(root: &Path) -> Result<(), Error> {
    for directory in DIRECTORIES {
        let path = root.join(directory);
        fs::create_dir_all(&path).call("mkdir", &path)?;
    }
    for program in programs()? {
        let name = program.file_name().unwrap_or_default();
        let place = if name == "probe" {
            root.join(name)
        } else {
            root.join("bin").join(name)
        };
        if fs::hard_link(&program, &place).is_err() {
            fs::copy(&program, &place).call("copy", &place)?;
        }
    }
    if needs_libraries()? {
        add_libraries(&tools::find("probe")?, root)?;
    }
    Ok(())
}

/// Whether the probe was linked dynamically, as `cargo build` alone does.
fn needs_libraries() -> Result<bool, Error> {
    static NEEDS: OnceLock<bool> = OnceLock::new();
    if let Some(needs) = NEEDS.get() {
        return Ok(*needs);
    }
    let listing = tools::output(Command::new("ldd").arg(tools::find("probe")?));
    // `ldd` fails for a static program.
    Ok(*NEEDS.get_or_init(|| listing.is_ok_and(|text| !libraries(&text).is_empty())))
}

/// The one copy of each program, made when it is first asked for.
fn programs() -> Result<Vec<PathBuf>, Error> {
    static COPIES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    // Two threads must not both write what the first may be executing.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(copies) = COPIES.get() {
        return Ok(copies.clone());
    }
    let directory = fixture::base().join(format!("reeve-test-programs-{}", std::process::id()));
    fs::create_dir_all(&directory).call("mkdir", &directory)?;
    let mut sources = vec![tools::find("probe")?];
    sources.extend(tools::find("busybox").ok());
    let mut copies = Vec::new();
    for source in sources {
        let copy = directory.join(source.file_name().unwrap_or_default());
        copy_program(&source, &copy)?;
        copies.push(copy);
    }
    Ok(COPIES.get_or_init(|| copies).clone())
}

/// Copies a program and makes it executable.
pub fn copy_program(from: &Path, to: &Path) -> Result<(), Error> {
    fs::copy(from, to).call("copy", from)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).call("chmod", to)
}

/// Copies the dynamic libraries of `program`, and its loader, to where it looks for them under
/// `root`. A static program has none.
pub fn add_libraries(program: &Path, root: &Path) -> Result<(), Error> {
    let Ok(listing) = tools::output(Command::new("ldd").arg(program)) else {
        return Ok(());
    };
    for library in libraries(&listing) {
        let place = root.join(library.trim_start_matches('/'));
        if place.exists() {
            continue;
        }
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory).call("mkdir", directory)?;
        }
        copy_program(Path::new(library), &place)?;
    }
    Ok(())
}

/// Absolute paths in the output of `ldd`.
fn libraries(listing: &str) -> Vec<&str> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let listing = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(
            libraries(listing),
            ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
