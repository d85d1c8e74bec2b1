//! The log as it is written: emptied into from the ring buffer under a lock, a line a record.
//!
//! A write may stop in the middle (a full file system, a writer that is killed): what is left of
//! its last line is cut off, or ended, so that no other line is lost with it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ebpf_common::event::Event;
use ebpf_loader::events::Events;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

use super::counted::Counted;
use super::place::Mounts;
use super::record::Record;
use super::{Error, registry};

/// Size at which the log is set aside as `audit.jsonl.1`, in bytes.
pub const LOG_BYTES_MAX: u64 = 16 << 20;

/// Bytes after which lines are written rather than held.
const LINES_BYTES_MAX: usize = 1 << 20;

/// Most events that are moved at once: more than the ring buffer, which is of one mebibyte, can
/// hold.
const EVENTS_MAX: usize = 1 << 14;

const _: () = assert!(EVENTS_MAX * size_of::<Event>() > 1 << 20);

/// The log that is written.
pub(super) fn path(root: &Path) -> PathBuf {
    root.join("audit.jsonl")
}

/// The one that was set aside last.
pub(super) fn older(root: &Path) -> PathBuf {
    root.join("audit.jsonl.1")
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
            append_lines(&mut log, &lines).map_err(Error::file("write", &path))?;
            lines.clear();
        }
    }
    append_lines(&mut log, &lines).map_err(Error::file("write", path))?;
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
    append_lines(&mut log, &text).map_err(Error::file("write", path(root)))
}

/// Appends lines. If not all of them can be written, what is left of the last one is cut off.
fn append_lines(log: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = log.metadata()?.len();
    let written = log.write_all(lines);
    if written.is_err() {
        // Where that fails as well, the next writer ends the line.
        let _ = keep_whole(log, before, lines);
    }
    written
}

/// Cuts the log, of `before` bytes until `lines` were begun, behind the last whole one.
fn keep_whole(log: &File, before: u64, lines: &[u8]) -> io::Result<()> {
    let there = log.metadata()?.len().saturating_sub(before);
    let there = usize::try_from(there).unwrap_or(usize::MAX);
    let there = lines.get(..there).unwrap_or(lines);
    let whole = there.iter().rposition(|byte| *byte == b'\n');
    log.set_len(before + whole.map_or(0, |at| at as u64 + 1))
}

/// The log, locked; a long one is set aside first, so that followers miss no line of it.
fn open_with_room(root: &Path) -> Result<File, Error> {
    let path = path(root);
    let log = open_locked(root)?;
    let length = log.metadata().map_err(Error::file("fstat", &path))?.len();
    if length <= LOG_BYTES_MAX {
        return Ok(log);
    }
    fs::rename(&path, older(root)).map_err(Error::file("rename", &path))?;
    open_locked(root)
}

fn open_locked(root: &Path) -> Result<File, Error> {
    let path = path(root);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    flock(&log, FlockOperation::LockExclusive)
        .map_err(|error| Error::file("flock", &path)(error.into()))?;
    end_line(&mut log).map_err(Error::file("write", &path))?;
    Ok(log)
}

/// Ends a line that whoever wrote it did not come to end.
fn end_line(log: &mut File) -> io::Result<()> {
    let Some(last) = log.metadata()?.len().checked_sub(1) else {
        return Ok(());
    };
    let mut byte = [0];
    log.read_exact_at(&mut byte, last)?;
    match byte {
        [b'\n'] => Ok(()),
        _ => log.write_all(b"\n"),
    }
}

/// Microseconds since the epoch at which the boot clock read zero.
fn boot_time_us() -> u64 {
    let micros = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    };
    micros(ClockId::Realtime).saturating_sub(micros(ClockId::Boottime))
}

#[cfg(test)]
mod tests {
    //! Writes that stop in the middle.

    use super::*;

    #[test]
    fn a_write_that_fails_leaves_whole_lines() {
        let root = tempfile::tempdir().expect("a directory");
        let path = path(root.path());
        let lines = "{\"a\":1}\n{\"é\":2}\n".as_bytes();
        for (there, whole) in [(0, 0), (3, 0), (8, 8), (11, 8), (lines.len(), lines.len())] {
            fs::write(&path, "before\n").expect("writable");
            let mut log = open_locked(root.path()).expect("a log");
            log.write_all(&lines[..there]).expect("writable");
            keep_whole(&log, 7, lines).expect("writable");
            let found = fs::read(&path).expect("readable");
            assert_eq!(found, [b"before\n", &lines[..whole]].concat());
        }
    }

    #[test]
    fn a_torn_line_does_not_take_the_next_one_with_it() {
        let root = tempfile::tempdir().expect("a directory");
        let path = path(root.path());
        fs::write(&path, b"{\"a\":\"\xc3").expect("writable");
        let mut log = open_locked(root.path()).expect("a log");
        append_lines(&mut log, b"next\n").expect("writable");
        drop(log);
        drop(open_locked(root.path()).expect("a log"));
        let found = fs::read(&path).expect("readable");
        assert_eq!(found, b"{\"a\":\"\xc3\nnext\n");
    }
}
