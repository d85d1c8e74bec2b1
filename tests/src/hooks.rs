//! Which hook governs what, on the running kernel.

use ebpf_common::hooks::HOOKS;

use crate::host;

/// The hook that governs on this kernel what `hook` governs on those that have it.
///
/// # Panics
///
/// If there is no such hook: the test that names it is wrong.
pub fn governing(hook: &str) -> &str {
    let release = host::kernel_release().unwrap_or_default();
    let row = HOOKS.iter().find(|row| row.name == hook);
    if row.is_some_and(|row| row.since <= host::version(&release)) {
        return hook;
    }
    match hook {
        "file_truncate" => "path_truncate",
        "inode_set_acl" => "inode_setxattr",
        "inode_remove_acl" => "inode_removexattr",
        "file_ioctl_compat" | "inode_file_setattr" => "file_ioctl",
        other => panic!("no older hook stands in for `{other}` on this kernel"),
    }
}
