//! The log: emptied into from the ring buffer under a lock, read by line.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ebpf_common::event::Event;
use ebpf_loader::events::Events;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

use super::place::Mounts;
use super::record::Record;
use super::{Error, registry};

/// Size at which the log is set aside as `audit.jsonl.1`, in bytes.
pub const LOG_BYTES_MAX: u64 = 16 << 20;

/// Most events that are moved at once: more than the ring buffer, which is of one mebibyte, can
/// hold.
const EVENTS_MAX: usize = 1 << 14;

const _: () = assert!(EVENTS_MAX * size_of::<Event>() > 1 << 20);

/// Policy number of the loader's self-test.
const SELF_TEST: u32 = u32::MAX;

fn path(root: &Path) -> PathBuf {
    root.join("audit.jsonl")
}

/// Moves what waits in the ring buffer to the log; answers how many records. Nothing loaded is
/// nothing to move.
///
/// # Errors
/// A log that cannot be written, or a ring buffer that cannot be read.
pub fn drain(root: &Path) -> Result<usize, Error> {
    let Some(mut events) = Events::open()? else {
        return Ok(0);
    };
    let mut log = open_for_append(root)?;
    let path = path(root);
    flock(&log, FlockOperation::LockExclusive)
        .map_err(|error| Error::file("flock", &path)(error.into()))?;
    let mounts = Mounts::of_host();
    let boot_us = boot_time_us();
    let mut known = HashMap::new();
    let mut lines = Vec::new();
    let mut count = 0;
    // A container may be refused faster than this reads.
    for event in std::iter::from_fn(|| events.next_event()).take(EVENTS_MAX) {
        if event.policy == SELF_TEST {
            continue;
        }
        let owner = known
            .entry(event.policy)
            .or_insert_with(|| registry::find(root, event.policy));
        serde_json::to_writer(
            &mut lines,
            &Record::of(&event, owner.as_ref(), &mounts, boot_us),
        )?;
        lines.push(b'\n');
        count += 1;
    }
    log.write_all(&lines).map_err(Error::file("write", &path))?;
    let length = log.metadata().map_err(Error::file("fstat", &path))?.len();
    if length > LOG_BYTES_MAX {
        fs::rename(&path, path.with_extension("jsonl.1")).map_err(Error::file("rename", &path))?;
    }
    Ok(count)
}

fn open_for_append(root: &Path) -> Result<File, Error> {
    let path = path(root);
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", path))
}

/// Microseconds since the epoch at which the boot clock read zero.
fn boot_time_us() -> u64 {
    let micros = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    };
    micros(ClockId::Realtime).saturating_sub(micros(ClockId::Boottime))
}

/// Records of the log from byte `from` on, and where the next read should begin. A log that has
/// become shorter was set aside, and is read from its start. Lines that are not records are passed
/// over.
///
/// # Errors
/// A log that cannot be read; one that is not there is empty.
pub fn read(root: &Path, from: u64) -> Result<(Vec<Record>, u64), Error> {
    let path = path(root);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((vec![], 0)),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    let length = file.metadata().map_err(Error::file("fstat", &path))?.len();
    let mut at = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(at))
        .map_err(Error::file("lseek", &path))?;
    let mut records = Vec::new();
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        let bytes = lines
            .read_line(&mut line)
            .map_err(Error::file("read", &path))?;
        // A line without its end is being written.
        if !line.ends_with('\n') {
            return Ok((records, at));
        }
        at += bytes as u64;
        records.extend(serde_json::from_str(&line));
    }
}

#[cfg(test)]
mod tests {
    //! Reading what others write at the same time.

    use super::*;

    fn record(pid: u32) -> Record {
        Record {
            time_us: 1,
            container: "c".into(),
            policy: "p".into(),
            pid,
            tid: pid,
            uid: 0,
            comm: "sh".into(),
            hook: "file_open".into(),
            action: "write".into(),
            object: "/etc/shadow\u{1b}[2J".into(),
            verdict: "refused".into(),
            errno: "EACCES".into(),
            reason: "no grant names it".into(),
            rule: None,
            allow: Some("files: []".into()),
        }
    }

    #[test]
    fn a_half_written_line_waits_and_junk_is_passed_over() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(read(root.path(), 0).expect("no log is empty"), (vec![], 0));
        let whole = serde_json::to_string(&record(1)).expect("plain data");
        fs::write(path(root.path()), format!("{whole}\njunk\n{{\"half")).expect("writable");
        let (records, at) = read(root.path(), 0).expect("readable");
        assert_eq!(records, [record(1)]);
        assert_eq!(at, whole.len() as u64 + 1 + 5);
        fs::write(path(root.path()), "").expect("writable");
        assert_eq!(read(root.path(), at).expect("readable"), (vec![], 0));
    }

    #[test]
    fn control_characters_of_a_container_do_not_reach_the_terminal() {
        assert!(!record(1).to_string().contains('\u{1b}'));
    }
}
