//! Mounts, by the file-descriptor-based calls: what is mounted is a descriptor, and so is where.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::rooted::Root;
use crate::failure::{Called, Failure};
use crate::plan::CgroupMount;
use crate::spec::{Mount, MountAttrs, MountKind, Propagation, attr};
use crate::sys::{MountAttr, mount_setattr};

/// Options of a file system type.
type FsOptions = [(String, Option<String>)];

pub(super) fn stop_propagation(kind: Propagation) -> Result<(), Failure> {
    let flag = match kind {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
    };
    mount_change("/", flag | MountPropagationFlags::REC)
        .called(|| format!("mount(\"/\", {kind:?} recursively)"))
}

/// Makes the root file system a mount of its own, where it lies. It must still be the directory
/// that the policy was compiled for.
pub(super) fn rootfs(path: &Path, identity: (u64, u64)) -> Result<Root, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())
        .called(|| format!("open(\"{}\", O_PATH)", path.display()))?;
    let call = || {
        format!(
            "fstat(\"{}\"), another directory than before",
            path.display()
        )
    };
    let found = fstat(&dir).called(call)?;
    if (found.st_dev, found.st_ino) != identity {
        return Err(Failure::new(call(), Errno::STALE));
    }
    let tree = clone_tree(&dir, true)?;
    // `pivot_root` refuses a root that mounts propagate from.
    set_propagation(&tree, libc::MS_PRIVATE, false)?;
    attach(&tree, &dir)?;
    Ok(Root::new(tree))
}

pub(super) fn mount(root: &Root, mount: &Mount) -> Result<(), Failure> {
    let (tree, target) = match &mount.kind {
        MountKind::Bind { source, recursive } => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let from = rustix::fs::open(source, flags, Mode::empty())
                .called(|| format!("open(\"{}\", O_PATH)", source.display()))?;
            let tree = clone_tree(&from, *recursive)?;
            let found = fstat(&from).called(|| format!("fstat(\"{}\")", source.display()))?;
            let target = match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => root.make_dir(&mount.target)?,
                _ => root.make_file(&mount.target)?,
            };
            set_attrs(&tree, mount.attrs, false)?;
            (tree, target)
        }
        MountKind::New {
            fs_type,
            source,
            options,
        } => {
            let tree = new_mount(fs_type, source.as_deref(), options, mount.attrs)?;
            // The kernel's own trees, through a link of the image's making, would land where nobody
            // looks for them.
            let target = match fs_type.as_str() {
                "proc" | "sysfs" => {
                    root.make_dir(&mount.target)?;
                    root.open_plain(&mount.target, OFlags::PATH | OFlags::DIRECTORY)?
                }
                _ => root.make_dir(&mount.target)?,
            };
            (tree, target)
        }
        // Planned as a step of its own.
        MountKind::Cgroup => return Err(Failure::new("mount(cgroup)", Errno::OPNOTSUPP)),
    };
    set_attrs(&tree, mount.recursive_attrs, true)?;
    for (flag, recursive) in &mount.propagation {
        set_propagation(&tree, *flag, *recursive)?;
    }
    attach(&tree, &target)
}

/// The container's cgroups: the version 2 tree, or a tmpfs with one directory a hierarchy.
pub(super) fn cgroups(
    root: &Root,
    target: &Path,
    attrs: MountAttrs,
    mounts: &[CgroupMount],
) -> Result<(), Failure> {
    let dir = root.make_dir(target)?;
    if let [only] = mounts
        && only.name.is_empty()
    {
        return attach(&cgroup_tree(only, attrs)?, &dir);
    }
    let writable = MountAttrs {
        set: attrs.set & !attr::RDONLY,
        ..attrs
    };
    let options = [("mode".to_owned(), Some("755".to_owned()))];
    let tmpfs = new_mount("tmpfs", Some("tmpfs"), &options, writable)?;
    attach(&tmpfs, &dir)?;
    let inside = Root::new(tmpfs);
    for one in mounts {
        let name = Path::new("/").join(&one.name);
        let dir = inside.make_dir(&name)?;
        attach(&cgroup_tree(one, attrs)?, &dir)?;
        // `cpu,cpuacct` is looked for under either name.
        for alias in one.name.split(',').filter(|alias| *alias != one.name) {
            rustix::fs::symlinkat(&one.name, inside.as_fd(), alias)
                .called(|| format!("symlinkat(cgroups, \"{alias}\")"))?;
        }
    }
    set_attrs(inside.as_fd(), attrs, false)
}

fn cgroup_tree(one: &CgroupMount, attrs: MountAttrs) -> Result<OwnedFd, Failure> {
    let Some(dir) = &one.bind else {
        return new_mount(one.fs_type, Some("cgroup"), &one.options, attrs);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())
        .called(|| format!("open(\"{}\", O_PATH)", dir.display()))?;
    let tree = clone_tree(&dir, false)?;
    set_attrs(&tree, attrs, false)?;
    Ok(tree)
}

pub(super) fn mask(root: &Root, path: &Path) -> Result<(), Failure> {
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let found = fstat(&target).called(|| format!("fstat(\"{}\")", path.display()))?;
    let cover = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            let attrs = MountAttrs {
                set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
                clear: 0,
            };
            new_mount("tmpfs", Some("tmpfs"), &[], attrs)?
        }
        _ => clone_tree(&null_device()?, false)?,
    };
    attach(&cover, &target)
}

/// The host's `/dev/null`; the container's could be anything.
fn null_device() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())
        .called(|| "open(\"/dev/null\", O_PATH|O_NOFOLLOW)")?;
    let found = fstat(&null).called(|| "fstat(\"/dev/null\")")?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    if is_device && found.st_rdev == makedev(1, 3) {
        Ok(null)
    } else {
        Err(Failure::new(
            "fstat(\"/dev/null\"), not the null device",
            Errno::NODEV,
        ))
    }
}

pub(super) fn readonly(root: &Root, path: &Path) -> Result<(), Failure> {
    let Some(target) = existing(root, path)? else {
        return Ok(());
    };
    let tree = clone_tree(&target, true)?;
    let attrs = MountAttrs {
        set: attr::RDONLY,
        clear: 0,
    };
    set_attrs(&tree, attrs, true)?;
    attach(&tree, &target)
}

/// A path to be covered; `None` if it does not exist. Any other failure would leave it uncovered,
/// so it counts.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match root.open(path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(failure) if failure.is(Errno::NOENT) => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(super) fn readonly_root(root: &Root) -> Result<(), Failure> {
    let attrs = MountAttrs {
        set: attr::RDONLY,
        clear: 0,
    };
    set_attrs(root.as_fd(), attrs, false)
}

/// Swaps the root. The old one comes to lie over the new one and is taken off from there, so that
/// no directory of the container is needed for it.
pub(super) fn pivot(root: &Root) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::open("/", flags, Mode::empty()).called(|| "open(\"/\", O_PATH)")?;
    fchdir(root.as_fd()).called(|| "fchdir(root)")?;
    pivot_root(".", ".").called(|| "pivot_root(\".\", \".\")")?;
    fchdir(&old).called(|| "fchdir(old root)")?;
    // Unmounting must not travel to the host.
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(".", flags).called(|| "mount(old root, MS_PRIVATE|MS_REC)")?;
    unmount(".", UnmountFlags::DETACH).called(|| "umount2(old root, MNT_DETACH)")?;
    chdir("/").called(|| "chdir(\"/\")")
}

/// Writes a kernel parameter through a procfs that nobody can have mounted anything over.
pub(super) fn sysctl(name: &str, value: &str) -> Result<(), Failure> {
    let proc = procfs()?;
    let path = format!("sys/{}", name.replace('.', "/"));
    let call = |call: &str| format!("{call}(proc, \"{path}\")");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat2(&proc, &path, flags, Mode::empty(), resolve).called(|| call("openat2"))?;
    rustix::io::write(&file, value.as_bytes())
        .called(|| call("write"))
        .map(|_| ())
}

/// A procfs of the caller's pid namespace, mounted nowhere.
pub(super) fn procfs() -> Result<OwnedFd, Failure> {
    new_mount("proc", Some("proc"), &[], MountAttrs::default())
}

/// A detached copy of the mount at `at`, from there down.
pub(super) fn clone_tree(at: &OwnedFd, recursive: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(at, "", flags).called(|| "open_tree(OPEN_TREE_CLONE)")
}

/// Mounts a detached tree on a directory or file.
pub(super) fn attach(tree: &OwnedFd, target: &OwnedFd) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags).called(|| "move_mount()")
}

/// A new file system, not attached anywhere.
fn new_mount(
    fs_type: &str,
    source: Option<&str>,
    options: &FsOptions,
    attrs: MountAttrs,
) -> Result<OwnedFd, Failure> {
    let fs =
        fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).called(|| format!("fsopen(\"{fs_type}\")"))?;
    // The kernel says more about a refused option than an errno can.
    let explain = |call: String, errno: Errno| Failure::new(call + &kernel_says(&fs), errno);
    if let Some(source) = source {
        fsconfig_set_string(&fs, "source", source)
            .map_err(|errno| explain(format!("fsconfig({fs_type}, \"source={source}\")"), errno))?;
    }
    for (name, value) in options {
        let (result, text) = match value {
            Some(value) => (
                fsconfig_set_string(&fs, name.as_str(), value.as_str()),
                format!("{name}={value}"),
            ),
            None => (fsconfig_set_flag(&fs, name.as_str()), name.clone()),
        };
        result.map_err(|errno| explain(format!("fsconfig({fs_type}, \"{text}\")"), errno))?;
    }
    fsconfig_create(&fs)
        .map_err(|errno| explain(format!("fsconfig({fs_type}, CMD_CREATE)"), errno))?;
    let flags = MountAttrFlags::from_bits_retain(attrs.set as u32);
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)
        .map_err(|errno| explain(format!("fsmount({fs_type})"), errno))
}

/// The message that the kernel left with a file system context, if any.
fn kernel_says(fs: &OwnedFd) -> String {
    let mut text = [0; 256];
    match rustix::io::read(fs, &mut text[..]) {
        Ok(length) if length > 2 => {
            let said = String::from_utf8_lossy(&text[2..length]);
            format!(" [{}]", said.trim_end())
        }
        _ => String::new(),
    }
}

fn set_attrs(tree: impl AsFd, attrs: MountAttrs, recursive: bool) -> Result<(), Failure> {
    if attrs.is_empty() {
        return Ok(());
    }
    // The access-time field can only be cleared as a whole, and must be in order to be set.
    let with_atime = attrs.clear
        | if attrs.set & attr::ATIME == 0 {
            0
        } else {
            attr::ATIME
        };
    let raw = MountAttr {
        attr_set: attrs.set,
        attr_clr: with_atime,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), &raw, recursive).called(|| {
        let deep = if recursive { ", AT_RECURSIVE" } else { "" };
        format!(
            "mount_setattr(set={:#x}, clear={with_atime:#x}{deep})",
            attrs.set
        )
    })
}

fn set_propagation(tree: &OwnedFd, flag: u64, recursive: bool) -> Result<(), Failure> {
    let raw = MountAttr {
        propagation: flag,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), &raw, recursive)
        .called(|| format!("mount_setattr(propagation={flag:#x})"))
}
