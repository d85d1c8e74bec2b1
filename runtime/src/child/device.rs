//! Device nodes and links below `/dev`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, makedev, mknodat, openat,
    readlinkat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::mount::{attach, clone_tree};
use super::rooted::Root;
use crate::failure::{Called, Failure};
use crate::plan::Link;
use crate::spec::{Device, DeviceKind};

/// A directory that nodes are made in; most are made in the same one.
struct Directory {
    path: PathBuf,
    fd: OwnedFd,
    /// Whether what is made in it belongs to its group.
    gives_group: bool,
}

/// Makes nodes, or binds those of the host: with `bind`, or where nodes may not be made.
pub(super) fn make_all(root: &Root, devices: &[Device], bind: bool) -> Result<(), Failure> {
    let mut directory: Option<Directory> = None;
    for device in devices {
        if bind && device.kind != DeviceKind::Fifo {
            bind_host(root, device)?;
            continue;
        }
        let parent = device.path.parent().unwrap_or(Path::new("/"));
        let same = directory.take().filter(|known| known.path == parent);
        let current = match same {
            Some(known) => known,
            None => Directory::open(root, device)?,
        };
        make(root, directory.insert(current), device)?;
    }
    Ok(())
}

impl Directory {
    fn open(root: &Root, device: &Device) -> Result<Self, Failure> {
        let (fd, _) = root.parent(&device.path)?;
        let path = device.path.parent().unwrap_or(Path::new("/")).to_owned();
        let found = fstat(&fd).called(|| format!("fstat(root, \"{}\")", path.display()))?;
        let gives_group = Mode::from_raw_mode(found.st_mode).contains(Mode::SGID);
        Ok(Self {
            path,
            fd,
            gives_group,
        })
    }
}

fn make(root: &Root, directory: &Directory, device: &Device) -> Result<(), Failure> {
    let dir = &directory.fd;
    let name = device.path.file_name().unwrap_or_default();
    let number = makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(dir, name, file_type(device), mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = openat(dir, name, flags, Mode::empty())
                .called(|| format!("openat(root, \"{}\")", device.path.display()))?;
            return refuse_other(&there, device, "root");
        }
        Err(Errno::PERM) if device.kind != DeviceKind::Fifo => return bind_host(root, device),
        Err(errno) => {
            let call = format!("mknodat(root, \"{}\")", device.path.display());
            return Err(Failure::new(call, errno));
        }
    }
    if (device.uid, device.gid) == (0, 0) && !directory.gives_group {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .called(|| format!("fchownat(root, \"{}\")", device.path.display()))
}

fn bind_host(root: &Root, device: &Device) -> Result<(), Failure> {
    let path = &device.path;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let host = rustix::fs::open(path, flags, Mode::empty())
        .called(|| format!("open(\"{}\", O_PATH)", path.display()))?;
    refuse_other(&host, device, "host")?;
    let (target, _) = root.make_plain_file(path)?;
    attach(clone_tree(&host, false)?, &target)
}

/// Refuses a file that is not the device.
fn refuse_other(file: &OwnedFd, device: &Device, whose: &str) -> Result<(), Failure> {
    let call = || format!("fstat({whose}, \"{}\")", device.path.display());
    let found = fstat(file).called(call)?;
    let same = FileType::from_raw_mode(found.st_mode) == file_type(device)
        && (device.kind == DeviceKind::Fifo
            || found.st_rdev == makedev(device.major, device.minor));
    if same {
        Ok(())
    } else {
        Err(Failure::new(call() + ", not the device", Errno::EXIST))
    }
}

fn file_type(device: &Device) -> FileType {
    match device.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Makes symbolic links. What the image has in a place stays, unless the link is to replace it.
pub(super) fn link_all(root: &Root, links: &[Link]) -> Result<(), Failure> {
    let mut directory: Option<(&Path, OwnedFd)> = None;
    for one in links {
        let parent = one.path.parent().unwrap_or(Path::new("/"));
        let same = directory.take().filter(|(path, _)| *path == parent);
        let current = match same {
            Some(known) => known,
            None => (parent, root.parent(&one.path)?.0),
        };
        link(&directory.insert(current).1, one)?;
    }
    Ok(())
}

fn link(dir: &OwnedFd, link: &Link) -> Result<(), Failure> {
    let name = link.path.file_name().unwrap_or_default();
    let call = |call: &str| format!("{call}(root, \"{}\")", link.path.display());
    match symlinkat(&link.target, dir, name) {
        Err(Errno::EXIST) if !link.replace => Ok(()),
        Err(Errno::EXIST) => {
            let says = readlinkat(dir, name, Vec::new());
            if says.is_ok_and(|says| says.to_bytes() == link.target.as_os_str().as_encoded_bytes())
            {
                return Ok(());
            }
            unlinkat(dir, name, AtFlags::empty()).called(|| call("unlinkat"))?;
            symlinkat(&link.target, dir, name).called(|| call("symlinkat"))
        }
        result => result.called(|| call("symlinkat")),
    }
}
