//! The maps, pinned by the loader under their names here. Keys and values are those of
//! [`ebpf_common::abi`].

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, RingBuf};
use ebpf_common::abi::*;
use ebpf_common::socket::{NameKey, PlaceRules, SocketKinds, UnixRule};

/// The hash maps grow with what is loaded; these are the bounds that the loader checks at install.
const POLICIES_MAX: u32 = 4096;
const ENTRIES_MAX: u32 = 1 << 20;
/// Looked through at the end of each container.
const OWNERS_MAX: u32 = 1 << 18;
const EVENTS_BYTES: u32 = 1 << 20;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty, $max:expr;)*) => {
        $($(#[$doc])* #[map] pub(crate) static $name: HashMap<$key, $value> =
            HashMap::with_max_entries($max, BPF_F_NO_PREALLOC);)*
    };
}

tables! {
    /// Headers of the loaded policies.
    POLICIES: PolicyId => PolicyHeader, POLICIES_MAX;
    /// Files by identity.
    FILES: InodeKey => FileRule, ENTRIES_MAX;
    /// Super blocks of a container's own.
    SUPERS: SuperKey => SuperRule, ENTRIES_MAX;
    /// Address of a super block that a container made, to its key: it is forgotten when the super
    /// block goes.
    SUPER_OWNERS: u64 => SuperKey, ENTRIES_MAX;
    /// Device nodes by number.
    DEVICES: DeviceKey => RightsRule, ENTRIES_MAX;
    /// Mounts by type.
    MOUNTS: MountKey => MountRule, ENTRIES_MAX;
    /// Capabilities by system call.
    CAPABILITIES: CapabilityKey => CapabilityRule, ENTRIES_MAX;
    /// Processes of the host by executable.
    PROCESSES: ProcessKey => ProcessRule, ENTRIES_MAX;
    /// Module files.
    MODULES: InodeKey => RightsRule, ENTRIES_MAX;
    /// Containers' cgroups by id: the second witness of who belongs to them.
    CGROUPS: u64 => PolicyId, POLICIES_MAX;
    /// What is named by a number: IPC, sysctls, parts of the kernel.
    GRANTS: GrantKey => RightsRule, ENTRIES_MAX;
    /// Address of an IPC object or key, to the policy of the container that made it. Whoever makes
    /// another object at that address replaces the entry, so that it never speaks of an old one.
    OWNERS: u64 => PolicyId, OWNERS_MAX;
    /// Commands of `ioctl(2)` that lines name.
    IOCTLS: IoctlKey => u32, ENTRIES_MAX;
    /// How often file systems under an anonymous device number that rules name have gone away.
    DEVICE_USES: u32 => u32, ENTRIES_MAX;
    /// The generation that is in force, by container; one without an entry has its first policy.
    IN_FORCE: PolicyId => PolicyId, POLICIES_MAX;
    /// What is counted of each container.
    COUNTERS: PolicyId => Counters, POLICIES_MAX;
    /// Which sockets each policy lets make.
    SOCKETS: PolicyId => SocketKinds, POLICIES_MAX;
    /// Unix sockets, or directories above them, by identity.
    UNIX_PATHS: InodeKey => UnixRule, ENTRIES_MAX;
    /// Abstract unix sockets by name.
    UNIX_NAMES: NameKey => UnixRule, ENTRIES_MAX;
    /// The network namespace that each container started in.
    NETWORKS: PolicyId => u32, POLICIES_MAX;
}

/// Address ranges; the key is [`ebpf_common::socket::PlaceKey`] without its prefix.
#[map]
pub(crate) static SOCKET_PLACES: LpmTrie<[u8; 24], PlaceRules> =
    LpmTrie::with_max_entries(ENTRIES_MAX, BPF_F_NO_PREALLOC);

/// One [`GlobalState`].
#[map]
pub(crate) static STATE: Array<GlobalState> = Array::with_max_entries(1, 0);

/// Refusals, for `reeve audit`.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// `BPF_MAP_TYPE_TASK_STORAGE` (`include/uapi/linux/bpf.h`).
const TASK_STORAGE: usize = 29;
/// `BPF_MAP_TYPE_SK_STORAGE`.
const SOCKET_STORAGE: usize = 24;

/// A BTF map definition by hand: the library has no storage of tasks or sockets. Only the pointers'
/// types are read, from BTF.
#[repr(C)]
pub(crate) struct Storage<V, const TYPE: usize> {
    r#type: *const [i32; TYPE],
    key: *const i32,
    value: *const V,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the definition holds null pointers that nothing follows.
unsafe impl<V, const TYPE: usize> Sync for Storage<V, TYPE> {}

impl<V, const TYPE: usize> Storage<V, TYPE> {
    const EMPTY: Self = Self {
        r#type: core::ptr::null(),
        key: core::ptr::null(),
        value: core::ptr::null(),
        max_entries: core::ptr::null(),
        map_flags: core::ptr::null(),
    };

    /// The map as the helpers want it.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// The subject of each task of a container.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SUBJECTS")]
pub(crate) static SUBJECTS: Storage<Subject, TASK_STORAGE> = Storage::EMPTY;

/// Which container made a unix socket.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "SOCKET_OWNERS")]
pub(crate) static SOCKET_OWNERS: Storage<PolicyId, SOCKET_STORAGE> = Storage::EMPTY;
