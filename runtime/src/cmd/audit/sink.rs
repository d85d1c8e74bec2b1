//! Where entries are forwarded to: a file, and journald by its native protocol.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::Record;
use crate::failure::{Called as _, Failure};

/// A file that grows: who rotates it tells nobody, so it is opened again for each batch.
pub(super) struct AppendedFile {
    path: PathBuf,
}

impl AppendedFile {
    /// Makes it if it is not there, readable by its owner only.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let sink = Self { path: path.into() };
        sink.file().map(|_| sink)
    }

    fn file(&self) -> Result<File, Failure> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options
            .open(&self.path)
            .called(|| format!("open({:?}, O_APPEND|O_CREAT)", self.path.display()))
    }

    /// Appends entries, one JSON object a line.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let call = || format!("write({:?})", self.path.display());
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record)
                .map_err(io::Error::from)
                .called(call)?;
            lines.push(b'\n');
        }
        self.file()?.write_all(&lines).called(call)
    }
}

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long a full socket is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// journald, by its native protocol (`systemd.io/JOURNAL_NATIVE_PROTOCOL`). It need not be the same
/// one for each entry: the socket is looked up by name.
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Makes the socket.
    pub(super) fn open() -> Result<Self, Failure> {
        let socket = UnixDatagram::unbound().called(|| "socket(AF_UNIX, SOCK_DGRAM)")?;
        socket
            .set_write_timeout(Some(PATIENCE))
            .called(|| "setsockopt(SO_SNDTIMEO)")?;
        Ok(Self { socket })
    }

    /// Sends an entry.
    pub(super) fn send(&self, record: &Record) -> Result<(), Failure> {
        self.socket
            .send_to(&datagram(record), JOURNAL)
            .map(drop)
            .called(|| format!("sendto({JOURNAL:?})"))
    }
}

fn datagram(record: &Record) -> Vec<u8> {
    // `LOG_WARNING` for what was refused, `LOG_NOTICE` for what would have been.
    let priority = if record.verdict == "refused" {
        "4"
    } else {
        "5"
    };
    let (pid, uid) = (record.pid.to_string(), record.uid.to_string());
    let line = record.rule.as_ref().map(|rule| rule.line.to_string());
    let message = record.to_string();
    let fields = [
        ("MESSAGE", message.lines().next()),
        ("PRIORITY", Some(priority)),
        ("SYSLOG_IDENTIFIER", Some("reeve")),
        ("REEVE_CONTAINER", Some(&record.container)),
        ("REEVE_POLICY", Some(&record.policy)),
        ("REEVE_SECTION", Some(&record.section)),
        ("REEVE_ACTION", Some(&record.action)),
        ("REEVE_OBJECT", Some(&record.object)),
        ("REEVE_VERDICT", Some(&record.verdict)),
        ("REEVE_ERRNO", Some(&record.errno)),
        ("REEVE_HOOK", Some(&record.hook)),
        ("REEVE_REASON", Some(&record.reason)),
        ("REEVE_PID", Some(&pid)),
        ("REEVE_UID", Some(&uid)),
        ("REEVE_COMM", Some(&record.comm)),
        ("REEVE_RULE_LINE", line.as_deref()),
        ("REEVE_ALLOW", record.allow.as_deref()),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        if let Some(value) = value {
            field(&mut bytes, name, value);
        }
    }
    bytes
}

/// A value with a line feed would end its field: such a one is sent with its length.
fn field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend((value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample;

    #[test]
    fn a_name_with_a_line_feed_makes_no_field_of_its_own() {
        let bytes = datagram(&sample("web", "/a\nPRIORITY=0"));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("REEVE_CONTAINER=web\n"), "{text}");
        let mut object = b"REEVE_OBJECT\n".to_vec();
        object.extend(13u64.to_le_bytes());
        object.extend(b"/a\nPRIORITY=0\n");
        let found = bytes.windows(object.len()).any(|part| part == object);
        assert!(found, "{text}");
        assert!(text.starts_with("MESSAGE=") && !text.contains("REEVE_RULE_LINE"));
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.jsonl");
        let mut sink = AppendedFile::open(&path).expect("open");
        sink.append(&[sample("web", "/a")]).expect("append");
        std::fs::rename(&path, dir.path().join("old")).expect("rename");
        sink.append(&[sample("web", "/b"), sample("web", "/c")])
            .expect("append");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("\"/b\""));
    }
}
