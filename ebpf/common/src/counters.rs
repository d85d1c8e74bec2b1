//! What the kernel side counts of each container.

/// Super blocks whose device numbers [`Counters::devices`] has room for.
pub const ADOPTED_LISTED: usize = 16;

/// Value of `COUNTERS`, by the container's [`PolicyId`]: what the kernel side counts of it. Nothing
/// that is decided depends on it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Tasks that have its label and are in force. Never less than there are; more after a clone
    /// that failed late, and after `reeve exec`, whose process is counted at its birth and at its
    /// exec.
    pub tasks: u64,
    /// Events that were handed to the ring buffer.
    pub recorded: u64,
    /// Events that were left out for coming too fast; see [`crate::rate`].
    pub suppressed: u64,
    /// Events that found the ring buffer full.
    pub lost: u64,
    /// When the next event is due; see [`crate::rate::admit`].
    pub due_ns: u64,
    /// Inode number of the container's cgroup, which is its key in `CGROUPS`. Written by user
    /// space, before there is a task to count.
    pub cgroup: u64,
    /// Not 0 once it made an IPC object or key: `OWNERS` may have entries of it.
    pub owns: u64,
    /// How often the kernel side has noted a super block of it in `SUPERS`.
    pub adopted: u64,
    /// Their device numbers, the first ones. A super block that others use too, such as that of
    /// cgroups, outlives the container, and its entry has to be removed with it.
    pub devices: [u32; ADOPTED_LISTED],
}

const _: () = assert!(size_of::<Counters>() == 128);
