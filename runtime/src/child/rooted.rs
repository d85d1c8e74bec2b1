//! Paths inside the container's root, looked up so that nothing in it leads out.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::failure::{Called, Failure};

/// How often a look-up that raced with a rename or mount elsewhere is tried again.
const TRIES: u32 = 128;

/// A directory that acts as root of every path given to it.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// What is made where something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Root {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens `path`; symbolic links are followed inside the root, magic ones never.
    pub(super) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Failure> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        self.resolve(path, flags, resolve)
            .called(|| format!("openat2(root, \"{}\")", path.display()))
    }

    /// Opens `path`, in which no component may be a symbolic link.
    pub(super) fn open_plain(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Failure> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        self.resolve(path, flags, resolve)
            .called(|| format!("openat2(root, \"{}\", no symlinks)", path.display()))
    }

    fn resolve(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = relative(path);
        let flags = flags | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            match openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Opens the directory `path`, making what is missing of it. A component that is made is never
    /// a link.
    pub(super) fn make_dir(&self, path: &Path) -> Result<OwnedFd, Failure> {
        self.make(path, Entry::Directory).map(|(fd, _)| fd)
    }

    /// Opens `path`, making it, and its directories, if it is missing. Says whether it was there.
    pub(super) fn make(&self, path: &Path, entry: Entry) -> Result<(OwnedFd, bool), Failure> {
        let flags = match entry {
            Entry::Directory => OFlags::PATH | OFlags::DIRECTORY,
            Entry::File => OFlags::PATH,
        };
        match self.open(path, flags) {
            Err(failure) if failure.is(Errno::NOENT) => {}
            result => return result.map(|fd| (fd, true)),
        }
        self.make_missing(path, entry).map(|fd| (fd, false))
    }

    /// Opens or makes the file `path`, in which no component may be a symbolic link.
    pub(super) fn make_plain_file(&self, path: &Path) -> Result<(OwnedFd, bool), Failure> {
        match self.open_plain(path, OFlags::PATH) {
            Err(failure) if failure.is(Errno::NOENT) => {}
            result => return result.map(|fd| (fd, true)),
        }
        let (dir, _) = self.parent(path)?;
        make_entry(&dir, path, Entry::File).map(|fd| (fd, false))
    }

    /// Makes `path`, which was found missing. From the last directory that
    /// exists on, each component is made in and opened below the one before.
    pub(super) fn make_missing(&self, path: &Path, entry: Entry) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut missing: Vec<&Path> = vec![path];
        let mut dir = loop {
            let last = missing.last().and_then(|path| path.parent());
            let Some(parent) = last else {
                let call = format!("openat2(root, \"{}\")", path.display());
                return Err(Failure::new(call, Errno::NOENT));
            };
            match self.open(parent, flags) {
                Err(failure) if failure.is(Errno::NOENT) => missing.push(parent),
                result => break result?,
            }
        };
        while let Some(one) = missing.pop() {
            let entry = if missing.is_empty() {
                entry
            } else {
                Entry::Directory
            };
            dir = make_entry(&dir, one, entry)?;
        }
        Ok(dir)
    }

    /// Opens or makes the last component of `path` without following it if it is a link.
    pub(super) fn make_nofollow(
        &self,
        path: &Path,
        entry: Entry,
    ) -> Result<(OwnedFd, bool), Failure> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (self.make_dir(parent)?, name),
            _ => return Err(Failure::new("openat(root, \"/\")", Errno::ISDIR)),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => make_entry(&parent, path, entry).map(|fd| (fd, false)),
            result => result
                .called(|| format!("openat(root, \"{}\", O_NOFOLLOW)", path.display()))
                .map(|fd| (fd, true)),
        }
    }

    /// The directory of `path`, without any symbolic link on the way, and the last component.
    pub(super) fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Failure> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let call = format!("openat2(root, \"{}\")", path.display());
            return Err(Failure::new(call, Errno::ISDIR));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let dir = match self.open_plain(parent, flags) {
            Err(failure) if failure.is(Errno::NOENT) => {
                self.make_dir(parent)?;
                self.open_plain(parent, flags)?
            }
            result => result?,
        };
        Ok((dir, name))
    }
}

/// Makes the last component of `path` in `dir`, where that lies, and opens it.
fn make_entry(dir: impl AsFd, path: &Path, entry: Entry) -> Result<OwnedFd, Failure> {
    let name = path.file_name().unwrap_or_default();
    let call = |call: &str| format!("{call}(root, \"{}\")", path.display());
    let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = match entry {
        Entry::Directory => {
            flags |= OFlags::DIRECTORY;
            mkdirat(&dir, name, Mode::from_raw_mode(0o755))
        }
        Entry::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o644);
            openat(&dir, name, flags | OFlags::WRONLY, mode).map(drop)
        }
    };
    match (made, entry) {
        // Another container may have made it meanwhile; a link is not followed.
        (Ok(()), _) | (Err(Errno::EXIST), Entry::Directory) => {}
        (Err(errno), Entry::Directory) => return Err(Failure::new(call("mkdirat"), errno)),
        (Err(errno), Entry::File) => {
            return Err(Failure::new(call("openat(O_CREAT|O_EXCL)"), errno));
        }
    }
    openat(dir, name, flags, Mode::empty()).called(|| call("openat(O_PATH)"))
}

/// A path of the container as `openat2` wants it below a root.
fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(dir: &Path) -> Root {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Root::new(rustix::fs::open(dir, flags, Mode::empty()).unwrap())
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("root");
        fs::create_dir(&dir).unwrap();
        symlink(outside.path(), dir.join("absolute")).unwrap();
        symlink("../..", dir.join("relative")).unwrap();
        symlink("/nowhere", dir.join("dangling")).unwrap();
        let root = root(&dir);

        root.make_dir(Path::new("/absolute/made")).unwrap_err();
        let up = root.open(Path::new("/relative"), OFlags::PATH).unwrap();
        let up = rustix::fs::fstat(up).unwrap().st_ino;
        assert_eq!(up, rustix::fs::fstat(&root).unwrap().st_ino);
        assert!(root.make_dir(Path::new("/dangling/x")).is_err());
        assert!(root.make(Path::new("/dangling"), Entry::File).is_err());
        assert!(!outside.path().join("made").exists());
    }

    #[test]
    fn what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        root.make_dir(Path::new("/a/b/c")).unwrap();
        let file = Path::new("/a/d/e");
        assert!(!root.make(file, Entry::File).unwrap().1);
        assert!(root.make(file, Entry::File).unwrap().1);
        assert!(dir.path().join("a/b/c").is_dir());
        assert!(dir.path().join("a/d/e").is_file());
    }

    #[test]
    fn a_linked_directory_is_no_place_for_devices() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("dev")).unwrap();
        let failure = root(dir.path()).parent(Path::new("/dev/null")).unwrap_err();
        assert!(failure.is(Errno::LOOP), "{failure}");
    }
}
