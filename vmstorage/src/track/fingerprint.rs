//! What a disk looks like from outside, to notice changes that nobody tracked.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

use super::device;
use super::root::{MARK, MAX_PRINTS, Print};
use crate::disk::{Error, Result};

/// Bytes at the beginning and the end of a file that are compared.
const MARKER_BYTES: u64 = 4096;
const MAX_NAME: usize = 12;

/// A disk as it looked when nobody wrote it: named fields, each with a digest.
///
/// Times are compared for equality only, so wrong clocks do no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    fields: Vec<Print>,
}

impl Fingerprint {
    /// With no field: nothing can be known of such a disk once it was closed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another field: `name` (ASCII, 12 bytes at most; more are cut), what it is
    /// (`value`), and whether it stays the same while the disk is open, so that it can be compared
    /// after a crash too. Formats add what their headers say of other writers: qcow2's autoclear
    /// bits, VHDX's `DataWriteGuid`. Fields beyond the sixteenth are left out.
    pub fn with(mut self, name: &str, value: &[u8], lasting: bool) -> Self {
        if self.fields.len() < MAX_PRINTS {
            self.fields.push(print(name, value, lasting));
        }
        self
    }

    /// The same with what the image carries as the tracker's mark ([`super::Mark`]); nothing if it
    /// carries none.
    pub fn with_mark(self, mark: Option<&[u8]>) -> Self {
        self.with(MARK, mark.unwrap_or_default(), true)
    }

    /// Of a file: inode and, where the file system has it, time of birth (lasting), size, mtime,
    /// ctime, and its first and last 4 KiB. Of a block device: what tells it from others (lasting),
    /// size and the same bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(file: &File) -> Result<Self> {
        let meta = file.metadata().map_err(|error| Error::io("fstat", error))?;
        let is_device = meta.file_type().is_block_device();
        let size = if is_device {
            rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))
                .map_err(|error| Error::io("lseek", error.into()))?
        } else {
            meta.len()
        };
        let mut print = Self::new().with("size", &size.to_le_bytes(), false);
        if !is_device {
            let time = |s: i64, ns: i64| [s.to_le_bytes(), ns.to_le_bytes()].concat();
            print = print
                .with("inode", &meta.ino().to_le_bytes(), true)
                .with("mtime", &time(meta.mtime(), meta.mtime_nsec()), false)
                .with("ctime", &time(meta.ctime(), meta.ctime_nsec()), false);
            // The number of a removed file's inode is given to the next file.
            if let Ok(born) = meta.created() {
                print = print.with("born", &since_1970(born), true);
            }
        } else if let Some(device) = device::identity(meta.rdev()) {
            print = print.with("device", &device, true);
        }
        let last = size.saturating_sub(MARKER_BYTES);
        print = print.with("head", &marker(file, 0, size)?, false);
        Ok(print.with("tail", &marker(file, last, size)?, false))
    }

    pub(super) fn prints(&self) -> Vec<Print> {
        self.fields.clone()
    }

    /// The first field in which the disk differs from what was stored; after a crash only the
    /// lasting ones are looked at. Fields that only one side has are not compared, but one of those
    /// that are looked at must be, if any was stored.
    pub(super) fn difference(&self, stored: &[Print], crashed: bool) -> Option<String> {
        let mut marks = stored.iter().filter(|print| print.is_mark()).peekable();
        if marks.peek().is_some() && !marks.any(|mark| self.fields.contains(mark)) {
            return Some("it is an older copy, or another image".into());
        }
        let mut compared = 0;
        for print in stored {
            if print.is_mark() {
                compared += 1;
                continue;
            }
            let Some(found) = self.fields.iter().find(|field| field.name == print.name) else {
                continue;
            };
            if crashed && !print.lasting {
                continue;
            }
            compared += 1;
            if found.digest != print.digest {
                return Some(format!("its `{}` is another one", print.name));
            }
        }
        if compared == 0 && !stored.is_empty() {
            return Some("nothing of it can be compared".into());
        }
        None
    }
}

/// Seconds and nanoseconds since 1970, or before it.
fn since_1970(time: SystemTime) -> Vec<u8> {
    let (sign, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (0_u8, after),
        Err(before) => (1, before.duration()),
    };
    let mut bytes = vec![sign];
    bytes.extend(distance.as_secs().to_le_bytes());
    bytes.extend(distance.subsec_nanos().to_le_bytes());
    bytes
}

pub(super) fn mark_print(mark: &[u8]) -> Print {
    print(MARK, mark, true)
}

fn print(name: &str, value: &[u8], lasting: bool) -> Print {
    let mut digest = [0; 8];
    digest.copy_from_slice(&blake3::hash(value).as_bytes()[..8]);
    Print {
        name: name.chars().filter(char::is_ascii).take(MAX_NAME).collect(),
        lasting,
        digest,
    }
}

/// Bytes of the file, fewer at its end.
fn marker(file: &File, offset_bytes: u64, size: u64) -> Result<Vec<u8>> {
    let len = MARKER_BYTES.min(size - offset_bytes.min(size));
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, offset_bytes)
        .map_err(|error| Error::io(format!("pread({len} at {offset_bytes})"), error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn another_file_with_the_inode_of_a_removed_one_shows_after_a_crash_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        for _ in 0..20 {
            std::fs::write(&path, [1; 10_000]).unwrap();
            let before = Fingerprint::of_file(&File::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            // Births are told by ticks of the kernel's clock on most file systems.
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::write(&path, [1; 10_000]).unwrap();
            let after = Fingerprint::of_file(&File::open(&path).unwrap()).unwrap();
            assert!(after.difference(&before.prints(), true).is_some());
        }
    }

    #[test]
    fn a_foreign_write_shows() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        let before = Fingerprint::of_file(&file).unwrap();
        assert_eq!(Fingerprint::of_file(&file).unwrap(), before);
        file.write_all_at(b"x", 9_999).unwrap();
        let after = Fingerprint::of_file(&file).unwrap();
        assert!(after.difference(&before.prints(), false).is_some());
        // While the disk is open it changes all the time: only the inode tells.
        assert_eq!(after.difference(&before.prints(), true), None);
        let other = Fingerprint::of_file(&tempfile::tempfile().unwrap()).unwrap();
        assert!(other.difference(&before.prints(), true).is_some());
        assert!(
            Fingerprint::new()
                .difference(&before.prints(), true)
                .is_some()
        );
        // What does not last says nothing after a crash, and nothing is not the same.
        let fleeting = Fingerprint::new().with("size", b"8", false);
        assert_eq!(fleeting.difference(&fleeting.prints(), false), None);
        assert!(fleeting.difference(&fleeting.prints(), true).is_some());
        assert_eq!(Fingerprint::new().difference(&[], false), None);
    }
}
