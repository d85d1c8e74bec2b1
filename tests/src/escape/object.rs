//! Lying about the object: the same thing by another name.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "object",
    about: "Lying about the object: to reach what is closed by another name, or to make it \
        look like something else.",
    attempts: ATTEMPTS,
};

const UNMOUNT: &[&str] = &["umount /mnt detach"];

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("symlink_of_own", "through a symbolic link of its own",
        &["symlink {plot}/file {own}/link", "open w {own}/link"], "file_open", EACCES),
    attempt("own_proc_root", "through /proc/self/root",
        &["open w /proc/self/root{plot}/file"], "file_open", EACCES),
    attempt("own_proc_cwd", "through /proc/self/cwd, from inside",
        &["call chdir '{plot}", "open w /proc/self/cwd/file"], "file_open", EACCES),
    attempt("host_proc_root", "through the root of a host process",
        &["open w /host/proc/{pid}/root{bare}/file"], "ptrace_access_check", EACCES),
    attempt("host_proc_cwd", "through the working directory of a host process",
        &["open w /host/proc/{pid}/cwd/file"], "ptrace_access_check", EACCES),
    attempt("host_proc_fd", "through a descriptor of a host process",
        &["open w /host/proc/{pid}/fd/2"], "ptrace_access_check", EACCES),
    attempt("host_proc_exe", "through what a host process executes",
        &["open r /host/proc/{pid}/exe"], "ptrace_access_check", EACCES),
    attempt("host_proc_fd_in_own_proc", "the same in the container's procfs",
        &["open w /proc/{pid}/fd/2"], "ptrace_access_check", EACCES),
    attempt("host_proc_environment", "read the environment of a host process",
        &["open r /host/proc/{pid}/environ"], "file_open", EACCES),
    attempt("reopen", "reopen a descriptor that was opened for nothing (O_PATH)",
        &["reopen w {plot}/file"], "file_open", EACCES),
    attempt("reopen_inherited", "reopen what the host opened",
        &["open rw /proc/self/fd/2"], "file_open", EACCES)
        .differs(0, "the file's mode is open to everyone"),
    attempt("relative_to_descriptor", "relative to a directory that was opened for nothing",
        &["call openat -100 '{plot} 0x200000", "call openat $1 'file 2"], "file_open", EACCES),
    attempt("confined_lookup", "by `openat2` that stays below a directory",
        &["call openat -100 '{plot} 0x200000", "call openat2 $1 'file [8:2,8:0,8:8] 24"],
        "file_open", EACCES),
    attempt("execute_by_descriptor", "execute what was opened for nothing",
        &["exec-reopened {plot}/program pid"],
        "file_open", EACCES),
    attempt("take_descriptor", "take a descriptor out of a host process",
        &["pidfd-getfd {pid} 2"], "ptrace_access_check", EPERM),
    attempt("hard_link_in_granted", "through a hard link in a granted directory",
        &["link {plot}/file {rw}/link"], "path_link", EACCES)
        .differs(EPERM, "the kernel refuses links to what one could not write, by a setting"),
    attempt("hard_link_by_descriptor", "through a hard link of what was opened for nothing",
        &["call openat -100 '{plot}/file 0x200000",
          "call linkat $1 ' -100 '{rw}/link 0x1000"], "path_link", EACCES)
        .differs(EPERM, "the kernel refuses links to what one could not write, by a setting")
        .before((6, 10), libc::ENOENT),
    attempt("move_into_granted", "move a file that it may read to where it may write",
        &["rename {ro}/file {rw}/moved"], "path_rename", EACCES),
    attempt("exchange_with_granted", "exchange a file with a granted one",
        &["rename {rw}/file {plot}/file exchange"], "path_rename", EACCES),
    attempt("whiteout", "move a file and leave a device in its place",
        &["rename {plot}/file {plot}/new whiteout"], "path_rename", EACCES),
    attempt("granted_over_closed", "put a granted file in the place of a closed one",
        &["rename {rw}/file {plot}/file"], "path_rename", EACCES),
    attempt("by_handle", "by its handle, without a path",
        &["by-handle w {plot}/file {rw}"], "capable", EPERM),
    attempt("bind_file", "bind a file over one of its own",
        &["create {own}/file", "mount-bind {plot}/file {own}/file"], "sb_mount", EPERM)
        .after(&["umount {own}/file detach"]),
    attempt("bind_recursive", "bind the whole host",
        &["mount /host /mnt none bind,rec"], "sb_mount", EPERM).after(UNMOUNT),
    attempt("bind_in_namespace", "bind a directory as root of a user namespace",
        &["mount-bind {plot} /mnt", "open w /mnt/open"], "sb_mount", EPERM)
        .within("mapped mount")
        .differs(0, "the file's mode is open to everyone"),
    attempt("cloned_tree", "through a clone of a mount that is attached nowhere",
        &["call open_tree -100 '{plot} 0x80001", "call openat $1 'file 2"], "capable", EPERM),
    attempt("cloned_tree_in_namespace", "the same as root of a user namespace",
        &["call open_tree -100 '{plot} 0x80001", "call openat $1 'open 2"], "file_open", EACCES)
        .within("mapped mount")
        .differs(0, "the file's mode is open to everyone"),
    attempt("opened_tree", "through a mount that was opened, not cloned",
        &["call open_tree -100 '{plot} 0", "call openat $1 'file 2"], "file_open", EACCES),
    attempt("disk_by_node_of_own", "through a node of its own for the host's disk",
        &["mknod {own}/disk block:{disknumber}", "open r {own}/disk"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("mount_disk", "mount the host's disk again",
        &["mount {disk} /mnt ext4"], "sb_mount", EPERM).after(UNMOUNT),
    attempt("mount_disk_by_new_calls", "mount the host's disk with `fsopen`",
        &["call fsopen 'ext4 0", "call fsconfig $1 1 'source '{disk} 0",
          "call fsconfig $1 6 0 0 0", "call fsmount $1 0 0",
          "call openat $4 'etc/shadow 0"], "capable", EPERM),
    attempt("overlay", "as the lower layer of an overlay",
        &["call mount 'overlay '/mnt 'overlay 0 'lowerdir={plot}:{own}", "open r /mnt/file"],
        "sb_mount", EPERM).after(UNMOUNT),
    attempt("overlay_in_namespace", "the same as root of a user namespace",
        &["call mount 'overlay '/mnt 'overlay 0 'lowerdir={plot}:{own}", "open r /mnt/open"],
        "sb_mount", EPERM)
        .within("mapped mount")
        .differs(0, "the file's mode is open to everyone"),
    attempt("fuse", "open the device of FUSE, to be a file system",
        &["mknod {own}/fuse char:10:229", "open rw {own}/fuse"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("loop_device", "open a loop device, to give the kernel a file",
        &["mknod {own}/loop char:10:237", "open rw {own}/loop"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("mapper", "open the device mapper, to make a disk of a disk",
        &["mknod {own}/mapper char:10:236", "open rw {own}/mapper"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("remount", "make a read-only mount of the host writable",
        &["mount none /sys none remount,bind,rw"], "sb_mount", EPERM),
    attempt("mount_attributes", "the same by `mount_setattr`",
        &["mount-setattr /sys rw"], "capable", EPERM)
        .after(&["mount-setattr /sys ro"]),
    attempt("idmapped", "map the owners of a mount to its own",
        &["call open_tree -100 '{plot} 0x80001",
          "call mount_setattr $1 ' 0x1000 [8:0,8:0,8:0,8:0] 32"], "capable", EPERM),
    attempt("propagation", "have its mounts appear on the host",
        &["mount none /host none shared"], "sb_mount", EPERM)
        .after(&["mount none /host none private"]),
    attempt("move_mount_of_host", "move a mount of the host elsewhere",
        &["mount /host/dev/shm /mnt none move"], "sb_mount", EPERM)
        .after(&["mount /mnt /host/dev/shm none move"]),
    attempt("reconfigure", "reconfigure a super block of the host",
        &["call fspick -100 '/host/tmp 0", "call fsconfig $1 7 0 0 0"], "capable", EPERM),
    attempt("pivot", "make the host's root its own",
        &["pivot-root /host /host/mnt"], "capable", EPERM)
        .within("unshare mount"),
    attempt("watch_opens", "get descriptors of what others open, from fanotify",
        &["call fanotify_init 0 2", "call fanotify_mark $1 0x11 0x20 -100 '{plot}"],
        "capable", EPERM),
    attempt("execute_with_loader", "map a program of the host executable",
        &["mmap-exec {plot}/program"], "file_open", EACCES),
    attempt("map_read_only_executable", "map a file executable that it may only read",
        &["mmap-exec {ro}/file"], "mmap_file", EACCES)
        .differs(0, "to the kernel it is reading"),
    attempt("protect_executable", "make a mapping executable of a file it may only read",
        &["mprotect-exec {ro}/file"], "file_mprotect", EACCES)
        .differs(0, "to the kernel it is reading"),
    attempt("interpreter", "execute a script of its own with an interpreter of the host's",
        &["call openat -100 '{own}/script 0101 0755", "call write $1 '#!{plot}/program 200",
          "call close $1", "exec {own}/script"], "file_open", EACCES),
];
