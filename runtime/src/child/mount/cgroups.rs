//! The container's cgroups.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;

use super::super::rooted::Root;
use super::tree::{attach, attach_in, clone_path, new_mount, set_attrs};
use super::{finish_tree, place};
use crate::failure::{Called, Failure};
use crate::plan::CgroupMount;
use crate::spec::{Mount, MountAttrs, attr};

/// Mounts the version 2 tree, or a tmpfs with one directory a hierarchy.
pub(in crate::child) fn cgroups(
    root: &Root,
    mount: &Mount,
    hierarchies: &[CgroupMount],
) -> Result<(), Failure> {
    let attrs = mount.attrs;
    let target = place::directory(root, mount)?;
    if let [only] = hierarchies
        && only.name.is_empty()
    {
        let tree = cgroup_tree(only, attrs)?;
        finish_tree(&tree, mount, MountAttrs::default())?;
        return attach(&tree, &target);
    }
    let writable = MountAttrs {
        set: attrs.set & !attr::RDONLY,
        ..attrs
    };
    let options = [("mode".to_owned(), Some("755".to_owned()))];
    let tmpfs = new_mount("tmpfs", Some("tmpfs"), &options, writable)?;
    attach(&tmpfs, &target)?;
    let inside = Root::new(tmpfs);
    for one in hierarchies {
        mkdirat(&inside, &one.name, Mode::from_raw_mode(0o755))
            .called(|| format!("mkdirat(cgroups, \"{}\")", one.name))?;
        attach_in(cgroup_tree(one, attrs)?, &inside, &one.name)?;
        // `cpu,cpuacct` is looked for under either name.
        for alias in one.name.split(',').filter(|alias| *alias != one.name) {
            rustix::fs::symlinkat(&one.name, inside.as_fd(), alias)
                .called(|| format!("symlinkat(cgroups, \"{alias}\")"))?;
        }
    }
    finish_tree(&inside, mount, attrs)
}

/// A new mount, whose root is that of the cgroup namespace; or the container's directory where
/// there is no namespace, or where the mount is not allowed (a user namespace with the host's
/// cgroup namespace, or with hierarchies that are mounted otherwise).
fn cgroup_tree(one: &CgroupMount, attrs: MountAttrs) -> Result<OwnedFd, Failure> {
    if !one.bind {
        match new_mount(one.fs_type, Some("cgroup"), &one.options, attrs) {
            Err(failure) if failure.is(Errno::PERM) || failure.is(Errno::BUSY) => {}
            result => return result,
        }
    }
    let tree = clone_path(&one.dir, false, true)?;
    set_attrs(&tree, attrs, false)?;
    Ok(tree)
}
