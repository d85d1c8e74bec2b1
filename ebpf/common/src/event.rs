//! What the ring buffer carries: one event for each refusal, and for each action that audit mode
//! let through.

/// Path components that an event carries, from the object upwards.
pub const COMPONENTS: usize = 16;
/// Bytes kept of each component, with its NUL; longer names are cut.
pub const COMPONENT_BYTES: usize = 48;

/// What was tried.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open, map, create, delete, … : `rights` says which, the object is `dev`, `ino` and the
    /// components.
    File = 0,
    /// Open of a device node: `detail` is `class << 32 | dev_t` in the kernel's encoding.
    Device = 1,
    /// Mount: `detail` holds the `MS_*` flags, `ino` the hash of the type, the components the mount
    /// point.
    Mount = 2,
    /// Attach of a detached mount.
    MoveMount = 3,
    /// Unmount.
    Umount = 4,
    /// Use of a capability over the host: `detail` is `capability << 32 | system call` (`u32::MAX`:
    /// not known).
    Capability = 5,
    /// Signal: `detail` is its number, `target_pid` who.
    Signal = 6,
    /// Tracing: `detail` is the `PTRACE_MODE_*` mode, `target_pid` who.
    Ptrace = 7,
    /// `bpf(2)`: `detail` is the command.
    Bpf = 8,
    /// A file read by the kernel: `detail` is the `kernel_read_file_id`.
    KernelRead = 9,
    /// Data loaded by the kernel: `detail` is the `kernel_load_data_id`.
    KernelLoad = 10,
    /// The clock.
    Clock = 11,
    /// Owner of a file's signals: `detail` is the process that was named.
    SignalOwner = 12,
    /// Limits, priority or placement of another process: `target_pid` is whose.
    Limits = 13,
    /// An object of IPC or a key: `detail` is its [`crate::abi::ipc_class`], `rights` those of
    /// [`crate::rights::ipc`].
    Ipc = 14,
    /// A kernel setting: `rights` says which access, the components are its name.
    Sysctl = 15,
    /// A part of the kernel: `detail` is its [`crate::abi::switch`].
    Switch = 16,
    /// A use that lockdown knows: `detail` is the kernel's `lockdown_reason`.
    Lockdown = 17,
    /// `ioctl` on a file: `detail` is the command.
    Ioctl = 18,
    /// `ioctl` on a block device: `detail` is `dev_t << 32 | command`.
    BlockIoctl = 19,
    /// The same on a character device.
    CharIoctl = 20,
    /// Making a device node: `detail` as for [`Action::Device`].
    MakeDevice = 21,
    /// An action on mounts: `detail` is its number.
    MountAction = 22,
    /// A parameter of a mount: `detail` is [`crate::abi::type_hash`] of its name, `ino` that of
    /// the type.
    MountParameter = 23,
    /// Entering a namespace: `detail` holds the `CLONE_NEW*` types, `target_pid` whose.
    Namespace = 24,
    /// Execution of a file that no `exec` line names.
    Exec = 25,
    /// A socket: `rights` are bits of [`crate::socket::right`], `detail` is `kind << 32 | port`
    /// (for netlink and other families: protocol or family), `target_pid` the address's version,
    /// `ino` its upper and `dev << 32 | magic` its lower half.
    Socket = 26,
    /// A unix socket of a file system, as [`Action::File`] names its object.
    UnixPath = 27,
    /// An abstract unix socket: its name is the first component.
    UnixName = 28,
    /// A socket option or control message that leads packets another way: `detail` is
    /// `level << 32 | option`.
    Route = 29,
    /// Birth of a process into another cgroup.
    Birth = 30,
}

impl Action {
    /// Every action, in order of its number.
    pub const ALL: &[Self] = &[
        Self::File,
        Self::Device,
        Self::Mount,
        Self::MoveMount,
        Self::Umount,
        Self::Capability,
        Self::Signal,
        Self::Ptrace,
        Self::Bpf,
        Self::KernelRead,
        Self::KernelLoad,
        Self::Clock,
        Self::SignalOwner,
        Self::Limits,
        Self::Ipc,
        Self::Sysctl,
        Self::Switch,
        Self::Lockdown,
        Self::Ioctl,
        Self::BlockIoctl,
        Self::CharIoctl,
        Self::MakeDevice,
        Self::MountAction,
        Self::MountParameter,
        Self::Namespace,
        Self::Exec,
        Self::Socket,
        Self::UnixPath,
        Self::UnixName,
        Self::Route,
        Self::Birth,
    ];

    /// The action of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|action| *action as u32 == number)
    }
}

/// One event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// `bpf_ktime_get_boot_ns`: nanoseconds since boot, suspended time included.
    pub time_ns: u64,
    /// Policy of the container.
    pub policy: u32,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Number of the hook in [`crate::hooks::HOOKS`].
    pub hook: u32,
    /// [`Action`].
    pub action: u32,
    /// [`crate::Rights`] that were wanted.
    pub rights: u32,
    /// Errno of the refusal, positive.
    pub errno: i32,
    /// 1: refused; 0: audit mode let it through.
    pub enforced: u32,
    /// [`crate::Reason`].
    pub reason: u32,
    /// Index of the grant that decided, or [`crate::abi::NO_RULE`].
    pub rule: u32,
    /// Device of the object's super block, in the kernel's encoding.
    pub dev: u32,
    /// Inode number of the object.
    pub ino: u64,
    /// By action.
    pub detail: u64,
    /// Process that was to be acted upon, or 0.
    pub target_pid: u32,
    /// Magic of the object's super block.
    pub magic: u32,
    /// Components used; one more than [`COMPONENTS`] if the path was longer.
    pub depth: u32,
    /// Zero.
    pub reserved: u32,
    /// Command name of the caller, NUL-padded.
    pub comm: [u8; 16],
    /// Names from the object upwards, each NUL-terminated.
    pub components: [[u8; COMPONENT_BYTES]; COMPONENTS],
}

const _: () = {
    assert!(size_of::<Event>() == 104 + COMPONENTS * COMPONENT_BYTES);
    assert!(core::mem::offset_of!(Event, ino) == 56);
    assert!(core::mem::offset_of!(Event, comm) == 88);
};
