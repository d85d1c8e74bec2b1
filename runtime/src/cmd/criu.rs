//! The program `criu`, which does checkpoints: its command line and its errors.
//!
//! What of a container lies outside of it must be told by name when it is dumped, and given anew by
//! the same name when it is restored: bind mounts, joined namespaces, pipes of standard input and
//! output. The names are paths in the container, so that any bundle with the same configuration can
//! take a checkpoint up.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use clap::ValueEnum;

use crate::failure::{Called as _, Failure};
use crate::spec::{MountKind, NamespaceKind, Spec};

/// File of a checkpoint that says what the first process had for standard input and output.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

/// Options that `checkpoint` and `restore` share.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// Directory of the checkpoint
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    pub(super) image_path: PathBuf,
    /// Directory of criu's logs and temporary files; by default that of the checkpoint
    #[arg(long, value_name = "DIR")]
    pub(super) work_path: Option<PathBuf>,
    /// Directory of the checkpoint before this one, relative to this one
    #[arg(long, value_name = "DIR")]
    pub(super) parent_path: Option<PathBuf>,
    /// Allow established TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow Unix sockets whose other end is outside of the container
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow processes of a session whose leader is outside of the container
    #[arg(long)]
    shell_job: bool,
    /// Move memory when it is touched, from one host to the other
    #[arg(long)]
    lazy_pages: bool,
    /// Allow file locks
    #[arg(long)]
    file_locks: bool,
    /// How much of the cgroups' settings is kept
    #[arg(long, value_name = "MODE", default_value = "soft")]
    manage_cgroups_mode: CgroupMode,
    /// Leave the settings of a kind of namespace out (`network`)
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<EmptyNamespace>,
    /// Free memory images that the checkpoint has twice
    #[arg(long)]
    auto_dedup: bool,
}

/// How criu goes about cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CgroupMode {
    /// Settings of groups that it makes itself.
    Soft,
    /// Settings of all groups.
    Full,
    /// As `full`, and an error if a group is there already.
    Strict,
    /// Not at all.
    Ignore,
}

/// Namespaces that can be made without their settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EmptyNamespace {
    /// Interfaces and addresses.
    Network,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such program.
    #[error("`{}` cannot be run: CRIU, which makes checkpoints, is not installed", .0.display())]
    Missing(PathBuf),
    /// It failed.
    #[error("criu {action} failed ({status}): {said}")]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last error in its log.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// Its other end is outside of the container, with whom no one knows.
    #[error("a container with a terminal (`process.terminal`) cannot be checkpointed or restored")]
    Terminal,
    /// Processes are put under a policy when they are made, and criu makes them anew.
    #[error("container `{0}` has a policy, under which it could not be restored")]
    Policy(String),
    /// Nothing there that could be dumped.
    #[error("container not running: `{0}`")]
    NotRunning(String),
    /// Files that `reeve checkpoint` writes are not there.
    #[error("`{dir}` is not a checkpoint", dir = .dir.display())]
    NoCheckpoint {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        source: Failure,
    },
    /// A system call.
    #[error(transparent)]
    Call(#[from] Failure),
}

impl Error {
    /// What the user can do about it, if anything.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some(
                "install it (`apt install criu`, `dnf install criu`), or name it with `--criu`"
                    .to_owned(),
            ),
            Self::Failed { log, .. } => Some(format!(
                "the whole log is in {}; `criu check` says whether the kernel has what it takes",
                log.display()
            )),
            Self::Terminal => Some("set `process.terminal` to false".to_owned()),
            Self::Policy(_) => Some("checkpoint containers that run without `--policy`".to_owned()),
            Self::NoCheckpoint { .. } => {
                Some("`--image-path` names what `reeve checkpoint` has written".to_owned())
            }
            Self::NotRunning(_) | Self::Call(_) => None,
        }
    }
}

impl Options {
    /// The options as criu has them.
    pub(super) fn to_criu(&self) -> Result<Vec<OsString>, Failure> {
        let image = absolute(&self.image_path)?;
        let mut args = vec!["--images-dir".into(), image.into(), "-v4".into()];
        if let Some(dir) = &self.work_path {
            args.extend(["--work-dir".into(), absolute(dir)?.into()]);
        }
        let switches = [
            ("--tcp-established", self.tcp_established),
            ("--ext-unix-sk", self.ext_unix_sk),
            ("--shell-job", self.shell_job),
            ("--lazy-pages", self.lazy_pages),
            ("--file-locks", self.file_locks),
            ("--auto-dedup", self.auto_dedup),
        ];
        let on = switches.iter().filter(|(_, on)| *on);
        args.extend(on.map(|(name, _)| OsString::from(name)));
        let mode = match self.manage_cgroups_mode {
            CgroupMode::Soft => "soft",
            CgroupMode::Full => "full",
            CgroupMode::Strict => "strict",
            CgroupMode::Ignore => "ignore",
        };
        args.push(format!("--manage-cgroups={mode}").into());
        for EmptyNamespace::Network in &self.empty_ns {
            args.extend(["--empty-ns".into(), "net".into()]);
        }
        Ok(args)
    }

    /// Where criu writes the log of that name.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        let dir = self.work_path.as_ref().unwrap_or(&self.image_path);
        dir.join(name)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).called(|| format!("getcwd() for \"{}\"", path.display()))
}

/// Mounts of a container whose source is the host's: path in the container, path on the host.
pub(super) fn external_mounts(spec: &Spec) -> Vec<(PathBuf, PathBuf)> {
    let binds = spec.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => Some((mount.target.clone(), source.clone())),
        _ => None,
    });
    binds.collect()
}

/// `--external mnt[NAME]:VALUE`, for each.
pub(super) fn mount_args(mounts: &[(PathBuf, PathBuf)]) -> impl Iterator<Item = OsString> {
    mounts.iter().flat_map(|(name, value)| {
        let mut text = OsString::from("mnt[");
        text.push(name);
        text.push("]:");
        text.push(value);
        ["--external".into(), text]
    })
}

/// Namespaces that a container joined and criu leaves alone: their kind, the name under which the
/// checkpoint knows them, and their file.
pub(super) fn external_namespaces(
    spec: &Spec,
) -> impl Iterator<Item = (&'static str, &'static str, &Path)> {
    spec.namespaces.joined().filter_map(|(kind, path)| {
        let (kind, name) = match kind {
            NamespaceKind::Network => ("net", "extRootNetNS"),
            NamespaceKind::Pid => ("pid", "extRootPidNS"),
            _ => return None,
        };
        Some((kind, name, path))
    })
}

/// `--external net[INODE]:NAME`, for each.
pub(super) fn namespace_args(spec: &Spec) -> Result<Vec<OsString>, Failure> {
    let mut args = Vec::new();
    for (kind, name, path) in external_namespaces(spec) {
        let inode = fs::metadata(path).called(|| format!("stat(\"{}\")", path.display()))?;
        let text = format!("{kind}[{}]:{name}", inode.ino());
        args.extend(["--external".into(), text.into()]);
    }
    Ok(args)
}

/// `--inherit-fd fd[N]:NAME`.
pub(super) fn inherit_args(fd: &OwnedFd, name: &str) -> [OsString; 2] {
    let text = format!("fd[{}]:{name}", fd.as_raw_fd());
    ["--inherit-fd".into(), text.into()]
}

/// `--inherit-fd` for those of standard input and output that were pipes: `links` is what they
/// were, as `/proc/PID/fd/N` says.
pub(super) fn pipe_args(links: &[String]) -> impl Iterator<Item = OsString> {
    let pipes = links.iter().enumerate();
    let pipes = pipes.filter(|(_, link)| link.starts_with("pipe:["));
    pipes.flat_map(|(fd, link)| ["--inherit-fd".into(), format!("fd[{fd}]:{link}").into()])
}

/// Runs criu with the standard input and output of this process, which what it restores inherits.
pub(super) fn run(
    program: &Path,
    action: &'static str,
    args: &[OsString],
    log: &Path,
) -> Result<(), Error> {
    tracing::debug!(?args, "criu {action}");
    let status = Command::new(program).arg(action).args(args).status();
    let status = status.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing(program.to_owned()),
        _ => Error::Call(Failure::new(
            format!("execve(\"{}\")", program.display()),
            rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
        )),
    })?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(log).unwrap_or_default();
    Err(Error::Failed {
        action,
        status,
        said: last_error(&String::from_utf8_lossy(&text)),
        log: log.to_owned(),
    })
}

/// The last error of a log that says why; the very last only says that there was one.
fn last_error(log: &str) -> String {
    let errors = log.lines().filter_map(|line| {
        let (_, error) = line.split_once("Error (")?;
        let (_, text) = error.split_once("): ")?;
        Some(text.trim())
    });
    let hollow = |text: &&str| text.ends_with("FAILED.") || text.ends_with("failed.");
    let errors: Vec<&str> = errors.collect();
    let telling = errors.iter().rev().find(|text| !hollow(text));
    let found = telling.or(errors.last()).copied();
    found.unwrap_or("it left no reason in its log").to_owned()
}

/// Makes a directory for nobody but the owner, unless it is there.
pub(super) fn make_dir(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.called(|| format!("mkdir(\"{}\")", path.display())),
    }
}

/// Adds an option with a value.
pub(super) fn option(args: &mut Vec<OsString>, name: &str, value: impl AsRef<OsStr>) {
    args.extend([OsString::from(name), value.as_ref().to_owned()]);
}

#[cfg(test)]
pub(in crate::cmd) mod tests {
    use super::*;

    pub(in crate::cmd) fn spec() -> Spec {
        let raw = serde_json::json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/data", "source": "/srv/a b", "options": ["bind"]},
            ],
            "linux": {
                "namespaces": [
                    {"type": "mount"},
                    {"type": "network", "path": "/proc/self/ns/net"},
                ],
                "maskedPaths": ["/proc/kcore", "/proc/acpi"],
            },
        });
        let raw = serde_json::from_value(raw).unwrap();
        Spec::check(&raw, Path::new("/b")).unwrap()
    }

    #[test]
    fn what_lies_outside_is_named() {
        let mounts = external_mounts(&spec());
        let args: Vec<OsString> = mount_args(&mounts).collect();
        assert_eq!(args, ["--external", "mnt[/data]:/srv/a b"]);
        let [external, namespace] = &namespace_args(&spec()).unwrap()[..] else {
            panic!();
        };
        assert_eq!(external, "--external");
        let inode = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(*namespace, *format!("net[{inode}]:extRootNetNS"));
    }

    #[test]
    fn only_pipes_are_inherited() {
        let links = ["/dev/null", "pipe:[7]", "socket:[8]"].map(str::to_owned);
        let args: Vec<OsString> = pipe_args(&links).collect();
        assert_eq!(args, ["--inherit-fd", "fd[1]:pipe:[7]"]);
    }

    #[test]
    fn the_reason_is_found_in_the_log() {
        let log = "(00.001) some text\n\
                   (00.002) Error (criu/mount.c:1088): mnt: 49:./x has no proper root mount\n\
                   (00.003) Error (criu/cr-dump.c:2013): Dumping FAILED.\n";
        assert_eq!(last_error(log), "mnt: 49:./x has no proper root mount");
        assert_eq!(last_error(""), "it left no reason in its log");
    }

    #[test]
    fn a_program_that_is_not_there_has_a_remedy() {
        let error = run(Path::new("/nope/criu"), "dump", &[], Path::new("/nope/log"));
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Missing(_)), "{error}");
        assert!(error.help().unwrap().contains("apt install criu"));
    }
}
