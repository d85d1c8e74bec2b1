//! Keys and values of every map that user space and the eBPF programs share.
//!
//! Everything is `repr(C)`, of fixed width, without implicit padding, and asserted below. A change
//! of any layout or meaning raises [`ABI_VERSION`], which is part of the pin directory's name: two
//! versions never share a map.

use crate::rights::Rights;

/// Version of this ABI; the programs are pinned below `/sys/fs/bpf/reeve/v<ABI_VERSION>`.
pub const ABI_VERSION: u32 = 2;

/// Longest chain of ancestors that is walked; a file that lies deeper is refused.
pub const MAX_DEPTH: u32 = 64;

/// Rule index that stands for "no line of the policy": the default, or the fixed core.
pub const NO_RULE: u32 = u32::MAX;

pub use crate::counters::{ADOPTED_LISTED, Counters};
pub use crate::policy_id::PolicyId;

/// Where the entry process of a container stands; see [`Subject::state`].
pub mod state {
    /// Set by the runtime; it ends with the process's first successful `execve`. Only the runtime's
    /// own code runs.
    pub const PENDING: u32 = 1;
    /// In force, for good.
    pub const ENFORCED: u32 = 2;
    /// The runtime itself, while it sees that a refusal happens: opening a file is decided, and
    /// nothing else.
    pub const TRIAL: u32 = 3;

    /// Whether a task in this state runs the runtime's own code, which is not governed.
    #[inline(always)]
    pub const fn is_runtime(state: u32) -> bool {
        matches!(state, PENDING | TRIAL)
    }
}

/// Value of the task storage map `SUBJECTS`: which container a task belongs to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The container's policy.
    pub policy: PolicyId,
    /// One of [`state`].
    pub state: u32,
}

/// Sections of a policy that have a mode of their own; the number is the bit position pair in
/// [`PolicyHeader::audit`].
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Files and directories.
    Files = 0,
    /// Device nodes.
    Devices = 1,
    /// Mounts.
    Mounts = 2,
    /// Capabilities over the host.
    Capabilities = 3,
    /// Signals and ptrace.
    Processes = 4,
    /// Modules, `bpf(2)`, clock, sysctls and what else is the kernel's own.
    Kernel = 5,
    /// Sockets.
    Sockets = 6,
    /// System V and POSIX IPC, keys.
    Ipc = 7,
}

/// Bit `LEARN_SHIFT + n` of [`PolicyHeader::audit`]: section `n` is in audit mode in order to
/// learn. The decision does not look at it.
pub const LEARN_SHIFT: u32 = 16;

/// Value of `POLICIES`, by [`PolicyId`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyHeader {
    /// Bit `n`: section `n` is in audit mode (refusals are recorded and let through).
    pub audit: u32,
    /// Bits of [`kernel`].
    pub kernel: u32,
    /// Bit `n`: the `bpf(2)` command `n` is allowed.
    pub bpf_commands: u64,
    /// Rule index of the `kernel.bpf` line, or [`NO_RULE`].
    pub bpf_rule: u32,
    /// Rule index of the `kernel.clock` line, or [`NO_RULE`].
    pub clock_rule: u32,
    /// `MOUNT_ATTR_*` (`include/uapi/linux/mount.h`) that every mount made by `fsmount(2)` must
    /// have: there the type is not known, so those of all lines.
    pub attach_attributes: u32,
    /// `CLONE_NEW*` of the namespaces that `processes.setns` lines let in; 0 without such a line.
    pub namespaces: u32,
    /// Rule index of the first `processes.setns` line, or [`NO_RULE`].
    pub namespaces_rule: u32,
    /// Rule index of the `processes.exec` line, or [`NO_RULE`].
    pub exec_rule: u32,
}

/// Bits of [`PolicyHeader::kernel`].
pub mod kernel {
    /// The system clock may be set.
    pub const CLOCK: u32 = 1 << 0;
    /// The pid namespace is the container's own, and with it every process that its procfs shows.
    pub const PRIVATE_PID: u32 = 1 << 1;
    /// The IPC namespace is the container's own, and with it its message queues.
    pub const PRIVATE_IPC: u32 = 1 << 2;
    /// The root file system is an overlay, behind whose files the kernel acts on the layers with
    /// the capabilities of whoever mounted it.
    pub const OVERLAY_ROOT: u32 = 1 << 3;
    /// Only what a `processes.exec` line names is executed.
    pub const EXEC_LISTED: u32 = 1 << 4;
    /// The network namespace that the container starts in is its own.
    pub const PRIVATE_NET: u32 = 1 << 8;
}

/// Key of `FILES`: a file or directory by identity.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InodeKey {
    /// Whose rule it is.
    pub policy: PolicyId,
    /// Device of the super block, in the kernel's own encoding (`major << 20 | minor`); see
    /// [`kernel_dev`].
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
}

/// Value of `FILES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FileRule {
    /// What may be done to the object and, for a directory, to everything below that has no nearer
    /// rule.
    pub rights: Rights,
    /// Bits of [`file_flags`].
    pub flags: u32,
    /// Index into the policy's table of grants, or [`NO_RULE`].
    pub rule: u32,
    /// `i_generation` of the inode that the rule was made for, or 0 where it is not known. Another
    /// inode that got the number of a deleted one has another.
    pub generation: u32,
    /// Value of `DEVICE_USES` for the device when the rule was written.
    pub use_count: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`FileRule::flags`].
pub mod file_flags {
    /// The container's own object: all rights.
    pub const OWN: u32 = 1 << 0;
    /// The fixed core: refused whatever the policy's mode is.
    pub const CORE: u32 = 1 << 1;
    /// Holds only for the backing file behind an overlay of the container's own.
    pub const BACKING: u32 = 1 << 2;
    /// The object itself may be neither moved nor removed: the fixed core lies below it.
    pub const PINNED: u32 = 1 << 3;
    /// `IOCTLS` has commands for the rule.
    pub const IOCTLS: u32 = 1 << 4;
    /// The device number is given out again when the file system goes away: `use_count` holds.
    pub const COUNTED: u32 = 1 << 5;
}

/// Key of `SUPERS`: a super block as a container sees it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SuperKey {
    /// Whose it is.
    pub policy: PolicyId,
    /// `super_block.s_dev` in the kernel's encoding.
    pub dev: u32,
}

/// Value of `SUPERS`. `magic` and `address` are compared at use: device numbers of anonymous super
/// blocks are given out again before the kernel says that the old one is gone.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SuperRule {
    /// One of [`super_kind`].
    pub kind: u32,
    /// `super_block.s_magic`.
    pub magic: u32,
    /// Address of the `super_block`, or 0 where user space made the entry and does not know it.
    pub address: u64,
    /// For [`super_kind::GRANTED`]: what may be done to files that no nearer rule names.
    pub rights: Rights,
    /// For [`super_kind::GRANTED`]: index of the grant.
    pub rule: u32,
}

impl SuperRule {
    /// Whether the entry was made for this very super block.
    #[inline(always)]
    pub const fn is(&self, address: u64, magic: u32) -> bool {
        self.magic == magic && (self.address == 0 || self.address == address)
    }
}

/// Values of [`SuperRule::kind`].
pub mod super_kind {
    /// Mounted by the runtime while it set the container up; the container may not unmount it.
    pub const RUNTIME: u32 = 1;
    /// Mounted by the container itself under a mount grant.
    pub const CONTAINER: u32 = 2;
    /// Mounted by the container itself, and the host's for all that: a block device or a server.
    pub const GRANTED: u32 = 3;
}

/// Key of `DEVICES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeviceKey {
    /// Whose rule it is.
    pub policy: PolicyId,
    /// One of [`device_class`].
    pub class: u32,
    /// Major number.
    pub major: u32,
    /// Minor number, or [`ANY_MINOR`].
    pub minor: u32,
}

/// Matches every minor number of a major.
pub const ANY_MINOR: u32 = u32::MAX;

/// Values of [`DeviceKey::class`].
pub mod device_class {
    /// A block device.
    pub const BLOCK: u32 = 1;
    /// A character device.
    pub const CHAR: u32 = 2;
}

/// Value of `DEVICES`, of `MODULES` and of `GRANTS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RightsRule {
    /// What may be done.
    pub rights: Rights,
    /// Index into the policy's table of grants, or [`NO_RULE`].
    pub rule: u32,
}

/// Key of `IOCTLS`: a command that the lines of `files` and `devices` name one by one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IoctlKey {
    /// Whose rule it is.
    pub policy: PolicyId,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// Second argument of `ioctl(2)`.
    pub command: u32,
}

/// Key of `MOUNTS`: a type, or one of the things to which the line of a type is narrowed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MountKey {
    /// [`type_hash`] of the file system type's name, or of `bind`; for an action its number.
    pub fs_type: u64,
    /// By [`mount_scope`]: an inode number, or [`source_hash`].
    pub object: u64,
    /// Whose rule it is.
    pub policy: PolicyId,
    /// By [`mount_scope`]: a device number in the kernel's encoding.
    pub dev: u32,
    /// One of [`mount_scope`].
    pub scope: u32,
    /// Zero.
    pub reserved: u32,
}

/// Values of [`MountKey::scope`].
pub mod mount_scope {
    /// The type itself.
    pub const TYPE: u32 = 0;
    /// The type on this directory (`dev`, `object`).
    pub const TARGET: u32 = 1;
    /// The type on this block device (`dev`).
    pub const DEVICE: u32 = 2;
    /// The type from this source (`object`).
    pub const SOURCE: u32 = 3;
    /// An action on the mount whose root is (`dev`, `object`); zeroes: on the container's own.
    pub const ACTION: u32 = 4;
}

/// Value of `MOUNTS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountRule {
    /// `MS_*` flags (`mount(2)`) that a mount must have.
    pub required_flags: u64,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// Bits of [`narrowed`].
    pub narrowed: u32,
    /// What may be done to the files of a file system that is the host's.
    pub files: Rights,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`MountRule::narrowed`]: what a mount must name beside its type.
pub mod narrowed {
    /// A mount point among the [`TARGET`](super::mount_scope::TARGET) entries.
    pub const TARGET: u32 = 1 << 0;
    /// A block device among the [`DEVICE`](super::mount_scope::DEVICE) entries.
    pub const DEVICE: u32 = 1 << 1;
    /// A source among the [`SOURCE`](super::mount_scope::SOURCE) entries.
    pub const SOURCE: u32 = 1 << 2;
}

/// Key of `CAPABILITIES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CapabilityKey {
    /// Whose rule it is.
    pub policy: PolicyId,
    /// Number of the capability (`include/uapi/linux/capability.h`).
    pub capability: u32,
}

/// System calls per [`CapabilityRule`]: numbers at or above this have no bit.
pub const SYSCALLS: u32 = 512;

/// Value of `CAPABILITIES`: in which system calls the capability may be used over the host.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapabilityRule {
    /// Bit `n % 64` of word `n / 64`: native system call `n`.
    pub syscalls: [u64; 8],
    /// 1: in every system call, also where its number is not known (a kernel worker, a
    /// compatibility call).
    pub all: u32,
    /// Index into the policy's table of grants, or [`NO_RULE`] for the built-in list.
    pub rule: u32,
}

/// Key of `PROCESSES`: processes by what they execute.
pub type ProcessKey = InodeKey;

/// Value of `PROCESSES`: what may be done to a process that is not the container's.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessRule {
    /// Bit `n`: signal `n` may be sent (bit 0: existence may be probed).
    pub signals: u64,
    /// Bits of [`ptrace`].
    pub ptrace: u32,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// Bits of [`limits`].
    pub limits: u32,
    /// `CLONE_NEW*` of its namespaces that may be entered.
    pub namespaces: u32,
    /// 1: a `processes.exec` line names the file, which may be executed.
    pub exec: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`ProcessRule::ptrace`].
pub mod ptrace {
    /// Read what `PTRACE_MODE_READ` guards (`/proc/PID/environ`, maps).
    pub const READ: u32 = 1 << 0;
    /// Trace: everything that `PTRACE_MODE_ATTACH` guards.
    pub const ATTACH: u32 = 1 << 1;
    /// `process_vm_readv(2)`.
    pub const READ_MEMORY: u32 = 1 << 2;
    /// `process_vm_writev(2)`.
    pub const WRITE_MEMORY: u32 = 1 << 3;
    /// `pidfd_getfd(2)`.
    pub const TAKE_DESCRIPTORS: u32 = 1 << 4;
    /// `kcmp(2)`.
    pub const COMPARE: u32 = 1 << 5;
}

/// Bits of [`ProcessRule::limits`].
pub mod limits {
    /// Nice value.
    pub const NICE: u32 = 1 << 0;
    /// I/O priority.
    pub const IO_PRIORITY: u32 = 1 << 1;
    /// Scheduler, its parameters and processors.
    pub const SCHEDULER: u32 = 1 << 2;
    /// Resource limits.
    pub const RESOURCES: u32 = 1 << 3;
}

/// Key of `GRANTS`: what is named by a number of its own kind.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GrantKey {
    /// Whose rule it is.
    pub policy: PolicyId,
    /// One of [`grant_kind`].
    pub kind: u32,
    /// Which, among its kind.
    pub number: u64,
}

/// Values of [`GrantKey::kind`].
pub mod grant_kind {
    /// [`GrantKey::number`](super::GrantKey::number) is one of [`switch`](super::switch); the rule
    /// has all rights, or none where a line takes it away.
    pub const SWITCH: u32 = 1;
    /// The number is one of [`ipc_class`](super::ipc_class), the rights are those of
    /// [`ipc`](crate::rights::ipc).
    pub const IPC: u32 = 2;
    /// The number is a hash of a sysctl's path, see [`sysctl`](crate::decide::sysctl).
    pub const SYSCTL: u32 = 3;
    /// The number is a `lockdown_reason` of the kernel.
    pub const LOCKDOWN: u32 = 4;
}

/// Parts of the kernel that a line opens as a whole.
pub mod switch {
    /// The kernel's log.
    pub const SYSLOG: u32 = 0;
    /// `perf_event_open(2)`.
    pub const PERF: u32 = 1;
    /// Loading another kernel.
    pub const KEXEC: u32 = 2;
    /// An io_uring with a polling thread of the kernel's.
    pub const URING_SQPOLL: u32 = 3;
    /// An io_uring request under registered credentials.
    pub const URING_PERSONALITY: u32 = 4;
    /// A command to a driver through io_uring.
    pub const URING_COMMAND: u32 = 5;
    /// `quotactl(2)`.
    pub const QUOTA: u32 = 6;
    /// New user namespaces: the one switch that is on unless a line turns it off.
    pub const USERNS: u32 = 7;
    /// The host and domain name.
    pub const HOSTNAME: u32 = 8;
    /// `reboot(2)`.
    pub const REBOOT: u32 = 9;
    /// Swap areas.
    pub const SWAP: u32 = 10;
    /// Process accounting.
    pub const ACCT: u32 = 11;
}

/// Kinds of objects of the section `ipc`.
pub mod ipc_class {
    /// System V shared memory.
    pub const SHM: u32 = 0;
    /// System V semaphores.
    pub const SEM: u32 = 1;
    /// System V message queues.
    pub const MSG: u32 = 2;
    /// POSIX message queues.
    pub const MQUEUE: u32 = 3;
    /// Keys and keyrings.
    pub const KEYS: u32 = 4;
}

/// Value of the one-element array `STATE`, which only user space writes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GlobalState {
    /// Bit `n`: some container's cgroup lies at depth `n` of the v2 hierarchy.
    pub cgroup_levels: u32,
    /// Last policy number given out.
    pub last_policy: u32,
}

/// Device number in the kernel's internal encoding, `MKDEV(major, minor)`.
#[inline(always)]
pub const fn kernel_dev(major: u32, minor: u32) -> u32 {
    (major << 20) | (minor & 0xf_ffff)
}

/// Major and minor of a device number in the kernel's internal encoding.
#[inline(always)]
pub const fn split_dev(dev: u32) -> (u32, u32) {
    (dev >> 20, dev & 0xf_ffff)
}

/// Longest file system type name that is told apart, in bytes.
pub const TYPE_NAME_MAX: usize = 16;

/// FNV-1a of a file system type's name, up to its first NUL or [`TYPE_NAME_MAX`] bytes.
#[inline(always)]
pub const fn type_hash(name: &[u8; TYPE_NAME_MAX]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut at = 0;
    while at < TYPE_NAME_MAX {
        let byte = name[at];
        if byte == 0 {
            break;
        }
        hash = (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// [`type_hash`] of a short name, for constants.
pub const fn const_type_hash(name: &[u8]) -> u64 {
    let mut bytes = [0; TYPE_NAME_MAX];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    type_hash(&bytes)
}

/// [`type_hash`] of a string; longer names are cut as the kernel side cuts them.
pub fn type_hash_of(name: &str) -> u64 {
    let mut bytes = [0; TYPE_NAME_MAX];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(TYPE_NAME_MAX - 1)) {
        *to = from;
    }
    type_hash(&bytes)
}

/// Longest source of a mount that is told apart, in bytes, with its NUL.
pub const SOURCE_MAX: usize = 128;

/// FNV-1a of a mount's source, filled up with zeroes; 0, which no rule has, for one that is empty
/// or may have been cut. No byte is a branch but the two that say so: the verifier would follow
/// what comes after for each.
#[inline(always)]
pub fn source_hash(source: &[u8; SOURCE_MAX]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut at = 0;
    while at < SOURCE_MAX {
        hash = (hash ^ source[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    if source[0] == 0 || source[SOURCE_MAX - 2] != 0 {
        0
    } else {
        hash
    }
}

/// [`source_hash`] of a string; 0 for one that is too long.
pub fn source_hash_of(source: &str) -> u64 {
    let mut bytes = [0; SOURCE_MAX];
    for (to, from) in bytes.iter_mut().zip(source.bytes()) {
        *to = from;
    }
    source_hash(&bytes)
}

const _: () = {
    assert!(size_of::<Subject>() == 8);
    assert!(size_of::<PolicyHeader>() == 40);
    assert!(size_of::<InodeKey>() == 16);
    assert!(size_of::<FileRule>() == 24);
    assert!(size_of::<IoctlKey>() == 12);
    assert!(size_of::<SuperKey>() == 8);
    assert!(size_of::<SuperRule>() == 24);
    assert!(size_of::<DeviceKey>() == 16);
    assert!(size_of::<RightsRule>() == 8);
    assert!(size_of::<MountKey>() == 32);
    assert!(size_of::<MountRule>() == 24);
    assert!(size_of::<CapabilityKey>() == 8);
    assert!(size_of::<CapabilityRule>() == 72);
    assert!(size_of::<ProcessRule>() == 32);
    assert!(size_of::<GlobalState>() == 8);
    assert!(size_of::<GrantKey>() == 16);
    assert!(core::mem::offset_of!(InodeKey, ino) == 8);
    assert!(core::mem::offset_of!(PolicyHeader, bpf_commands) == 8);
    assert!(core::mem::offset_of!(MountKey, policy) == 16);
    assert!(core::mem::offset_of!(CapabilityRule, all) == 64);
};
