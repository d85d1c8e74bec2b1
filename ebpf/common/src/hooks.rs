//! Every LSM hook that Reeve attaches, and what it governs. `docs/reference/hooks.md` is generated
//! from this table.

use crate::abi::Section;

/// A row of [`HOOKS`].
#[derive(Clone, Copy, Debug)]
pub struct HookInfo {
    /// Name of the LSM hook in `include/linux/lsm_hook_defs.h`; the eBPF program has the same
    /// name.
    pub name: &'static str,
    /// First kernel that has the hook (major, minor), never below the oldest supported one, 6.1.
    pub since: (u32, u32),
    /// Section of the policy that decides; `None` for the hooks that keep the subject and the
    /// super blocks.
    pub section: Option<Section>,
    /// What a container is allowed or refused here, in words.
    pub governs: &'static str,
    /// Test in `tests/enforce` in which the hook lets an action through.
    pub allow_test: &'static str,
    /// Test in `tests/enforce` in which it refuses one (for a keeping hook: in which its keeping
    /// shows).
    pub deny_test: &'static str,
}

/// Declares [`Hook`] and [`HOOKS`] together.
macro_rules! hooks {
    ($($variant:ident = $name:literal, $since:expr, $section:expr,
        $governs:literal,
        $allow:literal, $deny:literal;)*) => {
        /// A hook; its number is its index in [`HOOKS`] and in audit events.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the rows of HOOKS say what each one is")]
        pub enum Hook { $($variant),* }

        /// Every hook, in order of its number.
        pub const HOOKS: &[HookInfo] = &[$(HookInfo {
            name: $name,
            since: $since,
            section: $section,
            governs: $governs,
            allow_test: $allow,
            deny_test: $deny,
        }),*];
    };
}

const FILES: Option<Section> = Some(Section::Files);
const MOUNTS: Option<Section> = Some(Section::Mounts);
const PROCESSES: Option<Section> = Some(Section::Processes);
const CAPABILITIES: Option<Section> = Some(Section::Capabilities);
const KERNEL: Option<Section> = Some(Section::Kernel);
const SOCKETS: Option<Section> = Some(Section::Sockets);
const IPC: Option<Section> = Some(Section::Ipc);

hooks! {
    TaskAlloc = "task_alloc", (6, 1), None,
        "a child gets its parent's subject, or is not made",
        "inherit_fork", "inherit_fork";
    BprmCheck = "bprm_check_security", (6, 1), FILES,
        "execute a file, or be its interpreter",
        "exec_granted", "exec_refused";
    BprmCommitting = "bprm_committing_creds", (6, 1), None,
        "the entry process's first exec puts its policy in force",
        "start_race", "start_race";
    FileOpen = "file_open", (6, 1), FILES,
        "open for reading, writing, execution; device nodes by number",
        "open_granted", "open_refused";
    MmapFile = "mmap_file", (6, 1), FILES,
        "map a file executable, or shared and writable",
        "mmap_granted", "mmap_refused";
    FileMprotect = "file_mprotect", (6, 1), FILES,
        "make a file mapping executable, or a shared one writable",
        "mprotect_granted", "mprotect_refused";
    PathMknod = "path_mknod", (6, 1), FILES,
        "create a file, node, fifo or socket",
        "create_granted", "create_refused";
    PathMkdir = "path_mkdir", (6, 1), FILES,
        "create a directory",
        "mkdir_granted", "mkdir_refused";
    PathSymlink = "path_symlink", (6, 1), FILES,
        "create a symbolic link",
        "symlink_granted", "symlink_refused";
    PathLink = "path_link", (6, 1), FILES,
        "give a file another name, never with more rights",
        "link_granted", "link_refused";
    PathUnlink = "path_unlink", (6, 1), FILES,
        "delete a file",
        "unlink_granted", "unlink_refused";
    PathRmdir = "path_rmdir", (6, 1), FILES,
        "delete a directory",
        "rmdir_granted", "rmdir_refused";
    PathRename = "path_rename", (6, 1), FILES,
        "rename, move, exchange or replace, never with more rights",
        "rename_granted", "rename_refused";
    PathTruncate = "path_truncate", (6, 1), FILES,
        "cut a file by path (on 6.1 also by descriptor)",
        "truncate_granted", "truncate_refused";
    FileTruncate = "file_truncate", (6, 2), FILES,
        "cut a file by descriptor",
        "ftruncate_granted", "ftruncate_refused";
    PathChmod = "path_chmod", (6, 1), FILES,
        "change permission bits",
        "chmod_granted", "chmod_refused";
    PathChown = "path_chown", (6, 1), FILES,
        "change owner or group",
        "chown_granted", "chown_refused";
    InodeSetxattr = "inode_setxattr", (6, 1), FILES,
        "set an extended attribute (on 6.1 also an access control list)",
        "setxattr_granted", "setxattr_refused";
    InodeRemovexattr = "inode_removexattr", (6, 1), FILES,
        "remove an extended attribute",
        "removexattr_granted", "removexattr_refused";
    InodeSetAcl = "inode_set_acl", (6, 2), FILES,
        "set an access control list",
        "acl_granted", "acl_refused";
    InodeRemoveAcl = "inode_remove_acl", (6, 2), FILES,
        "remove an access control list",
        "remove_acl_granted", "remove_acl_refused";
    SbMount = "sb_mount", (6, 1), MOUNTS,
        "mount(2): new, bind, remount, move, propagation",
        "mount_granted", "mount_refused";
    MoveMount = "move_mount", (6, 1), MOUNTS,
        "attach a detached mount",
        "move_mount_granted", "move_mount_refused";
    SbUmount = "sb_umount", (6, 1), MOUNTS,
        "unmount what the container itself mounted",
        "umount_granted", "umount_refused";
    SbKernMount = "sb_kern_mount", (6, 1), MOUNTS,
        "make a super block of a type, by any mount API",
        "fsopen_granted", "fsopen_refused";
    SbFree = "sb_free_security", (6, 1), None,
        "a super block that goes away is no longer the container's",
        "own_tmpfs", "reused_device_number";
    Capable = "capable", (6, 1), CAPABILITIES,
        "a capability over the host, in a system call",
        "capability_granted", "capability_refused";
    Bpf = "bpf", (6, 1), KERNEL,
        "a command of bpf(2)",
        "bpf_granted", "bpf_refused";
    KernelLoadData = "kernel_load_data", (6, 1), KERNEL,
        "a module or kexec image from memory",
        "module_granted", "init_module_refused";
    KernelReadFile = "kernel_read_file", (6, 1), KERNEL,
        "a module read from its file",
        "module_granted", "module_refused";
    PtraceAccess = "ptrace_access_check", (6, 1), PROCESSES,
        "trace a process or look into it",
        "ptrace_granted", "ptrace_refused";
    TaskKill = "task_kill", (6, 1), PROCESSES,
        "send a signal",
        "signal_granted", "signal_refused";
    FileFcntl = "file_fcntl", (6, 1), PROCESSES,
        "have the kernel send a signal to others on input and output (`F_SETOWN`); leases and the \
         end of appending (`F_SETLEASE`, `F_SETFL`), decided as `files`",
        "setown_granted", "setown_refused";
    FileIoctl = "file_ioctl", (6, 1), PROCESSES,
        "the same by ioctl (`FIOSETOWN`, `SIOCSPGRP`); other commands are decided as `files` or \
         `devices`",
        "ioctl_setown_granted", "ioctl_setown_refused";
    FileIoctlCompat = "file_ioctl_compat", (6, 8), PROCESSES,
        "the same by a 32-bit ioctl",
        "ioctl_setown_granted", "ioctl_setown_refused";
    TaskSetrlimit = "task_setrlimit", (6, 1), PROCESSES,
        "change the resource limits of a process",
        "limits_granted", "limits_refused";
    TaskSetnice = "task_setnice", (6, 1), PROCESSES,
        "change its nice value",
        "limits_granted", "limits_refused";
    TaskSetioprio = "task_setioprio", (6, 1), PROCESSES,
        "change its I/O priority",
        "limits_granted", "limits_refused";
    TaskSetscheduler = "task_setscheduler", (6, 1), PROCESSES,
        "change its scheduler or processors",
        "limits_granted", "limits_refused";
    Settime = "settime", (6, 1), KERNEL,
        "set the clock or time zone",
        "settime_granted", "settime_refused";
    ShmAlloc = "shm_alloc_security", (6, 1), IPC,
        "make a System V shared memory segment",
        "shm_granted", "shm_refused";
    ShmAssociate = "shm_associate", (6, 1), IPC,
        "find a segment by its key",
        "shm_granted", "shm_refused";
    ShmCtl = "shm_shmctl", (6, 1), IPC,
        "look at, change or remove a segment",
        "shm_granted", "shm_refused";
    ShmAttach = "shm_shmat", (6, 1), IPC,
        "attach a segment",
        "shm_granted", "shm_refused";
    SemAlloc = "sem_alloc_security", (6, 1), IPC,
        "make a System V semaphore set",
        "sem_granted", "sem_refused";
    SemAssociate = "sem_associate", (6, 1), IPC,
        "find a semaphore set by its key",
        "sem_granted", "sem_refused";
    SemCtl = "sem_semctl", (6, 1), IPC,
        "look at, change or remove a semaphore set",
        "sem_granted", "sem_refused";
    SemOp = "sem_semop", (6, 1), IPC,
        "use semaphores",
        "sem_granted", "sem_refused";
    MsgAlloc = "msg_queue_alloc_security", (6, 1), IPC,
        "make a System V message queue",
        "msg_granted", "msg_refused";
    MsgAssociate = "msg_queue_associate", (6, 1), IPC,
        "find a message queue by its key",
        "msg_granted", "msg_refused";
    MsgCtl = "msg_queue_msgctl", (6, 1), IPC,
        "look at, change or remove a message queue",
        "msg_granted", "msg_refused";
    MsgSend = "msg_queue_msgsnd", (6, 1), IPC,
        "send to a message queue",
        "msg_granted", "msg_refused";
    IpcPermission = "ipc_permission", (6, 1), IPC,
        "receive from a message queue; any use of System V objects by a 32-bit call",
        "msg_granted", "msg_refused";
    InodeCreate = "inode_create", (6, 1), IPC,
        "make a POSIX message queue (`mq_open`)",
        "mqueue_granted", "mqueue_refused";
    InodeUnlink = "inode_unlink", (6, 1), IPC,
        "remove a POSIX message queue (`mq_unlink`)",
        "mqueue_granted", "mqueue_refused";
    KeyAlloc = "key_alloc", (6, 1), None,
        "a key that a container makes is its own",
        "keys_own", "keys_refused";
    KeyPermission = "key_permission", (6, 1), IPC,
        "use a key or keyring",
        "keys_granted", "keys_refused";
    Syslog = "syslog", (6, 1), KERNEL,
        "read or change the kernel's log",
        "syslog_granted", "syslog_refused";
    PerfEventOpen = "perf_event_open", (6, 1), KERNEL,
        "open a performance event",
        "perf_granted", "perf_refused";
    UringSqpoll = "uring_sqpoll", (6, 1), KERNEL,
        "an io_uring with a polling thread",
        "uring_sqpoll_granted", "uring_sqpoll_refused";
    UringOverrideCreds = "uring_override_creds", (6, 1), KERNEL,
        "an io_uring request under registered credentials",
        "uring_personality_granted", "uring_personality_refused";
    UringCmd = "uring_cmd", (6, 1), KERNEL,
        "a driver's command through io_uring",
        "uring_command_granted", "uring_command_refused";
    Quotactl = "quotactl", (6, 1), KERNEL,
        "read or change disk quotas",
        "quota_granted", "quota_refused";
    UsernsCreate = "userns_create", (6, 1), KERNEL,
        "make a user namespace",
        "userns_granted", "userns_refused";
    LockedDown = "locked_down", (6, 1), KERNEL,
        "what lockdown knows: ports, memory and registers of the machine",
        "lockdown_granted", "lockdown_refused";
    FileReceive = "file_receive", (6, 1), FILES,
        "receive a descriptor over a unix socket or from another process; device nodes by number",
        "receive_granted", "receive_refused";
    InodeSetattr = "inode_setattr", (6, 1), FILES,
        "set the times of a file",
        "times_granted", "times_refused";
    InodeFileSetattr = "inode_file_setattr", (6, 17), FILES,
        "set flags and project of a file (`file_setattr`; before by `ioctl` alone)",
        "flags_granted", "flags_refused";
    SbDelete = "sb_delete", (6, 1), None,
        "a file system goes away: rules for its device number hold for no other",
        "submount_granted", "reused_submount";
    FsContextParseParam = "fs_context_parse_param", (6, 1), MOUNTS,
        "the source of a mount, and parameters that name further devices, by any mount API",
        "source_granted", "source_refused";
    SbRemount = "sb_remount", (6, 1), MOUNTS,
        "reconfigure a super block by another way than `mount(2)`",
        "reconfigure_granted", "reconfigure_refused";
    SocketCreate = "socket_create", (6, 1), SOCKETS,
        "make a socket, by family, type and protocol",
        "socket_granted", "socket_refused";
    SocketPostCreate = "socket_post_create", (6, 1), None,
        "a unix socket belongs to the container that made it",
        "unix_own", "unix_refused";
    SocketBind = "socket_bind", (6, 1), SOCKETS,
        "bind to an address and port, or to an abstract name",
        "bind_granted", "bind_refused";
    SocketConnect = "socket_connect", (6, 1), SOCKETS,
        "connect to an address and port",
        "connect_granted", "connect_refused";
    SocketListen = "socket_listen", (6, 1), SOCKETS,
        "take connections",
        "listen_granted", "listen_refused";
    SocketSendmsg = "socket_sendmsg", (6, 1), SOCKETS,
        "send to an address without a connection, also by `MSG_FASTOPEN`",
        "send_granted", "send_refused";
    SocketSetsockopt = "socket_setsockopt", (6, 1), SOCKETS,
        "lead packets another way (IP options, routing headers)",
        "route_own", "route_refused";
    SctpBindConnect = "sctp_bind_connect", (6, 1), SOCKETS,
        "further addresses of an SCTP socket",
        "sctp_granted", "sctp_refused";
    UnixStreamConnect = "unix_stream_connect", (6, 1), SOCKETS,
        "connect to a unix socket, by its inode or abstract name",
        "unix_granted", "unix_refused";
    UnixMaySend = "unix_may_send", (6, 1), SOCKETS,
        "send datagrams to a unix socket",
        "unix_datagram_granted", "unix_datagram_refused";
}

/// Hooks that a kernel has only together with the facility that they guard (`CONFIG_KEYS`,
/// `CONFIG_IO_URING`, `CONFIG_PERF_EVENTS`): where one is missing there is nothing to govern.
pub const OF_FACILITIES: [&str; 6] = [
    "key_alloc",
    "key_permission",
    "perf_event_open",
    "uring_sqpoll",
    "uring_override_creds",
    "uring_cmd",
];
