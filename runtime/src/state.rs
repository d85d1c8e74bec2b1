//! What is remembered of a container while it exists: `ROOT/ID/state.json`.
//!
//! The directory is made by one `mkdir`, so an id is taken exactly once, and is open to nobody but
//! root. The file is replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::cgroup::{CgroupDirs, is_frozen};
use crate::failure::{Called, Failure};
use crate::rdt::Groups;
use crate::spec::{self, ContainerId, Spec};

/// Version of the file's format. Files of an older version are read, those of a newer one are not.
pub const VERSION: u32 = 2;

/// Name of the file in a container's directory.
const FILE: &str = "state.json";

/// Name of the copy of `config.json` in a container's directory.
const CONFIG: &str = "config.json";

/// How long a killed process may take to end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Where state lies unless `--root` says otherwise.
pub const DEFAULT_ROOT: &str = "/run/reeve";

/// A container as remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// The container.
    pub id: ContainerId,
    /// Its first process; `None` until it exists.
    pub process: Option<ProcessName>,
    /// The `reeve` that makes it.
    pub creator: Option<ProcessName>,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system on the host.
    #[serde(default)]
    pub rootfs: PathBuf,
    /// Version of the specification that its configuration follows.
    #[serde(default)]
    pub oci_version: String,
    /// Annotations of its configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// User id of whoever created it.
    #[serde(default)]
    pub owner: u32,
    /// Whether its processes were made from a checkpoint: none of them executed.
    #[serde(default)]
    pub restored: bool,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its cgroups.
    pub cgroups: CgroupDirs,
    /// Its groups in resctrl, if it has some.
    #[serde(default)]
    pub rdt: Option<Groups>,
    /// Its policy, if it has one.
    pub policy: Option<PolicyState>,
}

/// A process, named for good: its number may be given to another one, but not with this start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// In the pid namespace of the runtime.
    pub pid: i32,
    /// In clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessName {
    /// That of a process that exists; `None` if it does not, or is a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let start_ticks = Stat::of(pid)?.start_ticks;
        Some(Self { pid, start_ticks })
    }

    /// Whether it still runs.
    pub fn runs(self) -> bool {
        self.stat().is_some()
    }

    /// Kills it and waits until it has ended.
    ///
    /// # Errors
    /// It does not end within [`PATIENCE`].
    pub fn kill(self) -> Result<(), Failure> {
        let Some(pidfd) = self.open()? else {
            return Ok(());
        };
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                let call = format!("pidfd_send_signal(pidfd of {}, KILL)", self.pid);
                return Err(Failure::new(call, errno));
            }
        }
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let ended = retry_on_intr(|| poll(&mut fds, Some(&PATIENCE)));
        match ended.called(|| format!("poll(pidfd of {})", self.pid))? {
            0 => {
                let call = format!("kill({}, SIGKILL)", self.pid);
                Err(Failure::new(call, Errno::TIMEDOUT))
            }
            _ => Ok(()),
        }
    }

    /// A descriptor for it; `None` if it has ended. What is done through it can never reach another
    /// process that was given its number.
    pub fn open(self) -> Result<Option<OwnedFd>, Failure> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Asked after the descriptor was made: now it is known whose it is.
            Ok(pidfd) => Ok(self.runs().then_some(pidfd)),
            // EINVAL, and since 6.16 ENOENT: its number is only a group's, session's or thread's.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(errno) => Err(Failure::new(format!("pidfd_open({})", self.pid), errno)),
        }
    }

    fn stat(self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)
    }
}

/// The policy of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolicyState {
    /// Number under which the kernel side knows it.
    pub id: u32,
    /// File that it was read from.
    pub path: PathBuf,
    /// Its tables and the lines that they come from.
    pub compiled: policy::Compiled,
}

/// How far a container's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The `reeve` that makes it is at work.
    Creating,
    /// Its first process is set up, and waits for `reeve start`.
    Created,
    /// Its entry process runs.
    Running,
    /// Its processes are stopped for the time being.
    Paused,
    /// It has ended; what is left waits for `reeve delete`.
    Stopped,
}

impl Status {
    /// The word of the OCI runtime specification.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory.
    #[error("{operation}(\"{path}\")")]
    Io {
        /// The call.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its configuration.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// Not a state file of this version.
    #[error("`{path}` cannot be understood")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("`{path}` has version {found}, this reeve reads versions up to {VERSION}")]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The id is taken by a container that lives, or that is being made.
    #[error("container `{0}` already exists")]
    Exists(ContainerId),
    /// The id is taken by what is left of a container.
    #[error("container `{0}` already exists: it has stopped, but was not deleted")]
    Stale(ContainerId),
    /// No such container.
    #[error("container `{0}` does not exist")]
    Unknown(ContainerId),
    /// The container has to be stopped first.
    #[error("container `{0}` is {word}", word = .1.word())]
    Alive(ContainerId, Status),
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Stale(id) => Some(format!("remove it with `reeve delete {id}`")),
            Self::Exists(_) => Some("choose another id".to_owned()),
            Self::Unknown(_) => Some("`reeve list` shows those there are".to_owned()),
            Self::Alive(id, Status::Running | Status::Paused) => {
                Some(format!("`reeve delete --force {id}` kills it first"))
            }
            _ => None,
        }
    }

    fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// The directory of a container that is being started; removed unless kept.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    keep: bool,
}

impl StateDir {
    /// Takes the id.
    pub fn create(root: &Path, id: &ContainerId) -> Result<Self, Error> {
        make_root(root)?;
        let path = root.join(id);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, keep: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(match State::load(root, id) {
                    Ok(state) if state.status() == Status::Stopped => Error::Stale(id.clone()),
                    _ => Error::Exists(id.clone()),
                })
            }
            Err(error) => Err(Error::io("mkdir", &path, error)),
        }
    }

    /// Writes the state, as a whole.
    pub fn save(&self, state: &State) -> Result<(), Error> {
        write(&self.path, state)
    }

    /// Keeps the configuration for the commands to come: the bundle's may change.
    pub fn save_config(&self, text: &[u8]) -> Result<(), Error> {
        let path = self.path.join(CONFIG);
        fs::write(&path, text).map_err(|error| Error::io("write", &path, error))
    }

    /// The directory itself.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        open_dir(&self.path)
    }

    /// Leaves the directory for a container that goes on without this process.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            tracing::warn!(%error, %path, "state of the container is left over");
        }
    }
}

/// Writes the state into a container's directory, as a whole.
fn write(directory: &Path, state: &State) -> Result<(), Error> {
    let path = directory.join(FILE);
    let next = directory.join("state.json.next");
    let malformed = |source| Error::Malformed {
        path: path.clone(),
        source,
    };
    let text = serde_json::to_vec(state).map_err(malformed)?;
    fs::write(&next, text).map_err(|error| Error::io("write", &next, error))?;
    fs::rename(&next, &path).map_err(|error| Error::io("rename", &next, error))
}

/// Makes the directory of all state, open to nobody but root.
pub fn make_root(root: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(root)
        .map_err(|error| Error::io("mkdir", root, error))
}

impl State {
    /// That of one container.
    pub fn load(root: &Path, id: &ContainerId) -> Result<Self, Error> {
        let path = root.join(id).join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            // Neither is a file of another kind beside the containers' directories.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(Error::Unknown(id.clone()));
            }
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |source| Error::Malformed {
            path: path.clone(),
            source,
        };
        let Version { version } = serde_json::from_slice(&text).map_err(malformed)?;
        if version == 0 || version > VERSION {
            let found = version;
            return Err(Error::Version { path, found });
        }
        serde_json::from_slice(&text).map_err(malformed)
    }

    /// Writes it again, as a whole.
    pub fn save(&self, root: &Path) -> Result<(), Error> {
        write(&root.join(&self.id), self)
    }

    /// Those of all containers, by id. Directories that belong to no container are passed over; of
    /// a state that cannot be read is warned, so that it does not hide the others.
    pub fn list(root: &Path) -> Result<Vec<Self>, Error> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("readdir", root, error)),
        };
        let mut states = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match Self::load(root, &id) {
                Ok(state) => states.push(state),
                Err(Error::Unknown(_)) => {}
                Err(error) => {
                    let error = crate::report::in_a_line(&error);
                    tracing::warn!(container = %id, error, "a container is left out");
                }
            }
        }
        states.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(states)
    }

    /// How far its life has come.
    ///
    /// Whether the first process has become the entry process is the kernel's word: it notes in
    /// each process whether it has executed since its birth. Nothing written here could be as true
    /// after a `kill -9` at the wrong moment.
    pub fn status(&self) -> Status {
        let at_work = self.creator.is_some_and(ProcessName::runs);
        let stat = self.process.and_then(ProcessName::stat);
        match stat {
            // A group that cannot be asked is none that somebody has paused.
            Some(stat) if stat.executed || self.restored => match is_frozen(&self.cgroups) {
                Ok(true) => Status::Paused,
                _ => Status::Running,
            },
            Some(_) if !at_work => Status::Created,
            Some(_) => Status::Creating,
            None if self.process.is_none() && at_work => Status::Creating,
            None => Status::Stopped,
        }
    }

    /// The configuration that it was created with.
    pub fn spec(&self, root: &Path) -> Result<Spec, Error> {
        let path = root.join(&self.id).join(CONFIG);
        let text = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        Ok(Spec::parse(&text, &path, &self.bundle)?)
    }

    /// Its directory.
    pub fn open_dir(&self, root: &Path) -> Result<OwnedFd, Error> {
        open_dir(&root.join(&self.id))
    }

    /// Removes the directory.
    pub fn remove(&self, root: &Path) -> Result<(), Error> {
        let path = root.join(&self.id);
        let number = || fs::metadata(&path).map(|found| found.ino()).ok();
        let own = number();
        // Beside somebody else, whoever ran it or another `reeve delete`, files go away meanwhile;
        // and then another container may have the name already.
        while own.is_some() && number() == own {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(|error| Error::io("rmdir", &path, error)),
            }
        }
        Ok(())
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    let dir = fs::File::open(path).map_err(|error| Error::io("open", path, error))?;
    Ok(dir.into())
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy)]
struct Stat {
    /// Whether it is a zombie.
    ended: bool,
    /// Time of its birth.
    start_ticks: u64,
    /// Whether it has executed a program since its birth.
    executed: bool,
}

/// `PF_FORKNOEXEC` (`include/linux/sched.h`): forked, but did not execute.
const FORKED_ONLY: u64 = 0x40;

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::of_any(pid).filter(|stat| !stat.ended)
    }

    /// Of a zombie, too.
    fn of_any(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name that may hold anything: parentheses and spaces, and bytes that
        // are no text. A process must not end for us because it calls itself so.
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let ended = matches!(fields.next()?, "Z" | "X");
        // Fields 9 and 22 of all, counted from 1; the next one here is the fourth.
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        Some(Self {
            ended,
            start_ticks: fields.nth(12)?.parse().ok()?,
            executed: flags & FORKED_ONLY == 0,
        })
    }
}

/// Whether a process has executed a program since its birth; `None` if there is none.
pub(crate) fn has_executed(pid: i32) -> Option<bool> {
    Stat::of_any(pid).map(|stat| stat.executed)
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
