//! Where a disk is, as people write it: a path or a URI.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::units::parse_size;
use crate::nbd::client::Target;

/// Where a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or block device.
    File(PathBuf),
    /// An export of a remote server.
    Nbd(Target),
    /// A point of a backup repository, for reading only.
    Backup {
        /// The repository: a directory or the URL of an object store.
        repository: String,
        /// The id of the point.
        point: String,
        /// The file of the key of one that is encrypted.
        key: Option<PathBuf>,
    },
    /// Zeroes in memory, lost with the process.
    Memory {
        /// How many.
        size_bytes: u64,
    },
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A host, by name or number, and a TCP port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

/// The port that IANA gave to NBD.
pub const NBD_PORT: u16 = 10809;

impl Source {
    /// Reads a path, `file:PATH`, `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`
    /// (`nbds` for TLS), `backup:REPOSITORY#POINT[?key=FILE]` or `memory:SIZE`.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path of a disk is empty".into());
        }
        if let Some(size) = text.strip_prefix("memory:") {
            let size_bytes = parse_size(size)?;
            return Ok(Self::Memory { size_bytes });
        }
        if let Some(backup) = text.strip_prefix("backup:") {
            let wrong = || format!("`{text}`: help: `backup:REPOSITORY#POINT[?key=FILE]`");
            let (repository, point) = backup.rsplit_once('#').ok_or_else(wrong)?;
            let (point, key) = match point.split_once("?key=") {
                Some((point, key)) => (point, Some(key.into())),
                None => (point, None),
            };
            if repository.is_empty() || point.is_empty() || point.contains('/') {
                return Err(wrong());
            }
            return Ok(Self::Backup {
                repository: repository.into(),
                point: point.into(),
                key,
            });
        }
        if let Some(path) = text.strip_prefix("file:") {
            return Ok(Self::File(path.into()));
        }
        if text.starts_with("json:") {
            return Err(format!(
                "`{text}` is not read: JSON descriptions of disks are QEMU's; help: give a path \
                 or an NBD URI"
            ));
        }
        match text.split_once(':') {
            Some((scheme, _)) if scheme.starts_with("nbd") => {
                let target = Target::parse(text).map_err(|error| error.to_string());
                target.map(Self::Nbd)
            }
            _ => Ok(Self::File(text.into())),
        }
    }

    /// The same, where a relative path is meant from `directory`.
    pub fn relative_to(self, directory: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            Self::Backup {
                repository,
                point,
                key,
            } => Self::Backup {
                repository: match repository.contains("://") {
                    true => repository,
                    false => directory.join(repository).to_string_lossy().into_owned(),
                },
                point,
                key: key.map(|key| directory.join(key)),
            },
            other => other,
        }
    }
}

impl Address {
    /// Reads `unix:PATH` or `tcp:HOST[:PORT]`; `[::1]:10809` for IPv6.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why| format!("`{text}`: {why}; help: `unix:PATH` or `tcp:HOST[:PORT]`");
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("the path is empty"));
            }
            return Ok(Self::Unix(path.into()));
        }
        match text.strip_prefix("tcp:") {
            Some(rest) => host_and_port(rest).map_err(wrong),
            None => Err(wrong("no kind of address that is known")),
        }
    }
}

fn host_and_port(text: &str) -> Result<Address, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("`]` is missing")?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or("no port follows `]`")?),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    let port = match port {
        Some(port) => port
            .parse()
            .map_err(|_| "the port is no number up to 65535")?,
        None => NBD_PORT,
    };
    Ok(Address::Tcp {
        host: host.into(),
        port,
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory { size_bytes } => write!(f, "memory:{size_bytes}"),
            Self::Backup {
                repository, point, ..
            } => write!(f, "backup:{repository}#{point}"),
            Self::Nbd(target) => write!(f, "{target}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_shown() {
        for (text, shown) in [
            ("/images/a.qcow2", "/images/a.qcow2"),
            ("file:memory:1", "memory:1"),
            ("memory:1K", "memory:1024"),
            ("backup:s3://b/p#id?key=k", "backup:s3://b/p#id"),
            ("nbd://host", "nbd://host:10809/"),
            ("nbds://host:1/a%20b", "nbds://host:1/a b"),
            ("nbd://[::1]/x", "nbd://[::1]:10809/x"),
            ("nbd+unix:///x?socket=/run/s", "nbd+unix:///x?socket=/run/s"),
        ] {
            assert_eq!(Source::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "json:{}",
            "backup:/repo",
            "backup:/repo#",
            "backup:/repo#../x",
            "nbd:host",
            "nbd://",
            "nbd+unix:///x",
            "nbd://host:70000/",
            "nbd://host/%ff",
            "nbd://host/%2",
            "nbd+ssh://host/",
            "memory:x",
        ] {
            Source::parse(text).expect_err(text);
        }
    }

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["unix:/run/s", "tcp:127.0.0.1:10809", "tcp:[::1]:1"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "", "unix:", "tcp:", "/run/s", "udp:x", "tcp:h:x", "tcp:[::1",
        ] {
            Address::parse(text).expect_err(text);
        }
    }
}
