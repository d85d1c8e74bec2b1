//! Detached trees of mounts: made, changed, and attached by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    fspick, move_mount, open_tree,
};

use crate::failure::{Called, Failure};
use crate::spec::{FsOption, MountAttrs, attr};
use crate::sys::{MountAttr, mount_setattr};

/// Longest value of an option that `fsconfig` takes.
const VALUE_BYTES_MAX: usize = 255;

/// A detached copy of the mount at `at`, from there down.
pub(in crate::child) fn clone_tree(at: impl AsFd, recursive: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, "", flags).called(|| match recursive {
        true => "open_tree(OPEN_TREE_CLONE|AT_RECURSIVE)",
        false => "open_tree(OPEN_TREE_CLONE)",
    })
}

/// A detached copy of the mount that a path of the host leads to, from there down.
pub(crate) fn clone_path(path: &Path, recursive: bool, follow: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut text = "OPEN_TREE_CLONE".to_owned();
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
        text += "|AT_RECURSIVE";
    }
    if !follow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        text += "|AT_SYMLINK_NOFOLLOW";
    }
    open_tree(CWD, path, flags).called(|| format!("open_tree(\"{}\", {text})", path.display()))
}

/// Mounts a detached tree on a directory or file.
pub(in crate::child) fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags).called(|| "move_mount()")
}

/// Mounts a detached tree on an entry of a directory; a link there is not followed.
pub(super) fn attach_in(tree: impl AsFd, dir: impl AsFd, name: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", dir, name, flags).called(|| format!("move_mount(\"{name}\")"))
}

/// A new file system, not attached anywhere.
pub(super) fn new_mount(
    fs_type: &str,
    source: Option<&str>,
    options: &[FsOption],
    attrs: MountAttrs,
) -> Result<OwnedFd, Failure> {
    let fs =
        fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).called(|| format!("fsopen(\"{fs_type}\")"))?;
    if let Some(source) = source {
        fsconfig_set_string(&fs, "source", source).map_err(|errno| {
            explain(
                &fs,
                format!("fsconfig({fs_type}, \"source={source}\")"),
                errno,
            )
        })?;
    }
    configure(&fs, fs_type, options)?;
    fsconfig_create(&fs)
        .map_err(|errno| explain(&fs, format!("fsconfig({fs_type}, CMD_CREATE)"), errno))?;
    let flags = MountAttrFlags::from_bits_retain(attrs.set as u32);
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)
        .map_err(|errno| explain(&fs, format!("fsmount({fs_type})"), errno))
}

/// Gives the file system that is mounted at `mount` other options.
pub(super) fn reconfigure(mount: BorrowedFd<'_>, options: &[FsOption]) -> Result<(), Failure> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let fs = fspick(mount, "", flags).called(|| "fspick()")?;
    configure(&fs, "remount", options)?;
    fsconfig_reconfigure(&fs)
        .map_err(|errno| explain(&fs, "fsconfig(CMD_RECONFIGURE)".to_owned(), errno))
}

fn configure(fs: &OwnedFd, what: &str, options: &[FsOption]) -> Result<(), Failure> {
    for (name, value) in options {
        match (name.as_str(), value) {
            // One at a time, since the kernel takes values only up to a length.
            ("lowerdir", Some(value)) if what == "overlay" && value.len() > VALUE_BYTES_MAX => {
                value
                    .split(':')
                    .try_for_each(|layer| set_option(fs, what, "lowerdir+", Some(layer)))?;
            }
            (name, value) => set_option(fs, what, name, value.as_deref())?,
        }
    }
    Ok(())
}

fn set_option(fs: &OwnedFd, what: &str, name: &str, value: Option<&str>) -> Result<(), Failure> {
    let result = match value {
        Some(value) => fsconfig_set_string(fs, name, value),
        None => fsconfig_set_flag(fs, name),
    };
    result.map_err(|errno| {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        explain(fs, format!("fsconfig({what}, \"{name}{value}\")"), errno)
    })
}

/// The kernel says more about a refused option than an errno can.
fn explain(fs: &OwnedFd, call: String, errno: Errno) -> Failure {
    let mut text = [0; 256];
    let said = match rustix::io::read(fs, &mut text[..]) {
        Ok(length) if length > 2 => {
            let said = String::from_utf8_lossy(&text[2..length]);
            format!(" [{}]", said.trim_end())
        }
        _ => String::new(),
    };
    Failure::new(call + &said, errno)
}

/// Sets attributes, without a call if there is nothing to set.
pub(super) fn set_attrs(
    tree: impl AsFd,
    attrs: MountAttrs,
    recursive: bool,
) -> Result<(), Failure> {
    change(tree, attrs, None, recursive)
}

/// Sets the propagation of a mount.
pub(crate) fn set_propagation(tree: impl AsFd, flag: u64, recursive: bool) -> Result<(), Failure> {
    change(tree, MountAttrs::default(), Some(flag), recursive)
}

/// Sets attributes and propagation in one call, or none if neither changes.
pub(super) fn change(
    tree: impl AsFd,
    attrs: MountAttrs,
    propagation: Option<u64>,
    recursive: bool,
) -> Result<(), Failure> {
    if attrs.is_empty() && propagation.is_none() {
        return Ok(());
    }
    // The access-time field can only be cleared as a whole, and must be in order to be set.
    let with_atime = match attrs.set & attr::ATIME {
        0 => attrs.clear,
        _ => attrs.clear | attr::ATIME,
    };
    let raw = MountAttr {
        attr_set: attrs.set,
        attr_clr: with_atime,
        propagation: propagation.unwrap_or_default(),
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), &raw, recursive).called(|| {
        let deep = if recursive { ", AT_RECURSIVE" } else { "" };
        let propagation = propagation.map(|flag| format!(", propagation={flag:#x}"));
        let propagation = propagation.unwrap_or_default();
        let set = attrs.set;
        format!("mount_setattr(set={set:#x}, clear={with_atime:#x}{propagation}{deep})")
    })
}
