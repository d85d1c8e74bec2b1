//! Keys and values of every map that user space and the eBPF programs share.
//!
//! Everything is `repr(C)`, of fixed width, without implicit padding, and asserted below. A change
//! of any layout or meaning raises [`ABI_VERSION`], which is part of the pin directory's name: two
//! versions never share a map.

use crate::rights::Rights;

/// Version of this ABI; the programs are pinned below `/sys/fs/bpf/reeve/v<ABI_VERSION>`.
pub const ABI_VERSION: u32 = 1;

/// Longest chain of ancestors that is walked; a file that lies deeper is refused.
pub const MAX_DEPTH: u32 = 64;

/// Rule index that stands for "no line of the policy": the default, or the fixed core.
pub const NO_RULE: u32 = u32::MAX;

/// Number of a loaded policy, one per container; 0 is never given out, and none is given out twice
/// per load.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PolicyId(pub u32);

/// Where the entry process of a container stands; see [`Subject::state`].
pub mod state {
    /// Set by the runtime; it ends with the process's first successful `execve`. Only the runtime's
    /// own code runs.
    pub const PENDING: u32 = 1;
    /// In force, for good.
    pub const ENFORCED: u32 = 2;
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
    /// Modules, `bpf(2)`, clock.
    Kernel = 5,
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRule {
    /// What may be done to the object and, for a directory, to everything below that has no nearer
    /// rule.
    pub rights: Rights,
    /// Bits of [`file_flags`].
    pub flags: u32,
    /// Index into the policy's table of grants, or [`NO_RULE`].
    pub rule: u32,
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

/// Value of `DEVICES` and of `MODULES`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RightsRule {
    /// What may be done.
    pub rights: Rights,
    /// Index into the policy's table of grants, or [`NO_RULE`].
    pub rule: u32,
}

/// Key of `MOUNTS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MountKey {
    /// [`type_hash`] of the file system type's name, or of `bind`.
    pub fs_type: u64,
    /// Whose rule it is.
    pub policy: PolicyId,
    /// Zero.
    pub reserved: u32,
}

/// Value of `MOUNTS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MountRule {
    /// `MS_*` flags (`mount(2)`) that a mount must have.
    pub required_flags: u64,
    /// Index into the policy's table of grants.
    pub rule: u32,
    /// Zero.
    pub reserved: u32,
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
}

/// Bits of [`ProcessRule::ptrace`].
pub mod ptrace {
    /// Read what `PTRACE_MODE_READ` guards (`/proc/PID/environ`, maps).
    pub const READ: u32 = 1 << 0;
    /// Attach, write memory, take descriptors.
    pub const ATTACH: u32 = 1 << 1;
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
pub fn type_hash(name: &[u8; TYPE_NAME_MAX]) -> u64 {
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

/// [`type_hash`] of a string; longer names are cut as the kernel side cuts them.
pub fn type_hash_of(name: &str) -> u64 {
    let mut bytes = [0; TYPE_NAME_MAX];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(TYPE_NAME_MAX - 1)) {
        *to = from;
    }
    type_hash(&bytes)
}

const _: () = {
    assert!(size_of::<Subject>() == 8);
    assert!(size_of::<PolicyHeader>() == 24);
    assert!(size_of::<InodeKey>() == 16);
    assert!(size_of::<FileRule>() == 16);
    assert!(size_of::<SuperKey>() == 8);
    assert!(size_of::<SuperRule>() == 16);
    assert!(size_of::<DeviceKey>() == 16);
    assert!(size_of::<RightsRule>() == 8);
    assert!(size_of::<MountKey>() == 16);
    assert!(size_of::<MountRule>() == 16);
    assert!(size_of::<CapabilityKey>() == 8);
    assert!(size_of::<CapabilityRule>() == 72);
    assert!(size_of::<ProcessRule>() == 16);
    assert!(size_of::<GlobalState>() == 8);
    assert!(core::mem::offset_of!(InodeKey, ino) == 8);
    assert!(core::mem::offset_of!(PolicyHeader, bpf_commands) == 8);
    assert!(core::mem::offset_of!(MountKey, policy) == 8);
    assert!(core::mem::offset_of!(CapabilityRule, all) == 64);
};
