//! The configuration of the block service: a JSON file, or the flags for a single disk.
//!
//! Both become a [`RawConfig`], which is checked as a whole into a [`Config`]. Errors name the file
//! and, for what the parser sees, the line; for the rest, the key.

mod raw;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use raw::{RawCheckpoints, RawConfig, RawDisk, RawThrottle, RawTls, RawTrack, Size};

use crate::cli::units::parse_size;
use crate::disk::open::{Address, Engine, Format, Source};
use crate::filter::snapshot::OnError;
use crate::track::catalog;

/// What to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Path of the control socket.
    pub control: Option<PathBuf>,
    /// Directory for the old content that checkpoints keep.
    pub scratch: PathBuf,
    /// Permissions of NBD's unix sockets.
    pub socket_mode: u32,
    /// Certificates, with all paths made absolute.
    pub tls: Option<RawTls>,
    /// The disks, with different names.
    pub disks: Vec<DiskConfig>,
}

/// One disk and how it is served.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskConfig {
    /// Its name for clients and commands.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where it is.
    pub source: Source,
    /// Its format, if it was said.
    pub format: Option<Format>,
    /// Refuse writes.
    pub read_only: bool,
    /// Go around the page cache.
    pub direct: bool,
    /// How I/O is done.
    pub engine: Engine,
    /// Where NBD clients connect. Disks that share an address share a thread.
    pub nbd: Vec<Address>,
    /// Sockets for vhost-user-blk.
    pub vhost_user: Vec<PathBuf>,
    /// Clients of an address at the same time.
    pub max_clients: u32,
    /// Follow which blocks change.
    pub track: Option<Track>,
    /// How checkpoints are kept.
    pub checkpoints: Checkpoints,
    /// Limits; they can change while the disk is served.
    pub throttle: RawThrottle,
}

/// Change tracking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The file of the map.
    pub map: PathBuf,
    /// The file of the reference points.
    pub points: PathBuf,
    /// Size of a block in bytes, of a new map.
    pub block_bytes: u32,
}

/// How checkpoints keep old content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// What is copied at once.
    pub granule_bytes: u64,
    /// The most that may be kept.
    pub limit_bytes: u64,
    /// How long a write waits for a copy.
    pub timeout: Option<Duration>,
    /// What fails when a copy does.
    pub on_error: OnError,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    message: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", file.display(), self.message),
            None => f.write_str(self.message.trim_start()),
        }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// When it cannot be read or used, with the place.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let wrong = |message: String| ConfigError {
        file: Some(path.into()),
        message,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!(" {error}")))?;
    let raw = parse(&text).map_err(wrong)?;
    let directory = std::path::absolute(path).map_err(|error| wrong(format!(" {error}")))?;
    let directory = directory.parent().unwrap_or(Path::new("/"));
    check(raw, directory).map_err(|mut error| {
        error.file = Some(path.into());
        error
    })
}

/// Parses; an error has its line and shows it.
fn parse(text: &str) -> Result<RawConfig, String> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let indent = " ".repeat(line.to_string().len());
        let arrow = " ".repeat(column.saturating_sub(1));
        format!("{line}:{column}: {message}\n{indent} |\n{line} | {source}\n{indent} | {arrow}^")
    })
}

/// Checks what was parsed; relative paths are meant from `directory`.
///
/// # Errors
/// The first thing that is wrong, with its key.
pub fn check(raw: RawConfig, directory: &Path) -> Result<Config, ConfigError> {
    let mut disks = Vec::new();
    let mut names = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for (index, raw) in raw.disks.into_iter().enumerate() {
        let disk = check_disk(raw, directory).map_err(|(key, why)| wrong_at(index, key, &why))?;
        if !names.insert(disk.name.clone()) {
            let why = format!("`{}` is the name of another disk too", disk.name);
            return Err(wrong_at(index, "name", &why));
        }
        let own = disk.vhost_user.iter().map(|path| ("listen", path));
        let own = own.chain(disk.track.iter().map(|track| ("track.map", &track.map)));
        for (key, path) in own {
            if !taken.insert(path.clone()) {
                let why = format!("`{}` is used twice", path.display());
                return Err(wrong_at(index, key, &why));
            }
        }
        disks.push(disk);
    }
    let join = |path: PathBuf| directory.join(path);
    let socket_mode = check_mode(raw.socket_mode.as_deref()).map_err(|why| ConfigError {
        file: None,
        message: format!(" socket_mode: {why}"),
    })?;
    let config = Config {
        control: raw.control.map(join),
        scratch: raw.scratch.map_or_else(std::env::temp_dir, join),
        socket_mode,
        tls: raw.tls.map(|tls| RawTls {
            certificate: join(tls.certificate),
            key: join(tls.key),
            client_authorities: tls.client_authorities.map(join),
            required: tls.required,
        }),
        disks,
    };
    if config.disks.is_empty() && config.control.is_none() {
        return Err(ConfigError {
            file: None,
            message: " neither `disks` nor a `control` socket to say anything later".into(),
        });
    }
    Ok(config)
}

fn check_mode(text: Option<&str>) -> Result<u32, String> {
    let text = text.unwrap_or("0600");
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|mode| mode & !0o666 == 0)
        .ok_or_else(|| format!("`{text}` is none; help: octal, such as `0600` or `0660`"))
}

fn wrong_at(index: usize, key: &str, why: &str) -> ConfigError {
    ConfigError {
        file: None,
        message: format!(" disks[{index}].{key}: {why}"),
    }
}

type Wrong = (&'static str, String);

fn check_disk(raw: RawDisk, directory: &Path) -> Result<DiskConfig, Wrong> {
    check_name(&raw.name).map_err(|why| ("name", why))?;
    let source = Source::parse(&raw.source).map_err(|why| ("source", why))?;
    let format = raw.format.as_deref().map(Format::parse).transpose();
    let engine = raw.engine.as_deref().map(Engine::parse).transpose();
    let (nbd, vhost_user) = check_listen(&raw.listen, directory).map_err(|why| ("listen", why))?;
    let source = source.relative_to(directory);
    let track = raw
        .track
        .map(|track| check_track(track, &source, directory));
    let track = track.transpose()?;
    if raw.read_only && track.is_some() {
        return Err(("track", "a disk that is read-only does not change".into()));
    }
    let max_clients = raw.max_clients.unwrap_or(DEFAULT_CLIENTS);
    if max_clients == 0 {
        return Err(("max_clients", "0 would serve nobody".into()));
    }
    let throttle = raw.throttle.unwrap_or_default();
    let limits = throttle.limits().check();
    limits.map_err(|error| ("throttle", error.to_string()))?;
    Ok(DiskConfig {
        name: raw.name,
        description: raw.description,
        source,
        format: format.map_err(|why| ("format", why))?,
        read_only: raw.read_only,
        direct: raw.direct,
        engine: engine.map_err(|why| ("engine", why))?.unwrap_or_default(),
        nbd,
        vhost_user,
        max_clients,
        track,
        checkpoints: check_checkpoints(&raw.checkpoints)?,
        throttle,
    })
}

impl DiskConfig {
    /// The same with the limits of another one, which can change while it is served.
    pub(super) fn with_limits_of(mut self, other: &Self) -> Self {
        self.throttle = other.throttle;
        self
    }
}

/// Clients of an address unless the configuration says another number.
pub const DEFAULT_CLIENTS: u32 = 64;

/// Names of disks, checkpoints and reference points: what needs no quoting anywhere.
///
/// # Errors
/// A message that says what is allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(fine) || name.starts_with('.') {
        return Err(format!(
            "`{name}` is no name; help: up to 128 letters, digits, `.`, `_`, `-`, the first no dot"
        ));
    }
    Ok(())
}

fn check_listen(
    listen: &[String],
    directory: &Path,
) -> Result<(Vec<Address>, Vec<PathBuf>), String> {
    let (mut nbd, mut vhost_user) = (Vec::new(), Vec::new());
    for text in listen {
        if let Some(path) = text.strip_prefix("vhost-user:") {
            vhost_user.push(directory.join(path));
            continue;
        }
        let address = match Address::parse(text)? {
            Address::Unix(path) => Address::Unix(directory.join(path)),
            other => other,
        };
        if nbd.contains(&address) {
            return Err(format!("`{text}` stands there twice"));
        }
        nbd.push(address);
    }
    Ok((nbd, vhost_user))
}

fn check_track(raw: RawTrack, source: &Source, directory: &Path) -> Result<Track, Wrong> {
    let block = raw.block.as_ref().map(Size::bytes).transpose();
    let block = block
        .map_err(|why| ("track.block", why))?
        .unwrap_or(64 << 10);
    if !block.is_power_of_two() || !(4 << 10..=1 << 20).contains(&block) {
        let why = format!("{block} is no power of two from 4 KiB to 1 MiB");
        return Err(("track.block", why));
    }
    let (map, points) = match (raw.map, source) {
        (Some(map), _) => {
            let map = directory.join(map);
            let mut points = map.clone().into_os_string();
            points.push(".points");
            (map, points.into())
        }
        (None, Source::File(disk)) => (catalog::map_path(disk), catalog::store_path(disk)),
        (None, _) => {
            let why = format!("`{source}` is no file that a map could be beside; help: say where");
            return Err(("track.map", why));
        }
    };
    Ok(Track {
        map,
        points,
        block_bytes: block as u32,
    })
}

fn check_checkpoints(raw: &RawCheckpoints) -> Result<Checkpoints, Wrong> {
    let size = |size: &Option<Size>, key, default| match size {
        Some(size) => size.bytes().map_err(|why| (key, why)),
        None => Ok(default),
    };
    let granule_bytes = size(&raw.granule, "checkpoints.granule", 64 << 10)?;
    if !granule_bytes.is_power_of_two() || !(4 << 10..=16 << 20).contains(&granule_bytes) {
        let why = format!("{granule_bytes} is no power of two from 4 KiB to 16 MiB");
        return Err(("checkpoints.granule", why));
    }
    let on_error = match raw.on_error.as_deref() {
        None | Some("checkpoint") => OnError::FailSnapshot,
        Some("write") => OnError::FailWrite,
        Some(other) => {
            let why = format!("`{other}` is neither `checkpoint` nor `write`");
            return Err(("checkpoints.on_error", why));
        }
    };
    Ok(Checkpoints {
        granule_bytes,
        limit_bytes: size(&raw.limit, "checkpoints.limit", u64::MAX)?,
        timeout: raw.timeout_ms.map(Duration::from_millis),
        on_error,
    })
}

impl Size {
    /// How many bytes.
    ///
    /// # Errors
    /// A message that says what is allowed.
    pub fn bytes(&self) -> Result<u64, String> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => parse_size(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_text(text: &str) -> Result<Config, String> {
        let raw = parse(text)?;
        check(raw, Path::new("/etc/vm")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_configuration_is_read() {
        let config = try_text(
            r#"{
                "control": "/run/c.sock", "scratch": "scratch",
                "disks": [{
                    "name": "root", "source": "root.qcow2", "format": "qcow2", "direct": true,
                    "engine": "threads", "max_clients": 3,
                    "listen": ["unix:/run/root.sock", "tcp:[::1]:1", "vhost-user:/run/root.vhost"],
                    "track": {"map": "root.map", "block": "16K"},
                    "checkpoints": {"granule": 65536, "limit": "1G", "timeout_ms": 50,
                        "on_error": "write"},
                    "throttle": {"iops": 100}
                }]
            }"#,
        )
        .unwrap();
        let disk = &config.disks[0];
        assert_eq!(disk.source, Source::File("/etc/vm/root.qcow2".into()));
        assert_eq!(disk.nbd.len(), 2);
        assert_eq!(disk.vhost_user, [PathBuf::from("/run/root.vhost")]);
        assert_eq!(disk.track.as_ref().unwrap().block_bytes, 16 << 10);
        assert_eq!(disk.checkpoints.on_error, OnError::FailWrite);
        assert_eq!(config.scratch, Path::new("/etc/vm/scratch"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("{\n  \"diks\": []}", "2:8: unknown field `diks`"),
            (
                "{\"disks\": [{\"direct\": 1}]}",
                "1:23: invalid type: integer `1`",
            ),
            ("{", "1:1: EOF while parsing"),
            ("{}", "neither `disks` nor a `control` socket"),
            (
                r#"{"disks":[{"name":"a/b"}]}"#,
                "disks[0].name: `a/b` is no name",
            ),
            (
                r#"{"socket_mode":"0777","disks":[]}"#,
                "socket_mode: `0777` is none",
            ),
            (
                r#"{"disks":[{"name":"a"}]}"#,
                "disks[0].source: the path of a disk is empty",
            ),
            (
                r#"{"disks":[{"name":"a","source":"x","format":"vmdk"}]}"#,
                "disks[0].format: `vmdk`",
            ),
            (
                r#"{"disks":[{"name":"a","source":"x"},{"name":"a","source":"y"}]}"#,
                "disks[1].name: `a` is the name of another disk too",
            ),
            (
                r#"{"disks":[{"name":"a","source":"x","track":{"map":"m","block":5000}}]}"#,
                "disks[0].track.block: 5000 is no power of two",
            ),
            (
                r#"{"disks":[{"name":"a","source":"x","listen":["/run/x"]}]}"#,
                "disks[0].listen: `/run/x`: no kind of address",
            ),
        ] {
            let error = try_text(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
