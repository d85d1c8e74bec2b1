//! Tampering with the enforcer.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "tampering",
    about: "Tampering with the enforcer: to switch it off, change what it knows, or read \
        what it noted.",
    attempts: ATTEMPTS,
};

const UNMOUNT: &[&str] = &["umount /mnt detach"];

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("open_all_maps", "open every eBPF map by its number",
        &["bpf-map-scan"], "bpf", EPERM),
    attempt("open_all_programs", "open every eBPF program by its number",
        &["bpf-prog-scan"], "bpf", EPERM),
    attempt("open_all_links", "open every eBPF link by its number",
        &["bpf-link-scan"], "bpf", EPERM),
    attempt("open_pin", "open what is pinned", &["bpf-obj-get {pin}"], "bpf", EPERM)
        .differs(EACCES, "the directory's mode is asked first, the policy asks for `bpf(2)` first"),
    attempt("delete_pin", "delete a pin, which detaches the program",
        &["unlink {pin}"], "path_unlink", EACCES),
    attempt("rename_pin", "rename a pin", &["rename {pin} {pin}-moved"], "path_rename", EACCES),
    attempt("link_pin", "give a pin another name",
        &["link {pin} {pin}-other"], "path_link", EACCES),
    attempt("list_pins", "list the pins", &["list {pins}"], "file_open", EACCES),
    attempt("open_pins_to_all", "open the pins to everyone",
        &["chmod {pins} 0777"], "path_chmod", EPERM),
    attempt("unmount_pins", "unmount the file system of the pins",
        &["umount /host/sys/fs/bpf detach"], "capable", EPERM)
        .after(&["mount none /host/sys/fs/bpf bpf"]),
    attempt("mount_over_pins", "mount over the pins",
        &["mount-tmpfs /host/sys/fs/bpf"], "sb_mount", EPERM)
        .after(&["umount /host/sys/fs/bpf detach"]),
    attempt("pins_by_own_mount", "reach the pins through a mount of its own",
        &["mount none /mnt bpf"], "sb_mount", EPERM).after(UNMOUNT),
    attempt("pins_in_namespace", "mount bpffs as root of a user namespace",
        &["call fsopen 'bpf 0"], "capable", EPERM),
    attempt("switch_tracing_off", "switch off what calls the programs",
        &["rewrite /host/proc/sys/kernel/ftrace_enabled"], "file_open", EACCES),
    attempt("switch_tracing_off_in_own_proc", "the same in the container's procfs",
        &["rewrite /proc/sys/kernel/ftrace_enabled"], "file_open", EACCES),
    attempt("kernel_probes", "put a probe into the kernel",
        &["open append /host/sys/kernel/tracing/kprobe_events"], "file_open", EACCES),
    attempt("tracing", "switch tracing on",
        &["open w /host/sys/kernel/tracing/tracing_on"], "file_open", EACCES),
    attempt("tracing_by_own_mount", "the same through a mount of its own",
        &["mount none /mnt tracefs", "open w /mnt/tracing_on"], "sb_mount", EPERM)
        .after(UNMOUNT),
    attempt("debugging", "list the kernel's debugging files",
        &["list /host/sys/kernel/debug"], "file_open", EACCES),
    attempt("debugging_by_own_mount", "mount the kernel's debugging files",
        &["mount none /mnt debugfs", "list /mnt/bdi"], "sb_mount", EPERM).after(UNMOUNT),
    attempt("lockdown", "lock the kernel down, so that nothing can be loaded",
        &["open w /host/sys/kernel/security/lockdown"], "file_open", EACCES),
    attempt("apparmor", "load a profile of AppArmor",
        &["open w /host/sys/kernel/security/apparmor/.load"], "file_open", EACCES)
        .differs(0, "the file's mode is open to everyone"),
    attempt("jit_limit", "have no more eBPF programs compiled",
        &["rewrite /host/proc/sys/net/core/bpf_jit_limit"], "file_open", EACCES),
    attempt("program_statistics", "have every program's time taken",
        &["rewrite /proc/sys/kernel/bpf_stats_enabled"], "file_open", EACCES),
    attempt("list_state", "list Reeve's directory", &["list {state}"], "file_open", EACCES),
    attempt("read_audit", "read what others were refused",
        &["open r {state}/audit.jsonl"], "file_open", EACCES),
    attempt("change_state", "change what Reeve knows of a container",
        &["create {state}/new"], "path_mknod", EACCES),
    attempt("delete_state", "delete what Reeve noted",
        &["unlink {state}/audit.jsonl"], "path_unlink", EACCES),
    attempt("move_state", "move Reeve's directory away",
        &["rename {state} {state}-moved"], "path_rename", EACCES),
    attempt("mount_over_state", "mount over Reeve's directory",
        &["mount-tmpfs {state}"], "sb_mount", EPERM).after(&["umount {state} detach"]),
    attempt("unmount_state", "unmount what Reeve's directory is on",
        &["umount /host/run detach"], "capable", EPERM)
        .after(&["mount none /host/run tmpfs"]),
    attempt("kill_runtime", "end the runtime", &["kill {runtime} 0"], "task_kill", EPERM),
    attempt("descriptor_of_runtime", "take a descriptor out of the runtime",
        &["pidfd-getfd {runtime} 0"], "ptrace_access_check", EPERM),
    attempt("kill_cgroup", "end everybody in another cgroup",
        &["write {cgroup}/cgroup.kill 1"], "file_open", EACCES),
    attempt("freeze_cgroup", "stop everybody in another cgroup",
        &["write {cgroup}/cgroup.freeze 1"], "file_open", EACCES),
    attempt("delete_cgroup", "delete another cgroup", &["rmdir {cgroup}"], "path_rmdir", EACCES),
    attempt("make_cgroup", "make a cgroup", &["mkdir {cgroup}/new"], "path_mkdir", EACCES),
    attempt("signal_other_container", "signal a process of another container",
        &["kill {other} 0"], "task_kill", EPERM),
    attempt("trace_other_container", "trace a process of another container",
        &["ptrace-seize {other}"], "ptrace_access_check", EPERM),
    attempt("root_of_other_container", "look into another container's root",
        &["list /host/proc/{other}/root/"], "ptrace_access_check", EACCES),
    attempt("delegate_to_namespace", "have bpffs hand its rights to a user namespace",
        &["call fsopen 'bpf 0", "call fsconfig $1 1 'delegate_cmds 'any 0"], "capable", EPERM)
        .since((6, 9), "has no delegation"),
];
