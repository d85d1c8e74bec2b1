//! What a mount grant may name: file system types and flags of `mount(2)`, and actions on mounts.

/// What a type of file system holds, and so what its line needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeKind {
    /// Memory: what is in it is the container's own.
    Memory,
    /// A view of some tree: governed by identity wherever it appears.
    Bind,
    /// A view of the kernel: readable, written where other lines say so.
    Kernel,
    /// Files on a block device: the host's.
    Device,
    /// Files of a server: the host's.
    Network,
}

/// The word for bind mounts.
pub const BIND: &str = "bind";

/// Types that may be granted. Others hold something of the host that no rule could govern: overlay
/// acts on its layers without the hooks that rules on files hold.
pub const TYPES: [&str; 12] = [
    "tmpfs", "ramfs", BIND, "proc", "sysfs", "cgroup2", "mqueue", "devpts", "ext4", "xfs", "nfs4",
    "cifs",
];

/// What a type of [`TYPES`] holds.
pub fn kind(name: &str) -> TypeKind {
    match name {
        BIND => TypeKind::Bind,
        "proc" | "sysfs" | "cgroup2" | "mqueue" | "devpts" => TypeKind::Kernel,
        "ext4" | "xfs" => TypeKind::Device,
        "nfs4" | "cifs" => TypeKind::Network,
        _ => TypeKind::Memory,
    }
}

/// Flags and their `MS_*` and `MOUNT_ATTR_*` bits (`include/uapi/linux/mount.h`); the second are 0
/// where only a super block has the flag.
pub const FLAGS: [(&str, u64, u32); 8] = [
    ("ro", 1, 0x1),
    ("nosuid", 1 << 1, 0x2),
    ("nodev", 1 << 2, 0x4),
    ("noexec", 1 << 3, 0x8),
    ("sync", 1 << 4, 0),
    ("nosymfollow", 1 << 8, 0x20_0000),
    ("noatime", 1 << 10, 0x10),
    ("nodiratime", 1 << 11, 0x80),
];

/// The bit of a flag.
pub fn flag(name: &str) -> Option<u64> {
    FLAGS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, bit, _)| *bit)
}

/// The names of the known flags in `bits`.
pub fn flag_names(bits: u64) -> Vec<&'static str> {
    FLAGS
        .iter()
        .filter(|(_, bit, _)| bits & bit != 0)
        .map(|(name, ..)| *name)
        .collect()
}

/// The `MOUNT_ATTR_*` bits of the flags in `bits`.
pub fn attributes(bits: u64) -> u32 {
    let set = FLAGS.iter().filter(|(_, bit, _)| bits & bit != 0);
    set.fold(0, |all, (.., attribute)| all | attribute)
}
