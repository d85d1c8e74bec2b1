//! Host paths to identities: what a policy names is looked up once, when the container is made, and
//! from then on known by device and inode. This is the side of the policy compiler that does I/O.
//!
//! A path is opened, never stated by name twice: everything that is asked about an object is asked
//! of one `O_PATH` descriptor. Symbolic links of the host are followed, magic links of procfs are
//! not; nothing is mounted on the way.

mod disks;
mod generation;
mod modules;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ebpf_common::abi::{device_class, kernel_dev};
use policy::{CoreObject, Facts, Found, Inode, Object, ObjectKind, PathKey, Policy, Submount, Why};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags,
};
use rustix::io::Errno;

use crate::failure::{Called, Failure};
use crate::mountinfo::{self, Mount};

/// Most directories above a path: far more than a path of legal length has.
const MAX_ANCESTORS: usize = 4096;

/// Why a policy's paths could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed in another way than "no such file".
    #[error(transparent)]
    Call(#[from] Failure),
    /// A path leads to a name that is not UTF-8, which a policy cannot hold.
    #[error("`{path}` leads to a path that is not UTF-8")]
    NotUtf8 {
        /// The path that was looked up.
        path: String,
    },
    /// A path goes through a magic link of procfs.
    #[error("`{path}` goes through a magic link\nhelp: name the path that it leads to")]
    MagicLink {
        /// The path that was looked up.
        path: String,
    },
}

/// Looks up everything that a policy names. What is the container's own, and Reeve's core, are for
/// the caller to add.
///
/// # Errors
/// A path that cannot be looked up; one that does not exist is an answer, not an error.
pub fn facts(policy: &Policy) -> Result<Facts, Error> {
    let resolver = Resolver::new()?;
    let mut facts = Facts::default();
    for request in policy.paths() {
        let found = match request.why {
            Why::Module => resolver.module(&request.path)?,
            _ => resolver.path(&request.path)?,
        };
        facts.paths.insert(request.key(), found);
    }
    facts.disks = disks::below_mounts(&resolver.mounts);
    Ok(facts)
}

/// Adds look-ups of further paths, such as those of a question.
///
/// # Errors
/// As [`facts`].
pub fn add_paths<'a>(
    facts: &mut Facts,
    paths: impl IntoIterator<Item = &'a str>,
) -> Result<(), Error> {
    let resolver = Resolver::new()?;
    for path in paths {
        let found = resolver.path(path)?;
        facts.paths.insert(PathKey::Path(path.to_owned()), found);
    }
    Ok(())
}

/// A directory of Reeve's own, for [`Facts::core`]; `None` if it does not exist.
///
/// # Errors
/// A path that cannot be looked up.
pub fn core_object(path: &str) -> Result<Option<CoreObject>, Error> {
    let Some(fd) = open(path)? else {
        return Ok(None);
    };
    let found = stat(&fd, path)?;
    let (path, inode) = (real_path(&fd, path)?, inode(&found));
    let above = ancestors(&fd, kind(&found), &path)?;
    Ok(Some(CoreObject { above, path, inode }))
}

/// Identity of an open file or directory.
///
/// # Errors
/// `fstat` fails.
pub fn inode_of(fd: BorrowedFd<'_>) -> Result<Inode, Failure> {
    let found = rustix::fs::fstat(fd).called(|| format!("fstat({})", fd.as_raw_fd()))?;
    Ok(inode(&found))
}

/// The mounts of this process's namespace, read once.
struct Resolver {
    mounts: Vec<Mount>,
    mount_points: Vec<String>,
}

impl Resolver {
    fn new() -> Result<Self, Failure> {
        let mounts = mountinfo::mounts()?;
        let points = mounts.iter().map(|mount| mount.point.clone());
        let mut mount_points: Vec<String> = points
            .filter_map(|point| point.into_os_string().into_string().ok())
            .collect();
        mount_points.sort();
        mount_points.dedup();
        Ok(Self {
            mounts,
            mount_points,
        })
    }

    fn path(&self, path: &str) -> Result<Found, Error> {
        match open(path)? {
            Some(fd) => Ok(Found::At(self.object(&fd, path)?)),
            None => Ok(Found::Missing),
        }
    }

    fn module(&self, name: &str) -> Result<Found, Error> {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy().into_owned();
        let folder = Path::new("/lib/modules").join(release);
        let dependencies = read_if_there(&folder.join("modules.dep"))?;
        let Some(files) = modules::files(&dependencies, name) else {
            let built_in = read_if_there(&folder.join("modules.builtin"))?;
            return Ok(match modules::is_listed(&built_in, name) {
                true => Found::BuiltIn,
                false => Found::Missing,
            });
        };
        let mut objects = Vec::new();
        for file in files {
            let path = folder.join(file);
            let path = path.to_string_lossy();
            match open(&path)? {
                Some(fd) => objects.push(self.object(&fd, &path)?),
                None => return Ok(Found::Missing),
            }
        }
        Ok(Found::Module(objects))
    }

    fn object(&self, fd: &OwnedFd, path: &str) -> Result<Object, Error> {
        let found = stat(fd, path)?;
        let real = real_path(fd, path)?;
        let kind = kind(&found);
        let submounts = match kind {
            ObjectKind::Directory => self.submounts(&real),
            _ => Vec::new(),
        };
        Ok(Object {
            inode: inode(&found),
            generation: generation::of(fd.as_fd(), magic(fd, path)?),
            magic: magic(fd, path)?,
            ancestors: ancestors(fd, kind, &real)?,
            real,
            kind,
            submounts,
        })
    }

    /// The roots of the mounts below a directory. One that cannot be looked at (hidden by another
    /// mount, a FUSE mount of somebody else) is left out: what has no rule is refused.
    fn submounts(&self, directory: &str) -> Vec<Submount> {
        let below = self.mount_points.iter().filter(|path| {
            let rest = path.strip_prefix(directory.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
        });
        let mut found = Vec::new();
        for path in below {
            match submount(path) {
                Ok(Some(mount)) => found.push(mount),
                Ok(None) => {}
                Err(failure) => {
                    tracing::debug!(%failure, mount = path, "a mount below a grant is left out");
                }
            }
        }
        found
    }
}

fn submount(path: &str) -> Result<Option<Submount>, Failure> {
    // No symbolic links: a mount point has none. An automount point is looked at, not triggered.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS;
    let fd = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
        .called(|| format!("openat2(AT_FDCWD, \"{path}\", O_PATH|O_NOFOLLOW)"))?;
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(&fd, c"", at, StatxFlags::INO)
        .called(|| format!("statx(\"{path}\", AT_EMPTY_PATH)"))?;
    let root = StatxAttributes::MOUNT_ROOT;
    if found.stx_attributes_mask.contains(root) && !found.stx_attributes.contains(root) {
        return Ok(None);
    }
    Ok(Some(Submount {
        path: path.to_owned(),
        inode: Inode {
            dev: kernel_dev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
        },
        generation: generation::of(fd.as_fd(), magic(&fd, path)?),
        magic: magic(&fd, path)?,
    }))
}

fn read_if_there(path: &Path) -> Result<String, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).called(|| format!("open(\"{}\", O_RDONLY)", path.display())),
    }
}

/// Opens a path for asking about it; `None` if there is nothing.
fn open(path: &str) -> Result<Option<OwnedFd>, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP) if path.starts_with("/proc") => Err(Error::MagicLink {
            path: path.to_owned(),
        }),
        Err(errno) => {
            let call = format!("openat2(AT_FDCWD, \"{path}\", O_PATH, RESOLVE_NO_MAGICLINKS)");
            Err(Failure::new(call, errno).into())
        }
    }
}

fn stat(fd: &OwnedFd, path: &str) -> Result<Stat, Failure> {
    rustix::fs::fstat(fd).called(|| format!("fstat(\"{path}\")"))
}

fn magic(fd: &OwnedFd, path: &str) -> Result<u32, Failure> {
    let found = rustix::fs::fstatfs(fd).called(|| format!("fstatfs(\"{path}\")"))?;
    // Magic numbers have 32 bits; `f_type` is wider and signed.
    #[allow(clippy::cast_possible_truncation, reason = "the upper half is padding")]
    Ok(found.f_type as u32)
}

fn inode(found: &Stat) -> Inode {
    let (major, minor) = (
        rustix::fs::major(found.st_dev),
        rustix::fs::minor(found.st_dev),
    );
    Inode {
        dev: kernel_dev(major, minor),
        ino: found.st_ino,
    }
}

fn kind(found: &Stat) -> ObjectKind {
    let (major, minor) = (
        rustix::fs::major(found.st_rdev),
        rustix::fs::minor(found.st_rdev),
    );
    let device = |class| ObjectKind::Device {
        class,
        major,
        minor,
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => ObjectKind::Directory,
        FileType::BlockDevice => device(device_class::BLOCK),
        FileType::CharacterDevice => device(device_class::CHAR),
        _ => ObjectKind::File,
    }
}

fn real_path(fd: &OwnedFd, path: &str) -> Result<String, Error> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let real = rustix::fs::readlinkat(CWD, &link, Vec::new())
        .called(|| format!("readlinkat(AT_FDCWD, \"{link}\")"))?;
    real.into_string().map_err(|_| Error::NotUtf8 {
        path: path.to_owned(),
    })
}

/// The directories above an object, up to the root of this process.
fn ancestors(fd: &OwnedFd, kind: ObjectKind, real: &str) -> Result<Vec<Inode>, Error> {
    let mut above = Vec::new();
    let mut at = match kind {
        ObjectKind::Directory => parent_of(fd.as_fd(), real)?,
        _ => {
            let folder = real.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let folder = if folder.is_empty() { "/" } else { folder };
            match open(folder)? {
                Some(fd) => fd,
                None => return Ok(above),
            }
        }
    };
    let mut last = match kind {
        ObjectKind::Directory => inode(&stat(fd, real)?),
        _ => Inode::default(),
    };
    while above.len() < MAX_ANCESTORS {
        let next = inode(&stat(&at, real)?);
        if next == last {
            break;
        }
        above.push(next);
        last = next;
        at = parent_of(at.as_fd(), real)?;
    }
    Ok(above)
}

fn parent_of(directory: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, c"..", flags, Mode::empty())
        .called(|| format!("openat(\"{path}\", \"..\", O_PATH|O_DIRECTORY)"))
}

#[cfg(test)]
mod tests;
