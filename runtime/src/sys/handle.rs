//! `name_to_handle_at`.

use std::os::fd::RawFd;

/// Kind and bytes of the handle of what `fd` was opened by (`O_PATH` will do); `None` where the
/// file system has no handles.
pub(crate) fn file_handle(fd: RawFd) -> Option<(i32, Vec<u8>)> {
    /// `MAX_HANDLE_SZ`.
    const MOST: usize = 128;
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        handle: [u8; MOST],
    }
    let mut handle = Handle {
        bytes: MOST as u32,
        kind: 0,
        handle: [0; MOST],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: the path is empty and NUL-terminated, the handle says how many bytes follow its
    // header, and the mount's number is an int; all live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd,
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    let length = (handle.bytes as usize).min(MOST);
    (result == 0).then(|| (handle.kind, handle.handle[..length].to_vec()))
}
