//! Opening files, reading and writing them, cutting them.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use crate::act::{Action, Done, Failure, action, done, number, path};
use crate::sys::{Arg, call, descriptor};

pub(crate) const ACTIONS: &[Action] = &[
    action("open", "MODE PATH", open),
    action("read", "PATH", read),
    action("write", "PATH TEXT", write),
    action("rewrite", "PATH", rewrite),
    action("write-fd", "FD TEXT", write_fd),
    action("truncate", "PATH LENGTH", truncate),
    action("ftruncate", "PATH LENGTH", ftruncate),
    action("ftruncate-fd", "FD LENGTH", ftruncate_fd),
    action("create-ftruncate", "PATH LENGTH", create_ftruncate),
    action("fallocate-fd", "FD LENGTH", fallocate_fd),
    action("reopen", "MODE PATH", reopen),
    action("by-handle", "MODE PATH MOUNT", by_handle),
    action("list", "PATH", list),
    action("stat", "PATH", stat),
];

/// `O_*` of a mode's name.
pub(crate) fn mode_flags(mode: &str) -> Result<i32, Failure> {
    let flags = match mode {
        "r" => libc::O_RDONLY,
        "w" => libc::O_WRONLY,
        "rw" => libc::O_RDWR,
        // For `ioctl` only.
        "neither" => libc::O_ACCMODE,
        "append" => libc::O_WRONLY | libc::O_APPEND,
        "trunc" => libc::O_WRONLY | libc::O_TRUNC,
        "read-trunc" => libc::O_RDONLY | libc::O_TRUNC,
        "create" => libc::O_WRONLY | libc::O_CREAT,
        "path" => libc::O_PATH,
        "dir" => libc::O_RDONLY | libc::O_DIRECTORY,
        _ => return Err(Failure::Usage),
    };
    Ok(flags | libc::O_CLOEXEC | libc::O_NOCTTY)
}

/// `openat(2)` from the working directory.
pub(crate) fn open_flags(file: &str, flags: i32) -> Result<OwnedFd, Failure> {
    open_c(&path(file)?, flags)
}

fn open_c(file: &CStr, flags: i32) -> Result<OwnedFd, Failure> {
    let at = Arg::Int(libc::AT_FDCWD.into());
    let mode = Arg::Int(0o600);
    let flags = Arg::Int((flags | libc::O_CLOEXEC).into());
    descriptor(
        "openat",
        libc::SYS_openat,
        [at, Arg::Text(file), flags, mode],
    )
}

fn open(words: &[&str]) -> Done {
    let [mode, file] = words else {
        return Err(Failure::Usage);
    };
    open_flags(file, mode_flags(mode)?)?;
    done()
}

fn read(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let mut bytes = Vec::new();
    let file = File::from(open_flags(file, libc::O_RDONLY)?);
    file.take(4096)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::from_io("read", &error))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect())
}

fn write(words: &[&str]) -> Done {
    let [file, text] = words else {
        return Err(Failure::Usage);
    };
    write_all(open_flags(file, libc::O_WRONLY)?, text.as_bytes())
}

pub(crate) fn write_all(file: OwnedFd, bytes: &[u8]) -> Done {
    File::from(file)
        .write_all(bytes)
        .map_err(|error| Failure::from_io("write", &error))?;
    done()
}

/// Writes back what the file holds: succeeds without a change.
fn rewrite(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let mut file = File::from(open_flags(file, libc::O_RDWR)?);
    let mut bytes = Vec::new();
    let read = (&file).take(4096).read_to_end(&mut bytes);
    read.map_err(|error| Failure::from_io("read", &error))?;
    file.rewind()
        .map_err(|error| Failure::from_io("lseek", &error))?;
    file.write_all(&bytes)
        .map_err(|error| Failure::from_io("write", &error))?;
    done()
}

fn write_fd(words: &[&str]) -> Done {
    let [fd, text] = words else {
        return Err(Failure::Usage);
    };
    let length = Arg::Int(text.len() as i64);
    call(
        "write",
        libc::SYS_write,
        [Arg::Int(number(fd)?), Arg::In(text.as_bytes()), length],
    )?;
    done()
}

fn truncate(words: &[&str]) -> Done {
    let [file, length] = words else {
        return Err(Failure::Usage);
    };
    let length = Arg::Int(number(length)?);
    call(
        "truncate",
        libc::SYS_truncate,
        [Arg::Text(&path(file)?), length],
    )?;
    done()
}

fn cut(fd: i64, length: &str) -> Done {
    call(
        "ftruncate",
        libc::SYS_ftruncate,
        [Arg::Int(fd), Arg::Int(number(length)?)],
    )?;
    done()
}

fn ftruncate(words: &[&str]) -> Done {
    let [file, length] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_RDWR)?;
    cut(file.as_raw_fd().into(), length)
}

fn ftruncate_fd(words: &[&str]) -> Done {
    let [fd, length] = words else {
        return Err(Failure::Usage);
    };
    cut(number(fd)?, length)
}

fn create_ftruncate(words: &[&str]) -> Done {
    let [file, length] = words else {
        return Err(Failure::Usage);
    };
    let file = open_flags(file, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL)?;
    cut(file.as_raw_fd().into(), length)
}

fn fallocate_fd(words: &[&str]) -> Done {
    let [fd, length] = words else {
        return Err(Failure::Usage);
    };
    let (fd, length) = (Arg::Int(number(fd)?), Arg::Int(number(length)?));
    call(
        "fallocate",
        libc::SYS_fallocate,
        [fd, Arg::Int(0), Arg::Int(0), length],
    )?;
    done()
}

/// Opens a file through `/proc/self/fd` of an `O_PATH` descriptor.
fn reopen(words: &[&str]) -> Done {
    let [mode, file] = words else {
        return Err(Failure::Usage);
    };
    let handle = open_flags(file, libc::O_PATH)?;
    open_flags(
        &format!("/proc/self/fd/{}", handle.as_raw_fd()),
        mode_flags(mode)?,
    )?;
    done()
}

/// Opens a file by its handle, under any directory of the same file system.
fn by_handle(words: &[&str]) -> Done {
    let [mode, file, mount] = words else {
        return Err(Failure::Usage);
    };
    let mut handle = [0u8; 8 + 128];
    handle[..4].copy_from_slice(&128u32.to_ne_bytes());
    let mut mount_id = [0u8; 4];
    call(
        "name_to_handle_at",
        libc::SYS_name_to_handle_at,
        [
            Arg::Int(libc::AT_FDCWD.into()),
            Arg::Text(&path(file)?),
            Arg::Out(&mut handle),
            Arg::Out(&mut mount_id),
            Arg::Int(0),
        ],
    )?;
    let mount = open_flags(mount, libc::O_RDONLY | libc::O_DIRECTORY)?;
    descriptor(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        [
            Arg::Int(mount.as_raw_fd().into()),
            Arg::In(&handle),
            Arg::Int(mode_flags(mode)?.into()),
        ],
    )?;
    done()
}

fn list(words: &[&str]) -> Done {
    let [directory] = words else {
        return Err(Failure::Usage);
    };
    let entries = std::fs::read_dir(directory);
    let count = entries
        .map_err(|error| Failure::from_io("openat", &error))?
        .count();
    Ok(count.to_string())
}

/// Device in major:minor and inode number.
fn stat(words: &[&str]) -> Done {
    let [file] = words else {
        return Err(Failure::Usage);
    };
    let found = std::fs::metadata(file).map_err(|error| Failure::from_io("stat", &error))?;
    let dev = found.dev();
    Ok(format!(
        "dev={}:{} ino={}",
        libc::major(dev),
        libc::minor(dev),
        found.ino()
    ))
}

/// A duplicate that owns itself, of a descriptor given by number or of a file opened for reading
/// and writing.
pub(crate) fn file_or_fd(word: &str, flags: i32) -> Result<OwnedFd, Failure> {
    let Some(fd) = word.strip_prefix("fd:") else {
        return open_flags(word, flags);
    };
    let duplicate = Arg::Int(libc::F_DUPFD_CLOEXEC.into());
    descriptor(
        "fcntl",
        libc::SYS_fcntl,
        [Arg::Int(number(fd)?), duplicate, Arg::Int(3)],
    )
}

/// The number of a descriptor, as an argument.
pub(crate) fn fd(file: BorrowedFd<'_>) -> Arg<'static> {
    Arg::Int(file.as_raw_fd().into())
}
