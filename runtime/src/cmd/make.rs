//! What `reeve create` and `reeve run` share: their arguments, and the way to a first process that
//! waits under its policy.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use policy::Variables;

use super::policy::Vars;
use super::{Error, Global};
use crate::cgroup::Layout;
use crate::launch::{Confined, ConsoleSocket, GivenPolicy, Prepared, Request, check_privileges};
use crate::plan::{Host, LaunchPlan, Options};
use crate::policy_source;
use crate::spec::{ContainerId, Spec};
use crate::sys;

/// Arguments of both.
#[derive(Debug, clap::Args)]
pub(super) struct MakeArgs {
    /// Directory with `config.json` and the root file system
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Policy that says which host actions are allowed; without one, Reeve confines nothing
    #[arg(short, long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    vars: Vars,
    /// Write the pid of the entry process to a file
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal, for a container that is not stayed with
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Move the root over instead of pivoting to it, as a root in a RAM disk needs
    #[arg(long)]
    no_pivot: bool,
    /// Leave the container in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Give the entry process this many descriptors of the caller's, after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// Everything that is known before anything is made.
pub(super) struct Planned {
    spec: Spec,
    config: Vec<u8>,
    policy: Option<GivenPolicy>,
    cgroups: Layout,
    pub(super) plan: LaunchPlan,
}

/// How the container is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It waits for `reeve start`.
    Create,
    /// It runs without anybody who stays with it.
    Detached,
    /// It runs, and this process stays.
    Attached,
}

impl MakeArgs {
    /// Reads the bundle and the policy. Without effects.
    pub(super) fn plan(self, manner: Manner, global: &Global) -> Result<(Planned, Making), Error> {
        let (mut spec, config) = Spec::load(&self.bundle)?;
        let passed = passed_sockets();
        let vars = self.vars.variables()?;
        let policy = self.policy.as_deref();
        let policy = policy.map(|path| read_policy(path, &vars)).transpose()?;
        let holds_appending =
            (policy.as_ref()).is_some_and(|given| given.policy.adds_without_writing());
        let options = Options {
            holds_appending,
            await_start: manner == Manner::Create,
            systemd_cgroup: global.systemd_cgroup(),
            rootless: global.rootless(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserved_fds: self.preserve_fds.saturating_add(passed),
        };
        if passed > 0 {
            spec.process.pass_sockets(passed);
        }
        require_open(options.preserved_fds)?;
        let terminal = spec.process.terminal;
        match (&self.console_socket, manner) {
            (None, Manner::Create | Manner::Detached) if terminal => {
                return Err(Error::NoConsoleSocket);
            }
            (Some(_), _) if !terminal => return Err(Error::NoTerminal),
            (Some(_), Manner::Attached) => return Err(Error::Attached),
            _ => {}
        }
        let host = Host {
            cgroups: Layout::detect(),
            policy: policy.as_ref().map(|given| given.policy.name().to_owned()),
            options,
        };
        let plan = LaunchPlan::build(self.id, &spec, &host)?;
        let planned = Planned {
            spec,
            config,
            policy,
            cgroups: host.cgroups,
            plan,
        };
        let making = Making {
            console_socket: self.console_socket,
            pid_file: self.pid_file,
        };
        Ok((planned, making))
    }
}

/// What is left of the arguments.
pub(super) struct Making {
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
}

impl Planned {
    /// Makes the first process, which waits under its policy.
    pub(super) fn confine(
        self,
        root: &Path,
        making: &Making,
    ) -> Result<(Confined, Option<ConsoleSocket>), Error> {
        check_privileges(&self.spec)?;
        let console = making.console_socket.as_deref();
        let console = console.map(ConsoleSocket::connect).transpose()?;
        let prepared = Prepared::new(Request {
            root: root.to_owned(),
            cgroups: self.cgroups,
            plan: self.plan,
            config: self.config,
            policy: self.policy,
        })?;
        let confined = prepared.clone_process()?.confine()?;
        if let Some(path) = &making.pid_file {
            write_pid(path, confined.pid())?;
        }
        Ok((confined, console))
    }
}

/// Descriptors that a service manager passed (sd_listen_fds(3)).
fn passed_sockets() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    number("LISTEN_FDS").filter(|_| ours).unwrap_or(0)
}

/// Refuses descriptors that nobody opened: their numbers would be those of this process's own.
fn require_open(preserved: u32) -> Result<(), Error> {
    let preserved = i32::try_from(preserved).unwrap_or(i32::MAX);
    match (3..preserved.saturating_add(3)).find(|number| !sys::is_open(*number)) {
        Some(number) => Err(Error::NotOpen(number)),
        None => Ok(()),
    }
}

pub(super) fn read_policy(path: &Path, vars: &Variables) -> Result<GivenPolicy, Error> {
    Ok(GivenPolicy {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        policy: policy_source::load(path, vars)?,
    })
}

/// Writes the file as a whole: whoever waits for it never reads half a number.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), Error> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let next = PathBuf::from(next);
    let error = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            operation,
            path,
            source,
        }
    };
    // What is there may be a link of somebody who may write the directory, too: never followed.
    match fs::remove_file(&next) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(error("unlink", &next)(source));
        }
        _ => {}
    }
    let file = fs::File::create_new(&next);
    let mut file = file.map_err(error("open", &next))?;
    file.write_all(pid.to_string().as_bytes())
        .map_err(error("write", &next))?;
    fs::rename(&next, path).map_err(error("rename", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_beside_the_pid_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("pid"), dir.path().join("other"));
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("pid.next")).unwrap();
        write_pid(&file, 7).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&file).unwrap(), "7");
        write_pid(&file, 8).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "8");
    }
}
