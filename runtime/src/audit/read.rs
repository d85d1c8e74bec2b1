//! The log as it is read: by line, the file that was set aside first. What cannot be understood,
//! such as what is left of a write that failed, is counted and passed over.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::counted::Counted;
use super::log::{older, path};
use super::record::Record;
use crate::plain_file;

/// Most of the log that is held in memory at a time, in bytes.
const PART_BYTES_MAX: u64 = 4 << 20;

/// What a part of the log says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its records.
    pub records: Vec<Record>,
    /// What was counted of containers that have ended.
    pub counted: Vec<Counted>,
    /// How many lines could not be understood.
    pub unread: usize,
    /// The file that it is from.
    pub file: PathBuf,
    /// Where the next read should begin.
    pub end: Position,
}

/// A place in the log, for as long as it is the same file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    inode: u64,
    byte: u64,
}

/// A line of the log, or of what `reeve audit --json` prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Box<Record>),
    Counted(Counted),
    Printed { counters: Counted },
}

impl Part {
    fn take(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(Line::Record(record)) => self.records.push(*record),
            Ok(Line::Counted(counted) | Line::Printed { counters: counted }) => {
                self.counted.push(counted);
            }
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => self.unread += 1,
        }
    }

    /// How much could not be understood, for people; nothing if all of it was.
    pub fn torn(&self) -> Option<String> {
        let file = self.file.display().to_string();
        let (file, lines) = (super::printable(&file), self.unread);
        match lines {
            0 => None,
            1 => Some(format!("{file}: a line cannot be read and is left out")),
            _ => Some(format!(
                "{file}: {lines} lines cannot be read and are left out"
            )),
        }
    }
}

/// Where the next line will be.
///
/// # Errors
/// A log that cannot be looked at; one that is not there is empty.
pub fn end(root: &Path) -> Result<Position, Error> {
    for path in [path(root), older(root)] {
        match fs::metadata(&path) {
            Ok(found) => {
                return Ok(Position {
                    inode: found.ino(),
                    byte: found.len(),
                });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("stat", path)(error)),
        }
    }
    Ok(Position::default())
}

/// The log from a place on, at most [`PART_BYTES_MAX`] and a line of it. It begins with the file
/// that was set aside, and the place may be in that. A log that was cut since, or is another one,
/// is read from its start. All is read when the end is the place where it began.
///
/// # Errors
/// A log that cannot be read; one that is not there is empty.
pub fn read(root: &Path, from: Position) -> Result<Part, Error> {
    if let Some(older) = Opened::new(&older(root))?
        && (from == Position::default() || from.inode == older.inode)
    {
        let (begin, length) = (older.begin(from), older.length);
        let (mut part, rest) = older.part(begin)?;
        if rest && part.end.byte == begin {
            // Nobody will end this line.
            part.unread = 1;
            part.end.byte = length;
        }
        if part.end.byte > begin {
            return Ok(part);
        }
    }
    let path = path(root);
    let Some(log) = Opened::new(&path)? else {
        return Ok(Part {
            end: from,
            ..Part::default()
        });
    };
    let begin = log.begin(from);
    Ok(log.part(begin)?.0)
}

/// All of a file of such lines; the last one needs no end.
///
/// # Errors
/// The file cannot be read.
pub fn read_file(path: &Path) -> Result<Part, Error> {
    let mut part = Part {
        file: path.to_owned(),
        ..Part::default()
    };
    let mut lines = BufReader::new(plain_file::open(path).map_err(Error::file("open", path))?);
    let mut line = Vec::new();
    loop {
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(Error::file("read", path))? == 0 {
            return Ok(part);
        }
        part.take(&line);
        line.clear();
    }
}

/// A file of the log.
struct Opened<'a> {
    path: &'a Path,
    file: File,
    inode: u64,
    length: u64,
}

impl<'a> Opened<'a> {
    /// The file, if it is there.
    fn new(path: &'a Path) -> Result<Option<Self>, Error> {
        let file = match plain_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let found = file.metadata().map_err(Error::file("fstat", path))?;
        Ok(Some(Self {
            path,
            file,
            inode: found.ino(),
            length: found.len(),
        }))
    }

    /// Where to go on in this file.
    fn begin(&self, from: Position) -> u64 {
        match from.inode == self.inode && from.byte <= self.length {
            true => from.byte,
            false => 0,
        }
    }

    /// A part of it, and whether a line without its end is behind that.
    fn part(self, begin: u64) -> Result<(Part, bool), Error> {
        let Self {
            path,
            mut file,
            inode,
            ..
        } = self;
        file.seek(SeekFrom::Start(begin))
            .map_err(Error::file("lseek", path))?;
        let mut part = Part {
            file: path.to_owned(),
            end: Position { inode, byte: begin },
            ..Part::default()
        };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while part.end.byte - begin <= PART_BYTES_MAX {
            line.clear();
            let bytes = lines
                .read_until(b'\n', &mut line)
                .map_err(Error::file("read", path))?;
            // A line without its end is being written.
            if line.last() != Some(&b'\n') {
                return Ok((part, bytes > 0));
            }
            part.end.byte += bytes as u64;
            part.take(&line);
        }
        Ok((part, false))
    }
}

#[cfg(test)]
mod tests {
    //! Reading what others write at the same time.

    use super::*;
    use crate::audit::sample;

    fn line(object: &str) -> String {
        let text = serde_json::to_string(&sample("c", object)).expect("plain data");
        text + "\n"
    }

    fn objects(part: &Part) -> Vec<&str> {
        let records = part.records.iter();
        records.map(|record| record.object.as_str()).collect()
    }

    /// Everything from a place on.
    fn all(root: &Path, mut at: Position) -> (Vec<String>, usize, Position) {
        let (mut found, mut unread) = (Vec::new(), 0);
        loop {
            let part = read(root, at).expect("readable");
            found.extend(objects(&part).into_iter().map(str::to_owned));
            unread += part.unread;
            if part.end == at {
                return (found, unread, at);
            }
            at = part.end;
        }
    }

    #[test]
    fn a_half_written_line_waits_and_junk_is_passed_over() {
        let root = tempfile::tempdir().expect("a directory");
        let part = read(root.path(), Position::default()).expect("no log is empty");
        assert_eq!(part, Part::default());
        let whole = line("/x");
        fs::write(path(root.path()), format!("{whole}junk\n{{\"half")).expect("writable");
        let part = read(root.path(), Position::default()).expect("readable");
        assert_eq!(part.records, [sample("c", "/x")]);
        assert_eq!(part.unread, 1);
        assert_eq!(part.end.byte, whole.len() as u64 + 5);
        fs::write(path(root.path()), "").expect("writable");
        let part = read(root.path(), part.end).expect("readable");
        assert_eq!((part.records, part.end.byte), (vec![], 0));
    }

    #[test]
    fn a_line_that_is_cut_in_a_character_is_counted() {
        let root = tempfile::tempdir().expect("a directory");
        let log = [
            line("/a").as_bytes(),
            b"{\"x\":\"\xc3\n\n",
            line("/b").as_bytes(),
        ]
        .concat();
        fs::write(path(root.path()), &log).expect("writable");
        let (found, unread, _) = all(root.path(), Position::default());
        assert_eq!((found, unread), (vec!["/a".to_owned(), "/b".into()], 1));
        let part = read_file(&path(root.path())).expect("readable");
        assert_eq!((objects(&part), part.unread), (vec!["/a", "/b"], 1));
        let part = Part {
            file: "x\u{1b}".into(),
            ..part
        };
        let said = part.torn().expect("a line is torn");
        assert_eq!(said, "x\u{fffd}: a line cannot be read and is left out");
    }

    #[test]
    fn the_file_that_was_set_aside_is_read_first() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        fs::write(path(root), line("/a")).expect("writable");
        let (found, _, follower) = all(root, Position::default());
        assert_eq!(found, ["/a"]);
        let more = line("/a") + &line("/b") + "{\"torn";
        fs::write(path(root), more).expect("writable");
        fs::rename(path(root), older(root)).expect("the same directory");
        // Before there is a new one, too.
        let (found, unread, _) = all(root, Position::default());
        assert_eq!((found, unread), (vec!["/a".to_owned(), "/b".into()], 1));
        assert_eq!(
            end(root).expect("readable").byte,
            2 * line("/a").len() as u64 + 6
        );
        fs::write(path(root), line("/c")).expect("writable");
        let (found, unread, end) = all(root, Position::default());
        assert_eq!(found, ["/a", "/b", "/c"]);
        assert_eq!(unread, 1);
        // A follower misses nothing of it, and is told nothing twice.
        assert_eq!(all(root, follower).0, ["/b", "/c"]);
        assert_eq!(all(root, end).0, [""; 0]);
    }

    #[test]
    fn what_audit_prints_as_json_is_read_as_well() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("printed");
        let counters = r#"{"time_us":1,"container":"c","recorded":1,"suppressed":2,"lost":0}"#;
        let text = format!("{}{{\"counters\":{counters}}}", line("/a"));
        fs::write(&file, text).expect("writable");
        let part = read_file(&file).expect("readable");
        assert_eq!(
            (part.records.len(), part.counted.len(), part.unread),
            (1, 1, 0)
        );
    }

    #[test]
    fn control_characters_of_a_container_do_not_reach_the_terminal() {
        assert!(!sample("c", "\u{1b}[2J").to_string().contains('\u{1b}'));
    }
}
