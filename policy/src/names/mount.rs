//! What a mount grant may name: file system types and flags of `mount(2)`.

/// Types that may be granted now. They hold nothing of the host, so a mount of them shows nothing
/// that a `files` grant would have to govern; `bind` shows what is governed by identity wherever it
/// appears.
pub const TYPES: [&str; 3] = ["tmpfs", "ramfs", BIND];

/// The word for bind mounts.
pub const BIND: &str = "bind";

/// Flags and their `MS_*` bits (`include/uapi/linux/mount.h`).
pub const FLAGS: [(&str, u64); 8] = [
    ("ro", 1),
    ("nosuid", 1 << 1),
    ("nodev", 1 << 2),
    ("noexec", 1 << 3),
    ("sync", 1 << 4),
    ("nosymfollow", 1 << 8),
    ("noatime", 1 << 10),
    ("nodiratime", 1 << 11),
];

/// The bit of a flag.
pub fn flag(name: &str) -> Option<u64> {
    FLAGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, bit)| *bit)
}

/// The names of the known flags in `bits`.
pub fn flag_names(bits: u64) -> Vec<&'static str> {
    FLAGS
        .iter()
        .filter(|(_, bit)| bits & bit != 0)
        .map(|(name, _)| *name)
        .collect()
}
