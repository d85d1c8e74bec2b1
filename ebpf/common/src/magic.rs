//! Super-block magic numbers and flags that the decision distinguishes
//! (`include/uapi/linux/magic.h`, `include/linux/fs.h`).

/// `PROC_SUPER_MAGIC`.
pub const PROC: u32 = 0x9fa0;
/// `SYSFS_MAGIC`.
pub const SYSFS: u32 = 0x6265_6572;
/// `BPF_FS_MAGIC`.
pub const BPF_FS: u32 = 0xcafe_4a11;
/// `CGROUP_SUPER_MAGIC` (version 1).
pub const CGROUP: u32 = 0x0027_e0eb;
/// `CGROUP2_SUPER_MAGIC`.
pub const CGROUP2: u32 = 0x6367_7270;
/// `TMPFS_MAGIC`.
pub const TMPFS: u32 = 0x0102_1994;
/// `MQUEUE_MAGIC` (`ipc/mqueue.c`).
pub const MQUEUE: u32 = 0x1980_0202;
/// `RAMFS_MAGIC`.
pub const RAMFS: u32 = 0x8584_58f6;
/// `NSFS_MAGIC`: namespaces, reached through `/proc/PID/ns`, which is guarded as tracing is.
pub const NSFS: u32 = 0x6e73_6673;
/// `DEVPTS_SUPER_MAGIC`.
pub const DEVPTS: u32 = 0x1cd1;
/// `OVERLAYFS_SUPER_MAGIC`.
pub const OVERLAY: u32 = 0x794c_7630;
/// `BTRFS_SUPER_MAGIC`: inode numbers repeat between its subvolumes, so identity needs more than
/// (device, inode).
pub const BTRFS: u32 = 0x9123_683e;
/// `TRACEFS_MAGIC`.
pub const TRACEFS: u32 = 0x7472_6163;
/// `DEBUGFS_MAGIC`.
pub const DEBUGFS: u32 = 0x6462_6720;
/// `SECURITYFS_MAGIC`.
pub const SECURITYFS: u32 = 0x7363_6673;

/// `SB_NOUSER` of `super_block.s_flags`: the kernel's own mounts (pipes, sockets, memfds, anonymous
/// inodes, nsfs), which no process can mount.
pub const SB_NOUSER: u64 = 1 << 31;

/// Whether the file system shows the kernel itself rather than stored files: readable by its
/// container where the runtime mounted it, written only where a grant names the entry.
#[inline(always)]
pub const fn shows_kernel(magic: u32) -> bool {
    matches!(
        magic,
        PROC | SYSFS | CGROUP | CGROUP2 | TRACEFS | DEBUGFS | SECURITYFS
    )
}
