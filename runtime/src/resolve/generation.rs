//! What tells an inode from another that had its number before: `i_generation`, as file handles
//! hold it.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `EXT4_SUPER_MAGIC`.
const EXT4: u32 = 0xef53;
/// `XFS_SUPER_MAGIC`.
const XFS: u32 = 0x5846_5342;
/// `F2FS_SUPER_MAGIC`.
const F2FS: u32 = 0xf2f5_2010;
/// `FILEID_INO32_GEN` and the kind that has the parent, too.
const INO32: [i32; 2] = [1, 2];
/// `XFS_FILEID_TYPE_64FLAG` with [`INO32`].
const INO64: [i32; 2] = [0x81, 0x82];

/// Generation of the inode behind a descriptor; 0 where the file system keeps none in its handles
/// or in a place that is not known.
pub(super) fn of(fd: BorrowedFd<'_>, magic: u32) -> u32 {
    let Some((kind, handle)) = crate::sys::file_handle(fd.as_raw_fd()) else {
        return 0;
    };
    in_handle(magic, kind, &handle)
}

/// Where each file system puts it.
fn in_handle(magic: u32, kind: i32, handle: &[u8]) -> u32 {
    let at = match magic {
        EXT4 | F2FS | XFS if INO32.contains(&kind) => 4,
        XFS if INO64.contains(&kind) => 8,
        ebpf_common::magic::TMPFS if kind == 1 => 0,
        _ => return 0,
    };
    let bytes = handle
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_has_its_place() {
        let handle = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        assert_eq!(in_handle(EXT4, 1, &handle), 2);
        assert_eq!(in_handle(XFS, 0x81, &handle), 3);
        assert_eq!(in_handle(ebpf_common::magic::TMPFS, 1, &handle), 1);
        assert_eq!(in_handle(EXT4, 1, &handle[..6]), 0);
        assert_eq!(in_handle(EXT4, 7, &handle), 0);
        assert_eq!(in_handle(ebpf_common::magic::OVERLAY, 1, &handle), 0);
    }
}
