//! The mounts of the calling process's mount namespace, from `/proc/self/mountinfo`
//! (`proc_pid_mountinfo(5)`).

use std::fs;
use std::path::PathBuf;

use crate::failure::{Called, Failure};

/// The file.
const PATH: &str = "/proc/self/mountinfo";

/// One mount. Names that are not UTF-8 cannot be named by a policy either, and are given lossily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Mount id, as `statx(2)` gives it.
    pub id: u64,
    /// Device of the super block: major and minor number.
    pub device: (u32, u32),
    /// Directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Options of the super block, between commas, still escaped.
    pub super_options: String,
}

/// All mounts, in the order of the file.
///
/// # Errors
/// The file cannot be read.
pub fn mounts() -> Result<Vec<Mount>, Failure> {
    let text = fs::read(PATH).called(|| format!("open(\"{PATH}\", O_RDONLY)"))?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// Reads the format; lines that are not in it are passed over.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// A line `id parent dev root mount-point options … - type source super-options`.
fn line(line: &str) -> Option<Mount> {
    let (mount, super_block) = line.split_once(" - ")?;
    let mut words = mount.split(' ');
    let id = words.next()?.parse().ok()?;
    let (major, minor) = words.nth(1)?.split_once(':')?;
    Some(Mount {
        id,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(words.next()?).into(),
        point: unescape(words.next()?).into(),
        super_options: super_block.split(' ').nth(2).unwrap_or_default().to_owned(),
    })
}

/// Undoes `\040` and its like: space, tab, newline, backslash and `#` are written as three octal
/// digits.
pub fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[4..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn octal(text: &[u8]) -> Option<u8> {
    let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = text else {
        return None;
    };
    Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
}

#[cfg(test)]
mod tests {
    //! The format and its escapes.

    use super::*;

    #[test]
    fn a_line_is_read_and_junk_is_passed_over() {
        let text = "36 35 8:33 /sub /mnt/a\\040b\\134c rw shared:1 - overlay none rw,lowerdir=/l\n\
            23 27 0:22 / /proc rw - proc proc rw\nshort line\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].id, 36);
        assert_eq!(found[0].device, (8, 33));
        assert_eq!(found[0].root, PathBuf::from("/sub"));
        assert_eq!(found[0].point, PathBuf::from("/mnt/a b\\c"));
        assert_eq!(found[0].super_options, "rw,lowerdir=/l");
        assert_eq!(found[1].point, PathBuf::from("/proc"));
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in ["\\04", "\\999x", "\\", "\\777"] {
            assert_eq!(unescape(text), text);
        }
    }
}
