//! The kernel's surface: what is everybody's.

use libc::{EACCES, EPERM};

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "kernel",
    about: "The kernel's surface: to read or change what is everybody's.",
    attempts: ATTEMPTS,
};

const UNMOUNT: &[&str] = &["umount /mnt detach"];

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("physical_memory", "open the machine's memory",
        &["open r /host/dev/mem"], "file_open", EACCES),
    attempt("physical_memory_by_own_node", "the same through a node of its own",
        &["mknod {own}/mem char:1:1", "open r {own}/mem"], "file_open", EACCES)
        .differs(EPERM, "an ordinary user may not make the node"),
    attempt("kernel_memory", "open the kernel's memory",
        &["open r /host/proc/kcore"], "file_open", EACCES),
    attempt("kernel_memory_in_own_proc", "the same in the container's procfs",
        &["open r /proc/kcore"], "capable", EPERM)
        .differs(EACCES, "the file's mode is asked before the capability"),
    attempt("kernel_messages", "open the kernel's messages",
        &["open r /host/dev/kmsg"], "file_open", EACCES)
        .differs(EPERM, "the kernel refuses by a setting, the policy by the device"),
    attempt("kernel_log", "read the kernel's log by a system call",
        &["call syslog 3 z:4096 4096"], "capable", EPERM),
    attempt("log_level", "change what the console shows", &["syslog"], "capable", EPERM),
    attempt("port_privilege", "get the right over the machine's ports",
        &["call ioperm 0x80 1 1"], "capable", EPERM),
    attempt("all_port_privileges", "get the right over all ports", &["iopl"], "capable", EPERM),
    attempt("measure_everybody", "watch a processor with perf",
        &["call perf_event_open [4:1,4:128] -1 0 -1 0"], "capable", EACCES),
    attempt("other_kernel", "drop or load another kernel",
        &["call kexec_load 0 0 0 0"], "capable", EPERM),
    attempt("other_kernel_from_file", "the same from a file",
        &["call kexec_file_load -1 -1 0 0 1"], "capable", EPERM),
    attempt("hang_up", "take the terminal from everybody",
        &["call vhangup"], "capable", EPERM),
    attempt("fault_handler", "handle the kernel's page faults",
        &["call userfaultfd 0"], "capable", EPERM),
    attempt("clock_adjust", "adjust the clock",
        &["call clock_adjtime 0 [4:0x4000,84:0,8:10000]"], "capable", EPERM),
    attempt("system_request", "ask the kernel for help, with the magic key",
        &["write /host/proc/sysrq-trigger h"], "file_open", EACCES),
    attempt("drop_caches", "have the kernel forget what it read",
        &["write /host/proc/sys/vm/drop_caches 1"], "file_open", EACCES),
    attempt("protected_links", "switch the protection of links off",
        &["rewrite /proc/sys/fs/protected_hardlinks"], "file_open", EACCES),
    attempt("tracing_scope", "open processes to tracers",
        &["rewrite /host/proc/sys/kernel/dmesg_restrict"], "file_open", EACCES),
    attempt("module_parameter", "change a parameter of a module",
        &["open w /host/sys/module/printk/parameters/time"], "file_open", EACCES),
    attempt("device_setting", "change a setting of a device",
        &["open w /host/sys/block/vda/queue/scheduler"], "file_open", EACCES),
    attempt("new_sysfs", "change a setting through a sysfs of its own",
        &["mount none /mnt sysfs", "open w /mnt/kernel/mm/ksm/run"], "sb_mount", EPERM)
        .after(UNMOUNT),
    attempt("new_sysfs_in_namespace", "the same as root of user and network namespaces",
        &["mount none /mnt sysfs"], "sb_mount", EPERM)
        .within("mapped mount,net,cgroup")
        .differs(0, "whoever has a user namespace may mount one"),
    attempt("new_procfs_in_namespace", "mount a procfs as root of user and pid namespaces",
        &["mount proc /mnt proc"], "sb_mount", EPERM)
        .within("mapped mount,pid fork")
        .differs(0, "whoever has a user namespace may mount one"),
    attempt("pick_memory_victim", "have the kernel end a host process when memory is short",
        &["write /host/proc/{pid}/oom_score_adj 0"], "file_open", EACCES),
    attempt("limits_of_host", "change the limits of a host process",
        &["set-limit {pid}"], "task_setrlimit", EPERM),
    attempt("priority_of_host", "change the priority of a host process",
        &["set-nice {pid}"], "task_setnice", EPERM),
    attempt("io_priority_of_host", "change the I/O priority of a host process",
        &["set-io-priority {pid}"], "task_setioprio", EPERM),
    attempt("processors_of_host", "change the processors of a host process",
        &["set-affinity {pid}"], "task_setscheduler", EPERM),
    attempt("owner_of_signals", "have the kernel signal a host process",
        &["async-signal {pid} 15"], "file_fcntl", EPERM)
        .differs(0, "the kernel asks only when it sends the signal"),
    attempt("owner_of_signals_by_ioctl", "the same by `ioctl`",
        &["ioctl-setown {pid}"], "file_ioctl", EPERM)
        .differs(0, "the kernel asks only when it sends the signal"),
    attempt("own_priority", "run before everybody else", &["nice"], "capable", EACCES),
    attempt("move_pages", "move the memory of a host process",
        &["call move_pages {pid} 1 [8:{address}] 0 z:8 2"], "ptrace_access_check", EPERM),
    attempt("compare_processes", "learn which objects host processes share",
        &["call kcmp {pid} 1 2 0 0"], "ptrace_access_check", EPERM),
    attempt("wake_the_machine", "set an alarm that wakes the machine",
        &["open rw /host/dev/rtc0"], "file_open", EACCES),
    attempt("console", "write to the host's console",
        &["open w /host/dev/console"], "file_open", EACCES),
    attempt("victim_in_own_proc", "pick the victim of short memory in the container's procfs",
        &["write /proc/{pid}/oom_score_adj 0"], "file_open", EACCES),
    attempt("clear_references", "have a host process's pages forgotten",
        &["write /proc/{pid}/clear_refs 1"], "file_open", EACCES),
    attempt("priority_of_all", "change the priority of all processes of root",
        &["call setpriority 2 0 0"], "task_setnice", EPERM)
        .differs(0, "an ordinary user's processes are its own"),
    attempt("io_priority_of_all", "change the I/O priority of all processes of root",
        &["call ioprio_set 3 0 0x4004"], "task_setioprio", EPERM),
    attempt("time_zone", "set the kernel's time zone",
        &["call settimeofday 0 [4:0,4:0]"], "capable", EPERM),
];
