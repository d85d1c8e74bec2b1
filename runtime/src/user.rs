//! Whether this process is the host's root.

use std::fs;

/// Whether it is an ordinary user, or the root of a user namespace of one: engines that run without
/// root put themselves and their runtime into such a namespace. Cgroups and directories of the host
/// are not theirs then, whatever their number is.
pub(crate) fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || in_user_namespace()
}

/// Whether it is in a user namespace that is not the host's. The host's alone maps every number to
/// itself (user_namespaces(7)).
pub(crate) fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}
