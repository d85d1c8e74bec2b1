//! Rules that no line of a policy states: derived from its grants, or built in. They are data, so
//! that the reference prints the same tables.

use ebpf_common::abi::switch;
use ebpf_common::decide::mount::MountAction;

/// A set of native system calls, by name. Names that an architecture lacks are left out there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallSet {
    /// Every one, also where the number is not known.
    All,
    /// Every one but these.
    AllBut(&'static [&'static str]),
    /// These.
    Only(&'static [&'static str]),
}

/// What makes a derived rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Any grant of `mounts`.
    Mounts,
    /// A grant of `mounts` of type `bind`.
    BindMounts,
    /// A line of `mounts` that allows an action.
    MountAction(MountAction),
    /// `processes.setns`.
    Setns,
    /// `processes.limits`.
    Limits,
    /// `kernel.modules`.
    Modules,
    /// `kernel.clock`.
    Clock,
    /// `kernel.bpf`.
    Bpf,
    /// A part of the kernel, by its [`switch`].
    Switch(u32),
    /// Any grant of System V objects in `ipc`.
    Ipc,
    /// A grant of `sockets` for raw IP or packets.
    RawSockets,
}

impl Cause {
    /// In words, for the reference.
    pub fn text(self) -> String {
        let text = match self {
            Self::Mounts => "`mounts`, any type",
            Self::BindMounts => "`mounts` with `type: bind`",
            Self::MountAction(action) => {
                return format!("`mounts` with `allow: [{}]`", action.name());
            }
            Self::Setns => "`processes.setns`",
            Self::Limits => "`processes.limits`",
            Self::Modules => "`kernel.modules`",
            Self::Clock => "`kernel.clock`",
            Self::Bpf => "`kernel.bpf`",
            Self::Switch(switch::SYSLOG) => "`kernel.syslog`",
            Self::Switch(switch::PERF) => "`kernel.perf`",
            Self::Switch(switch::KEXEC) => "`kernel.kexec`",
            Self::Switch(switch::HOSTNAME) => "`kernel.hostname`",
            Self::Switch(switch::REBOOT) => "`kernel.reboot`",
            Self::Switch(switch::SWAP) => "`kernel.swap`",
            Self::Switch(switch::QUOTA) => "`kernel.quota`",
            Self::Switch(switch::ACCT) => "`kernel.acct`",
            Self::Switch(_) => "`kernel`",
            Self::Ipc => "`ipc` with `shm`, `sem` or `msg`",
            Self::RawSockets => "`sockets` with `raw` or `packet`",
        };
        text.to_owned()
    }
}

/// Capabilities that a grant brings along, and the system calls that they are for.
pub const DERIVED: &[(Cause, &str, CallSet)] = &[
    (
        Cause::Mounts,
        "SYS_ADMIN",
        CallSet::Only(&[
            "mount",
            "umount2",
            "fsopen",
            "fsconfig",
            "fsmount",
            "move_mount",
        ]),
    ),
    (
        Cause::BindMounts,
        "SYS_ADMIN",
        CallSet::Only(&["open_tree", "move_mount"]),
    ),
    (
        Cause::MountAction(MountAction::Remount),
        "SYS_ADMIN",
        CallSet::Only(&["mount"]),
    ),
    (
        Cause::MountAction(MountAction::Move),
        "SYS_ADMIN",
        CallSet::Only(&["move_mount"]),
    ),
    (
        Cause::MountAction(MountAction::Propagation),
        "SYS_ADMIN",
        CallSet::Only(&["mount"]),
    ),
    (
        Cause::MountAction(MountAction::Umount),
        "SYS_ADMIN",
        CallSet::Only(&["umount2"]),
    ),
    (
        Cause::MountAction(MountAction::PivotRoot),
        "SYS_ADMIN",
        CallSet::Only(&["pivot_root"]),
    ),
    (
        Cause::MountAction(MountAction::Chroot),
        "SYS_CHROOT",
        CallSet::Only(&["chroot"]),
    ),
    (
        Cause::MountAction(MountAction::OpenTree),
        "SYS_ADMIN",
        CallSet::Only(&["open_tree"]),
    ),
    (
        Cause::MountAction(MountAction::MountSetattr),
        "SYS_ADMIN",
        CallSet::Only(&["mount_setattr"]),
    ),
    (Cause::Setns, "SYS_ADMIN", CallSet::Only(&["setns"])),
    (Cause::Setns, "SYS_CHROOT", CallSet::Only(&["setns"])),
    (Cause::Setns, "SYS_PTRACE", CallSet::Only(&["setns"])),
    (
        Cause::Limits,
        "SYS_NICE",
        CallSet::Only(&[
            "setpriority",
            "ioprio_set",
            "sched_setaffinity",
            "sched_setattr",
            "sched_setparam",
            "sched_setscheduler",
        ]),
    ),
    (Cause::Limits, "SYS_RESOURCE", CallSet::Only(&["prlimit64"])),
    (
        Cause::Modules,
        "SYS_MODULE",
        CallSet::Only(&["finit_module"]),
    ),
    (
        Cause::Clock,
        "SYS_TIME",
        CallSet::Only(&["clock_settime", "settimeofday", "adjtimex", "clock_adjtime"]),
    ),
    (Cause::Bpf, "BPF", CallSet::Only(&["bpf"])),
    (Cause::Bpf, "PERFMON", CallSet::Only(&["bpf"])),
    (Cause::Bpf, "SYS_ADMIN", CallSet::Only(&["bpf"])),
    (Cause::Bpf, "NET_ADMIN", CallSet::Only(&["bpf"])),
    (
        Cause::Switch(switch::SYSLOG),
        "SYSLOG",
        CallSet::Only(&["syslog"]),
    ),
    (
        Cause::Switch(switch::PERF),
        "PERFMON",
        CallSet::Only(&["perf_event_open"]),
    ),
    (
        Cause::Switch(switch::PERF),
        "SYS_ADMIN",
        CallSet::Only(&["perf_event_open"]),
    ),
    (
        Cause::Switch(switch::KEXEC),
        "SYS_BOOT",
        CallSet::Only(&["kexec_load", "kexec_file_load"]),
    ),
    (
        Cause::Switch(switch::HOSTNAME),
        "SYS_ADMIN",
        CallSet::Only(&["sethostname", "setdomainname"]),
    ),
    (
        Cause::Switch(switch::REBOOT),
        "SYS_BOOT",
        CallSet::Only(&["reboot"]),
    ),
    (
        Cause::Switch(switch::SWAP),
        "SYS_ADMIN",
        CallSet::Only(&["swapon", "swapoff"]),
    ),
    (
        Cause::Switch(switch::QUOTA),
        "SYS_ADMIN",
        CallSet::Only(&["quotactl", "quotactl_fd"]),
    ),
    (
        Cause::Switch(switch::ACCT),
        "SYS_PACCT",
        CallSet::Only(&["acct"]),
    ),
    (
        Cause::Ipc,
        "SYS_ADMIN",
        CallSet::Only(&["shmctl", "semctl", "msgctl"]),
    ),
    (Cause::RawSockets, "NET_RAW", CallSet::Only(&["socket"])),
];

/// Capabilities whose uses are governed by other rules, so that they are harmless by themselves.
pub const BUILT_IN: [(&str, CallSet); 13] = [
    (
        "CHOWN",
        CallSet::Only(&["chown", "fchown", "lchown", "fchownat"]),
    ),
    ("DAC_OVERRIDE", CallSet::AllBut(&["open_by_handle_at"])),
    ("DAC_READ_SEARCH", CallSet::AllBut(&["open_by_handle_at"])),
    ("FOWNER", CallSet::All),
    ("FSETID", CallSet::All),
    (
        "KILL",
        CallSet::Only(&[
            "kill",
            "tkill",
            "tgkill",
            "rt_sigqueueinfo",
            "rt_tgsigqueueinfo",
            "pidfd_send_signal",
        ]),
    ),
    ("SETGID", CallSet::All),
    ("SETUID", CallSet::All),
    ("SETPCAP", CallSet::All),
    ("NET_BIND_SERVICE", CallSet::All),
    (
        "SYS_PTRACE",
        CallSet::Only(&[
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "open",
            "openat",
            "openat2",
            "readlink",
            "readlinkat",
            "kcmp",
            "pidfd_getfd",
        ]),
    ),
    ("MKNOD", CallSet::Only(&["mknod", "mknodat"])),
    (
        "IPC_OWNER",
        CallSet::Only(&[
            "shmget",
            "shmat",
            "shmctl",
            "semget",
            "semop",
            "semtimedop",
            "semctl",
            "msgget",
            "msgsnd",
            "msgrcv",
            "msgctl",
        ]),
    ),
];

/// Character devices that every container may read and write: null, zero, full, random, urandom,
/// tty. A ptmx is free in the container's own devpts alone.
pub const DEVICES: [(u32, u32); 6] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];
