//! Files and directories of a cgroup file system.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
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

/// Goes through a group and those below it: `visit` gets each before what is below it, `leave` each
/// but the first after that, as a name in its parent.
///
/// A container may nest its groups deeper than a path can be long, or a process have descriptors,
/// or a stack. So this holds one descriptor and goes up by `..`: groups do not move.
///
/// # Errors
/// Those of the two, and a directory that cannot be read, so that nothing is known of what is below
/// it. A group that is gone is none.
pub(super) fn walk(
    top: &Path,
    mut visit: impl FnMut(BorrowedFd<'_>) -> Result<(), Failure>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let call = |call: &str| format!("{call} below \"{}\"", top.display());
    let open = |at: BorrowedFd<'_>, name: &CStr| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(at, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            opened => opened.map(Some).called(|| call("openat(group)")),
        }
    };
    let mut here = match File::open(top) {
        Err(error) if is_gone(&error) => return Ok(()),
        opened => OwnedFd::from(opened.called(|| format!("open(\"{}\")", top.display()))?),
    };
    visit(here.as_fd())?;
    let mut levels = vec![(
        c"".to_owned(),
        groups_in(here.as_fd()).called(|| call("readdir"))?,
    )];
    while let Some((_, names)) = levels.last_mut() {
        if let Some(name) = names.pop() {
            if let Some(below) = open(here.as_fd(), &name)? {
                here = below;
                visit(here.as_fd())?;
                let names = groups_in(here.as_fd()).called(|| call("readdir"))?;
                levels.push((name, names));
            }
            continue;
        }
        let left = levels.pop().filter(|_| !levels.is_empty());
        if let Some((name, _)) = left {
            here = open(here.as_fd(), c"..")?
                .ok_or_else(|| Failure::new(call("openat(group, \"..\")"), Errno::NOENT))?;
            leave(here.as_fd(), &name)?;
        }
    }
    Ok(())
}

/// Names of the groups directly in one; none if it is gone.
fn groups_in(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let gone = |errno| [Errno::NOENT, Errno::NODEV].contains(&errno);
    let entries = match Dir::read_from(dir) {
        Err(errno) if gone(errno) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = match entry {
            Err(errno) if gone(errno) => continue,
            entry => entry?,
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Reads a file of an open group, as [`read`] does.
pub(super) fn read_in(dir: BorrowedFd<'_>, name: &str) -> Result<Option<String>, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut bytes = Vec::new();
    let text = openat(dir, name, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).read_to_end(&mut bytes));
    match text {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error).called(|| format!("read(group, \"{name}\")")),
    }
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
                let (mut found, mut busy) = (false, false);
                let remove = |parent: BorrowedFd<'_>, name: &CStr| {
                    found = true;
                    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => Ok(()),
                        Err(Errno::BUSY) => {
                            busy = true;
                            Ok(())
                        }
                        Err(errno) => {
                            let call = format!("rmdir({name:?}) below \"{}\"", dir.display());
                            Err(Failure::new(call, errno))
                        }
                    }
                };
                walk(dir, |_| Ok(()), remove)?;
                if busy || !found {
                    sleep(Duration::from_millis(5));
                }
            }
            result => return result.called(|| format!("rmdir(\"{}\")", dir.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_may_be_nested_deeper_than_a_path_is_long() {
        let top = tempfile::tempdir().unwrap();
        let mut here = OwnedFd::from(File::open(top.path()).unwrap());
        let name = c"a-name-of-fifty-bytes-or-so-makes-paths-long-soon-";
        for _ in 0..200 {
            rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
            here = openat(&here, name, OFlags::RDONLY, Mode::empty()).unwrap();
        }
        rustix::fs::mkdirat(&here, c"another", Mode::RWXU).unwrap();
        let (mut visited, mut left) = (0, 0);
        let visit = |_: BorrowedFd<'_>| {
            visited += 1;
            Ok(())
        };
        let remove = |parent: BorrowedFd<'_>, name: &CStr| {
            left += 1;
            unlinkat(parent, name, AtFlags::REMOVEDIR).called(|| "unlinkat()")
        };
        walk(top.path(), visit, remove).unwrap();
        assert_eq!((visited, left), (202, 201));
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
        walk(&top.path().join("none"), |_| Ok(()), |_, _| Ok(())).unwrap();
    }
}
