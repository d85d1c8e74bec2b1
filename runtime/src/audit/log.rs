//! The log: emptied into from the ring buffer under a lock, read by line.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ebpf_common::event::Event;
use ebpf_loader::events::Events;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use super::counted::Counted;
use super::place::Mounts;
use super::record::Record;
use super::{Error, registry};

/// Size at which the log is set aside as `audit.jsonl.1`, in bytes.
pub const LOG_BYTES_MAX: u64 = 16 << 20;

/// Most of the log that is held in memory at a time, in bytes.
const PART_BYTES_MAX: u64 = 4 << 20;

/// Bytes after which lines are written rather than held.
const LINES_BYTES_MAX: usize = 1 << 20;

/// Most events that are moved at once: more than the ring buffer, which is of one mebibyte, can
/// hold.
const EVENTS_MAX: usize = 1 << 14;

const _: () = assert!(EVENTS_MAX * size_of::<Event>() > 1 << 20);

fn path(root: &Path) -> PathBuf {
    root.join("audit.jsonl")
}

/// Moves what waits in the ring buffer to the log; answers how many records. Nothing loaded is
/// nothing to move.
///
/// # Errors
/// A log that cannot be written, or a ring buffer that cannot be read.
pub fn drain(root: &Path) -> Result<usize, Error> {
    if !ebpf_loader::host::is_loaded() {
        return Ok(0);
    }
    let mut log = open_with_room(root)?;
    // Under the lock: how far others have read is looked up when the ring buffer is opened.
    let Some(mut events) = Events::open()? else {
        return Ok(0);
    };
    let path = path(root);
    // Most containers end without a refusal: nothing is looked up for those.
    let mounts = OnceCell::new();
    let boot_us = boot_time_us();
    let mut known = HashMap::new();
    let mut lines = Vec::new();
    let mut count = 0;
    // A container may be refused faster than this reads.
    for event in std::iter::from_fn(|| events.next_event()).take(EVENTS_MAX) {
        let owner = known
            .entry(event.policy)
            .or_insert_with(|| registry::find(root, event.policy));
        serde_json::to_writer(
            &mut lines,
            &Record::of(
                &event,
                owner.as_ref(),
                mounts.get_or_init(Mounts::of_host),
                boot_us,
            ),
        )?;
        lines.push(b'\n');
        count += 1;
        if lines.len() > LINES_BYTES_MAX {
            log.write_all(&lines).map_err(Error::file("write", &path))?;
            lines.clear();
        }
    }
    log.write_all(&lines).map_err(Error::file("write", path))?;
    Ok(count)
}

/// Adds a line that is no record.
///
/// # Errors
/// A log that cannot be written.
pub(super) fn append(root: &Path, line: &Counted) -> Result<(), Error> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut log = open_locked(root)?;
    log.write_all(&text)
        .map_err(Error::file("write", path(root)))
}

/// The log, locked; a long one is set aside first, so that followers miss no line of it.
fn open_with_room(root: &Path) -> Result<File, Error> {
    let path = path(root);
    let log = open_locked(root)?;
    let length = log.metadata().map_err(Error::file("fstat", &path))?.len();
    if length <= LOG_BYTES_MAX {
        return Ok(log);
    }
    fs::rename(&path, path.with_extension("jsonl.1")).map_err(Error::file("rename", &path))?;
    open_locked(root)
}

fn open_locked(root: &Path) -> Result<File, Error> {
    let path = path(root);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    flock(&log, FlockOperation::LockExclusive)
        .map_err(|error| Error::file("flock", &path)(error.into()))?;
    Ok(log)
}

/// Microseconds since the epoch at which the boot clock read zero.
fn boot_time_us() -> u64 {
    let micros = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    };
    micros(ClockId::Realtime).saturating_sub(micros(ClockId::Boottime))
}

/// What a part of the log says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its records.
    pub records: Vec<Record>,
    /// What was counted of containers that have ended.
    pub counted: Vec<Counted>,
    /// Where the next read should begin.
    pub end: Position,
}

/// A place in the log, for as long as it is the same file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    inode: u64,
    byte: u64,
}

/// A line of the log.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Box<Record>),
    Counted(Counted),
}

/// Where the next line will be.
///
/// # Errors
/// A log that cannot be looked at; one that is not there is empty.
pub fn end(root: &Path) -> Result<Position, Error> {
    let path = path(root);
    match fs::metadata(&path) {
        Ok(found) => Ok(Position {
            inode: found.ino(),
            byte: found.len(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Position::default()),
        Err(error) => Err(Error::file("stat", path)(error)),
    }
}

/// The log from a place on, at most [`PART_BYTES_MAX`] and a line of it. One that was set aside, or
/// cut, since that place was had is read from its start. Lines that cannot be understood are passed
/// over.
///
/// # Errors
/// A log that cannot be read; one that is not there is empty.
pub fn read(root: &Path, from: Position) -> Result<Part, Error> {
    let path = path(root);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Part::default()),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    let found = file.metadata().map_err(Error::file("fstat", &path))?;
    let (inode, length) = (found.ino(), found.len());
    let begin = match from.inode == inode && from.byte <= length {
        true => from.byte,
        false => 0,
    };
    file.seek(SeekFrom::Start(begin))
        .map_err(Error::file("lseek", &path))?;
    let mut part = Part {
        end: Position { inode, byte: begin },
        ..Part::default()
    };
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        let bytes = lines
            .read_line(&mut line)
            .map_err(Error::file("read", &path))?;
        // A line without its end is being written.
        if !line.ends_with('\n') || part.end.byte - begin > PART_BYTES_MAX {
            return Ok(part);
        }
        part.end.byte += bytes as u64;
        match serde_json::from_str(&line) {
            Ok(Line::Record(record)) => part.records.push(*record),
            Ok(Line::Counted(counted)) => part.counted.push(counted),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    //! Reading what others write at the same time.

    use super::*;
    use crate::audit::sample;

    #[test]
    fn a_half_written_line_waits_and_junk_is_passed_over() {
        let root = tempfile::tempdir().expect("a directory");
        let part = read(root.path(), Position::default()).expect("no log is empty");
        assert_eq!(part, Part::default());
        let whole = serde_json::to_string(&sample("c", "/x")).expect("plain data");
        fs::write(path(root.path()), format!("{whole}\njunk\n{{\"half")).expect("writable");
        let part = read(root.path(), Position::default()).expect("readable");
        assert_eq!(part.records, [sample("c", "/x")]);
        assert_eq!(part.end.byte, whole.len() as u64 + 1 + 5);
        fs::write(path(root.path()), "").expect("writable");
        let part = read(root.path(), part.end).expect("readable");
        assert_eq!((part.records, part.end.byte), (vec![], 0));
    }

    #[test]
    fn control_characters_of_a_container_do_not_reach_the_terminal() {
        assert!(!sample("c", "\u{1b}[2J").to_string().contains('\u{1b}'));
    }
}
