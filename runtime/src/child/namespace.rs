//! Namespaces that the process enters or makes by itself.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::failure::{Called, Failure};
use crate::spec::NamespaceKind;
use crate::sys;

/// Enters the namespace behind a file of the host; one of another kind is refused.
pub(crate) fn join(kind: NamespaceKind, path: &Path) -> Result<(), Failure> {
    let typ = match kind {
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Time => LinkNameSpaceType::Time,
        // Of the children, not of this process.
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
    };
    let file = File::open(path).called(|| format!("open(\"{}\")", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(typ))
        .called(|| format!("setns(\"{}\", {kind})", path.display()))
}

/// User and group 0 of the user namespace. Where groups may not be set, there are none to give up
/// (user_namespaces(7), "/proc/PID/setgroups").
pub(super) fn become_root() -> Result<(), Failure> {
    match set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(Failure::new("setgroups(0)", errno)),
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).called(|| "setresgid(0, 0, 0)")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).called(|| "setresuid(0, 0, 0)")
}

pub(super) fn new_cgroup() -> Result<(), Failure> {
    sys::unshare_cgroup_namespace().called(|| "unshare(CLONE_NEWCGROUP)")
}
