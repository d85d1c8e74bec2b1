//! Files that are read to their end: what has none, or waits for a writer, is refused at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FsWord, OFlags, fcntl_getfl, fcntl_setfl, fstatfs};

/// `PIPEFS_MAGIC` of `linux/magic.h`: what pipes without a name are of.
const PIPEFS_MAGIC: FsWord = 0x5049_5045;

/// Opens a regular file, or the reading end of a pipe that a shell made (`<(…)`, `/dev/stdin`):
/// that has a writer.
///
/// # Errors
/// It cannot be opened, or is something else, such as a named pipe or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    let of_shell = kind.is_fifo() && fstatfs(&file)?.f_type == PIPEFS_MAGIC;
    if !kind.is_file() && !of_shell {
        return Err(io::Error::other("it is no regular file"));
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_named_pipe_a_directory_and_a_device_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [&fifo, dir.path(), Path::new("/dev/zero")] {
            let error = open(path).unwrap_err().to_string();
            assert_eq!(error, "it is no regular file");
        }
    }

    #[test]
    fn a_pipe_of_a_shell_is_read_to_its_end() {
        let (mut from, mut to) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", from.as_raw_fd());
        let mut file = open(Path::new(&path)).unwrap();
        let writer = std::thread::spawn(move || to.write_all(b"text"));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        writer.join().unwrap().unwrap();
        assert_eq!(from.read(&mut [0]).unwrap(), 0);
    }
}
