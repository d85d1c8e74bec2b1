//! Writing, and whatever else changes a file, without opening it for writing.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "writing",
    about: "Writing without opening for writing: to change a file by calls that look harmless.",
    attempts: ATTEMPTS,
};

/// Descriptor 2 of the containers is a file of the host that was opened by the host.
#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("map_shared", "map it shared and writable",
        &["mmap-shared-write {plot}/file"], "file_open", EACCES),
    attempt("map_inherited", "map a descriptor shared and writable that the host opened",
        &["mmap-shared-write fd:2"], "mmap_file", EACCES)
        .differs(0, "an ordinary user may use an open descriptor"),
    attempt("protect_writable", "make a shared mapping writable later",
        &["mprotect-write {plot}/file"], "file_open", EACCES),
    attempt("cut_inherited", "cut what the host opened",
        &["ftruncate-fd 2 1000"], "file_truncate", EACCES)
        .differs(0, "an ordinary user may use an open descriptor"),
    attempt("splice", "splice a pipe into it",
        &["splice-into {plot}/file"], "file_open", EACCES),
    attempt("copy_range", "copy another file's range into it",
        &["call openat -100 '{rw}/file 0", "call openat -100 '{plot}/file 1",
          "call copy_file_range $1 0 $2 0 4 0"], "file_open", EACCES),
    attempt("send_file", "have the kernel send another file to it",
        &["call openat -100 '{rw}/file 0", "call openat -100 '{plot}/file 1",
          "call sendfile $2 $1 0 4"], "file_open", EACCES),
    attempt("copy_over_readable", "copy into what it may only read",
        &["call openat -100 '{rw}/file 0", "call openat -100 '{ro}/file 2",
          "call copy_file_range $1 0 $2 0 4 0"], "file_open", EACCES),
    attempt("punch", "punch a hole into it",
        &["call openat -100 '{plot}/file 1", "call fallocate $1 3 0 4096"], "file_open", EACCES),
    attempt("truncate_readable", "cut what it may only read",
        &["truncate {ro}/file 0"], "path_truncate", EACCES),
    attempt("truncate_as_opened", "cut what it may only read, as it is opened for reading",
        &["open read-trunc {ro}/file"], "file_truncate", EACCES),
    attempt("ring_truncate", "open for reading and cut, by io_uring",
        &["uring [1:18,1:0,2:0,4:-100,8:0,8:'{ro}/file,4:0,4:0x200]"], "file_truncate", EACCES),
    attempt("ring_delete", "delete by io_uring",
        &["uring [1:36,1:0,2:0,4:-100,8:0,8:'{plot}/file,4:0,4:0]"], "path_unlink", EACCES),
    attempt("ring_rename", "rename by io_uring",
        &["uring [1:35,1:0,2:0,4:-100,8:'{plot}/new,8:'{plot}/file,4:-100,4:0]"],
        "path_rename", EACCES),
    attempt("ring_make_directory", "create a directory by io_uring",
        &["uring [1:37,1:0,2:0,4:-100,8:0,8:'{plot}/new,4:0755,4:0]"], "path_mkdir", EACCES),
    attempt("ring_symlink", "create a symbolic link by io_uring",
        &["uring [1:38,1:0,2:0,4:-100,8:'{plot}/new,8:'file,4:0,4:0]"], "path_symlink", EACCES),
    attempt("ring_link", "create a hard link by io_uring",
        &["uring [1:39,1:0,2:0,4:-100,8:'{rw}/link,8:'{plot}/file,4:-100,4:0]"],
        "path_link", EACCES)
        .differs(EPERM, "the kernel refuses links to what one could not write, by a setting"),
    attempt("ring_attribute", "set an extended attribute by io_uring",
        &["uring [1:42,1:0,2:0,4:0,8:'x,8:'user.reeve,4:1,4:0,8:0,8:0,8:'{plot}/file]"],
        "inode_setxattr", EACCES),
    attempt("nameless", "create a file without a name",
        &["tmpfile {plot}"], "file_open", EACCES),
    attempt("nameless_with_name", "create a file without a name and give it one",
        &["tmpfile-link {plot} {plot}/new"], "file_open", EACCES),
    attempt("nameless_of_own", "give a nameless file of a granted directory a closed name",
        &["tmpfile-link {rw} {plot}/new"], "path_link", EACCES),
    attempt("mode_of_readable", "open what it may only read to everyone",
        &["fchmod {ro}/file 0777"], "path_chmod", EPERM),
    attempt("mode_of_inherited", "open what the host opened to everyone",
        &["fchmod-fd 2 0666"], "path_chmod", EPERM),
    attempt("owner_of_inherited", "take what the host opened",
        &["fchown-fd 2 1 1"], "path_chown", EPERM),
    attempt("mode_of_opened_for_nothing", "change the mode of what was opened for nothing",
        &["call openat -100 '{plot}/file 0x200000", "call fchmodat2 $1 ' 0777 0x1000"],
        "path_chmod", EPERM)
        .since((6, 6), "has no `fchmodat2`"),
    attempt("owner_of_opened_for_nothing", "change the owner of what was opened for nothing",
        &["call openat -100 '{plot}/file 0x200000", "call fchownat $1 ' 1 1 0x1000"],
        "path_chown", EPERM),
    attempt("attribute_of_link", "set an attribute of a link itself",
        &["call lsetxattr '{plot}/symlink 'trusted.reeve 'x 1 0"], "capable", EPERM),
    attempt("set_capabilities", "give a program of the host capabilities",
        &["call lsetxattr '{plot}/program 'security.capability [4:0x2000000,4:1,4:0,4:0,4:0] 20 0"],
        "capable", EPERM),
    attempt("remove_acl", "remove an access control list",
        &["removeacl {ro}/file"], "inode_remove_acl", EPERM),
    attempt("times_of_readable", "change the times of what it may only read",
        &["call utimensat -100 '{ro}/file [8:1,8:1,8:1,8:1] 0"], "inode_setattr", EPERM)
        .open("times are not governed"),
    attempt("times_of_inherited", "change the times of what the host opened",
        &["call utimensat 2 0 [8:1,8:1,8:1,8:1] 0"], "inode_setattr", EPERM)
        .open("times are not governed"),
    attempt("flags_of_readable", "make what it may only read unchangeable, by `ioctl`",
        &["call openat -100 '{ro}/file 0", "call ioctl $1 0x40086602 [4:0x40]"],
        "file_ioctl", EPERM)
        .open("what an open descriptor is asked by `ioctl` is not governed"),
    attempt("project_of_readable", "change the project of what it may only read, by `ioctl`",
        &["call openat -100 '{ro}/file 0", "call ioctl $1 0x401c5820 [4:0x40,4:0,4:0,4:0]"],
        "file_ioctl", EPERM)
        .open("what an open descriptor is asked by `ioctl` is not governed"),
    attempt("flags_by_path", "change the flags of a file by its path",
        &["call file_setattr -100 '{plot}/file [8:0x80,8:0,8:0] 24 0"],
        "inode_file_setattr", EPERM)
        .since((6, 17), "has no `file_setattr`")
        .open("flags of files are not governed"),
    attempt("lease", "have the host wait when it opens what the container may read",
        &["call openat -100 '{ro}/file 0", "call fcntl $1 1024 0"], "file_lock", EACCES)
        .open("leases are not governed"),
    attempt("lock", "have the host wait for a lock on what the container may read",
        &["call openat -100 '{ro}/file 0", "call flock $1 2"], "file_lock", EACCES)
        .differs(0, "an ordinary user may lock what it may read")
        .open("locks are not governed"),
    attempt("write_memory_file", "write a process of the host's memory by its file",
        &["open rw /host/proc/{pid}/mem"], "file_open", EACCES),
    attempt("received_descriptor", "write to a descriptor that a host process handed out",
        &["receive {hand} call fallocate 98 0 0 4096"], "file_receive", EACCES)
        .open("received descriptors are not governed"),
    attempt("fill_inherited", "fill the disk through what the host opened",
        &["fallocate-fd 2 8192"], "file_permission", EACCES)
        .differs(0, "an ordinary user may use an open descriptor")
        .open("an open descriptor may be written to"),
];
