//! Leaving the subject: to be somebody to whom no policy applies.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "subject",
    about: "Leaving the subject: to become, or to have at work, somebody to whom no policy \
        applies.",
    attempts: ATTEMPTS,
};

const OPEN: &[&str] = &["open w {plot}/file"];
const INSIDE: &[&str] = &["open w {bare}/file"];

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("child", "from a child", OPEN, "file_open", EACCES).within("fork"),
    attempt("deep_child", "from the twentieth descendant",
        OPEN, "file_open", EACCES).within("fork-deep 20"),
    attempt("thread", "from a thread", OPEN, "file_open", EACCES).within("thread"),
    attempt("orphan", "from an orphan in a session of its own",
        OPEN, "file_open", EACCES).within("daemon"),
    attempt("after_exec", "from a program that was executed after a vfork",
        OPEN, "file_open", EACCES).within("self-exec"),
    attempt("from_memory", "from a program that is nowhere but in memory",
        OPEN, "file_open", EACCES).within("exec-memfd"),
    attempt("sibling", "from a child that is the parent's (CLONE_PARENT)",
        OPEN, "file_open", EACCES).within("clone 0x8000 0"),
    attempt("vfork_child", "from a child whose parent is suspended (CLONE_VFORK)",
        OPEN, "file_open", EACCES).within("clone 0x4000 0"),
    attempt("untraced_child", "from a child without handlers, semaphores and tracer",
        OPEN, "file_open", EACCES).within("clone 0x180840000 0"),
    attempt("child_of_all_namespaces", "from a child that is born in namespaces of its own",
        OPEN, "file_open", EACCES).within("clone 0x7e020000 0"),
    attempt("chosen_pid", "from a child with the process id of a host process that is gone",
        OPEN, "capable", EPERM).within("clone 0 {gone}"),
    attempt("user_namespace", "as root of a user namespace",
        &["open w {plot}/open"], "file_open", EACCES).within("mapped user")
        .differs(0, "the file's mode is open to everyone"),
    attempt("all_namespaces", "as root of a user namespace with all other namespaces",
        &["open w {plot}/open"], "file_open", EACCES)
        .within("mapped mount,pid,net,ipc,uts,cgroup fork")
        .differs(0, "the file's mode is open to everyone"),
    attempt("another_user", "as another user",
        &["open w {plot}/open"], "file_open", EACCES).within("as 65533")
        .differs(EPERM, "an ordinary user cannot become another"),
    attempt("new_session_keyring", "after joining a session keyring of its own",
        &["call keyctl 1 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("no_new_privileges", "after giving up new privileges",
        &["call prctl 38 1 0 0 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("ring_worker", "from a worker of io_uring",
        &["uring-open w {plot}/file"], "file_open", EACCES),
    attempt("ring_inline", "from io_uring, without a worker",
        &["uring-open-inline w {plot}/file"], "file_open", EACCES),
    attempt("ring_thread", "from the thread that polls a ring",
        &["uring-polled [1:18,1:0,2:0,4:-100,8:0,8:'{plot}/file,4:0,4:2]"], "uring_sqpoll", EPERM)
        .differs(EACCES, "an ordinary user may have the thread, and it may not open the file"),
    attempt("ring_credentials", "through io_uring, under credentials registered before",
        &["uring-borrowed [1:18,1:16,2:0,4:-100,8:0,8:'{plot}/file,4:0,4:2]"],
        "uring_override_creds", EPERM)
        .differs(EACCES, "an ordinary user may register them, and they may not open the file"),
    attempt("born_in_cgroup", "from a child that is born in another cgroup",
        OPEN, "task_alloc", EACCES).within("in-cgroup {cgroup}"),
    attempt("move_to_cgroup", "after moving to another cgroup",
        &["write {cgroup}/cgroup.procs 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("move_to_root_cgroup", "after moving to the root of all cgroups",
        &["write /host/sys/fs/cgroup/cgroup.procs 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("move_by_own_cgroupfs", "after moving to another cgroup by a cgroupfs of its own",
        &["mount none /mnt cgroup2", "write /mnt/cgroup.procs 0"], "sb_mount", EPERM)
        .after(&["umount /mnt detach"]),
    attempt("join_mount_namespace", "in the host's mount namespace",
        INSIDE, "ptrace_access_check", EACCES).within("setns /host/proc/1/ns/mnt"),
    attempt("join_pid_namespace", "in the host's pid namespace",
        INSIDE, "ptrace_access_check", EACCES)
        .within("setns /host/proc/1/ns/pid setns /host/proc/1/ns/mnt"),
    attempt("join_net_namespace", "in the host's network namespace",
        OPEN, "ptrace_access_check", EACCES).within("setns /host/proc/1/ns/net"),
    attempt("join_ipc_namespace", "in the host's IPC namespace",
        OPEN, "ptrace_access_check", EACCES).within("setns /host/proc/1/ns/ipc"),
    attempt("join_uts_namespace", "in the host's UTS namespace",
        OPEN, "ptrace_access_check", EACCES).within("setns /host/proc/1/ns/uts"),
    attempt("join_cgroup_namespace", "in the host's cgroup namespace",
        OPEN, "ptrace_access_check", EACCES).within("setns /host/proc/1/ns/cgroup"),
    attempt("join_by_pidfd", "in all namespaces of a host process, by its pidfd",
        INSIDE, "ptrace_access_check", EPERM).within("setns-pid {pid} mount,uts,ipc,net"),
    attempt("join_runtime", "in the mount namespace of the runtime",
        INSIDE, "capable", EPERM).within("setns-pid {runtime} mount"),
    attempt("join_other_container", "in the mount namespace of another container",
        &["pid"], "ptrace_access_check", EPERM).within("setns-pid {other} mount,pid"),
    attempt("trace_runtime", "trace the runtime, to make it act",
        &["ptrace-seize {runtime}"], "ptrace_access_check", EPERM),
    attempt("write_runtime_memory", "write the runtime's memory",
        &["open rw /host/proc/{runtime}/mem"], "file_open", EACCES),
    attempt("stop_runtime", "stop the runtime", &["kill {runtime} 18"], "task_kill", EPERM),
    attempt("core_helper", "have the kernel start a helper when a process crashes",
        &["rewrite /host/proc/sys/kernel/core_pattern"], "file_open", EACCES),
    attempt("core_helper_in_own_proc", "the same through the container's procfs",
        &["rewrite /proc/sys/kernel/core_pattern"], "file_open", EACCES),
    attempt("core_helper_in_new_proc", "the same through a procfs that it mounts",
        &["mount proc /mnt proc", "rewrite /mnt/sys/kernel/core_pattern"], "sb_mount", EPERM)
        .after(&["umount /mnt detach"]),
    attempt("module_helper", "name the program that loads modules",
        &["rewrite /host/proc/sys/kernel/modprobe"], "file_open", EACCES),
    attempt("power_off_helper", "name the program that switches the machine off",
        &["rewrite /host/proc/sys/kernel/poweroff_cmd"], "file_open", EACCES),
    attempt("binary_format", "have the kernel start an interpreter for everybody's files",
        &["mount none /mnt binfmt_misc",
          "write /mnt/register :reeve:M::XYZW::/bin/true:"], "sb_mount", EPERM)
        .after(&["write /mnt/reeve -1", "umount /mnt detach"]),
    attempt("release_agent", "have the kernel start a helper when a cgroup is empty",
        &["call mount 'none '/mnt 'cgroup 0 'none,name=reeve",
          "write /mnt/release_agent /bin/true"], "sb_mount", EPERM)
        .after(&["umount /mnt detach"]),
    attempt("core_file", "have the kernel write memory to a file of the host",
        &["dump-core {plot}"], "path_mknod", EACCES),
    attempt("hand_on_to_helper", "have a process of the host open a file and hand it over",
        &["receive-and {hand} write-fd 98 x"], "file_receive", EACCES),
    attempt("namespace_of_pidfd", "get a namespace of a host process from its pidfd",
        &["call pidfd_open {pid} 0", "call ioctl $1 0xff03 0"], "ptrace_access_check", EACCES)
        .since((6, 11), "has no such `ioctl`"),
];
