//! Just doing it.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "plain",
    about: "Just doing it: what every capability together would allow.",
    attempts: ATTEMPTS,
};

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("open_read", "read a file", &["open r {plot}/file"], "file_open", EACCES),
    attempt("open_write", "open a file for writing", &["open w {plot}/file"], "file_open", EACCES),
    attempt("open_append", "open a file for appending",
        &["open append {plot}/file"], "file_open", EACCES),
    attempt("open_truncate", "cut a file as it is opened",
        &["open trunc {plot}/file"], "file_open", EACCES),
    attempt("open_to_read_and_truncate", "cut a file that is opened for reading only",
        &["open read-trunc {plot}/file"], "file_open", EACCES),
    attempt("open_for_neither", "open a file for `ioctl` only, with access mode 3",
        &["open neither {plot}/file"], "file_open", EACCES),
    attempt("list", "list a directory", &["list {plot}/private"], "file_open", EACCES),
    attempt("create", "create a file", &["create {plot}/new"], "path_mknod", EACCES),
    attempt("make_directory", "create a directory",
        &["mkdir {plot}/new"], "path_mkdir", EACCES),
    attempt("make_fifo", "create a fifo", &["mknod {plot}/new fifo"], "path_mknod", EACCES),
    attempt("make_socket", "bind a unix socket",
        &["bind-socket {plot}/new"], "path_mknod", EACCES),
    attempt("make_symlink", "create a symbolic link",
        &["symlink file {plot}/new"], "path_symlink", EACCES),
    attempt("delete", "delete a file", &["unlink {plot}/file"], "path_unlink", EACCES),
    attempt("delete_directory", "delete a directory",
        &["rmdir {plot}/directory"], "path_rmdir", EACCES),
    attempt("rename", "rename a file",
        &["rename {plot}/file {plot}/new"], "path_rename", EACCES),
    attempt("truncate", "cut a file", &["truncate {plot}/file 0"], "path_truncate", EACCES),
    attempt("chmod", "open a file to everyone", &["chmod {plot}/file 0777"], "path_chmod", EPERM),
    attempt("chown", "give a file to somebody else",
        &["chown {plot}/file 1 1"], "path_chown", EPERM),
    attempt("set_attribute", "set an extended attribute",
        &["setxattr {plot}/file user.reeve x"], "inode_setxattr", EACCES),
    attempt("set_acl", "set an access control list",
        &["setacl {plot}/file"], "inode_set_acl", EPERM),
    attempt("set_times", "change the times of a file",
        &["call utimensat -100 '{plot}/file 0 0"], "inode_setattr", EACCES),
    attempt("execute", "execute a program of the host",
        &["exec {plot}/program pid"], "file_open", EACCES),
    attempt("kill", "kill a process of the host", &["kill {pid} 9"], "task_kill", EPERM),
    attempt("kill_probe", "ask whether a process of the host is there",
        &["kill {pid} 0"], "task_kill", EPERM),
    attempt("kill_by_pidfd", "kill a process of the host by its pidfd",
        &["pidfd-kill {pid} 9"], "task_kill", EPERM),
    attempt("kill_queued", "queue a signal to a process of the host",
        &["call rt_sigqueueinfo {pid} 15 [4:15,4:0,4:-1]"], "task_kill", EPERM),
    attempt("kill_group", "kill a process group of the host",
        &["kill -{pid} 15"], "task_kill", EPERM),
    attempt("trace", "trace a process of the host",
        &["ptrace-attach {pid}"], "ptrace_access_check", EPERM),
    attempt("read_memory", "read a process of the host's memory by a system call",
        &["process-vm-read {pid} {address}"], "ptrace_access_check", EPERM),
    attempt("mount_tmpfs", "mount over a directory of the host",
        &["mount-tmpfs {plot}/directory"], "sb_mount", EPERM)
        .after(&["umount {plot}/directory detach"]),
    attempt("mount_bind", "bind a directory of the host elsewhere",
        &["mount-bind {plot} /mnt"], "sb_mount", EPERM)
        .after(&["umount /mnt detach"]),
    attempt("unmount", "unmount a file system of the host",
        &["umount /host/dev/mqueue detach"], "capable", EPERM),
    attempt("mount_by_new_calls", "make a mount with `fsopen` and its like",
        &["fsopen-tmpfs {plot}/directory"], "capable", EPERM)
        .after(&["umount {plot}/directory detach"]),
    attempt("change_root", "make a directory of the host the root",
        &["chroot {plot}"], "capable", EPERM),
    attempt("open_disk", "open the disk below", &["open r {disk}"], "file_open", EACCES),
    attempt("load_module", "load a module from its file",
        &["finit-module {module}"], "capable", EPERM)
        .after(&["delete-module dummy"]),
    attempt("load_module_from_memory", "load a module from memory",
        &["init-module {module}"], "capable", EPERM)
        .after(&["delete-module dummy"]),
    attempt("make_map", "make an eBPF map", &["bpf-map-create"], "bpf", EPERM)
        .older_hook((6, 5), "capable"),
    attempt("load_program", "load an eBPF program", &["bpf-prog-load"], "bpf", EPERM)
        .older_hook((6, 5), "capable"),
    attempt("set_clock", "set the clock", &["settime"], "capable", EPERM),
    attempt("set_time_of_day", "set the clock by the old call",
        &["settimeofday"], "capable", EPERM),
    attempt("tune_clock", "tune the clock", &["adjtimex"], "capable", EPERM),
    attempt("set_host_name", "change the host's name",
        &["sethostname reeve-guest"], "capable", EPERM),
    attempt("set_domain_name", "change the host's domain",
        &["setdomainname reeve"], "capable", EPERM),
    attempt("start_swapping", "give the kernel a file to swap to",
        &["swapon {plot}/swap"], "capable", EPERM)
        .after(&["call swapoff '{plot}/swap"]),
    attempt("keep_accounts", "have the kernel write accounts to a file",
        &["acct {plot}/file"], "capable", EPERM)
        .after(&["call acct 0"]),
    attempt("reboot", "tell the machine what ctrl-alt-del does",
        &["reboot-keys"], "capable", EPERM),
    attempt("read_passwords", "read the host's passwords",
        &["open r /host/etc/shadow"], "file_open", EACCES),
];
