//! Device nodes and links below `/dev`.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, makedev, mknodat, openat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::mount::{attach, clone_tree};
use super::rooted::Root;
use crate::failure::{Called, Failure};
use crate::plan::Link;
use crate::spec::{Device, DeviceKind};

/// Makes a node, or binds the host's where nodes may not be made (a user namespace).
pub(super) fn make(root: &Root, device: &Device) -> Result<(), Failure> {
    let (dir, name) = root.parent(&device.path)?;
    let number = makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(&dir, name, file_type(device), mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = openat(&dir, name, flags, Mode::empty())
                .called(|| format!("openat(root, \"{}\")", device.path.display()))?;
            return refuse_other(&there, device, "root");
        }
        Err(Errno::PERM) => return bind(root, device),
        Err(errno) => {
            let call = format!("mknodat(root, \"{}\")", device.path.display());
            return Err(Failure::new(call, errno));
        }
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .called(|| format!("fchownat(root, \"{}\")", device.path.display()))
}

fn bind(root: &Root, device: &Device) -> Result<(), Failure> {
    let path = &device.path;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let host = rustix::fs::open(path, flags, Mode::empty())
        .called(|| format!("open(\"{}\", O_PATH)", path.display()))?;
    refuse_other(&host, device, "host")?;
    let target = root.make_file(path)?;
    attach(&clone_tree(&host, false)?, &target)
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
        Err(Failure::new(call(), Errno::EXIST))
    }
}

fn file_type(device: &Device) -> FileType {
    match device.kind {
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Fifo => FileType::Fifo,
    }
}

/// Makes a symbolic link in place of whatever file is there.
pub(super) fn link(root: &Root, link: &Link) -> Result<(), Failure> {
    let (dir, name) = root.parent(&link.path)?;
    let call = |call: &str| format!("{call}(root, \"{}\")", link.path.display());
    match symlinkat(&link.target, &dir, name) {
        Err(Errno::EXIST) => {
            unlinkat(&dir, name, AtFlags::empty()).called(|| call("unlinkat"))?;
            symlinkat(&link.target, &dir, name).called(|| call("symlinkat"))
        }
        result => result.called(|| call("symlinkat")),
    }
}
