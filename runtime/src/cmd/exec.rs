//! `reeve exec`: runs one more process in a container.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::thread::CapabilitySet;

use super::Error;
use super::make::write_pid;
use crate::cgroup::Below;
use crate::launch::{ConsoleSocket, Error as LaunchError, ExecRequest, Joined, seal};
use crate::lsm::Lsms;
use crate::plan::{ExecPlan, Options, Overrides};
use crate::spec::{ContainerId, Spec};
use crate::state::{State, Status};

/// Run one more process in a container
///
/// It has the user, environment, capabilities and limits of the container's own process unless the
/// options say otherwise, and the same policy in any case. The exit status is that of the process,
/// or 255 if it could not be run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve exec web ps
  reeve exec -t web sh                            # with a terminal
  reeve exec -u 1000:1000 -e COLOUR=blue web env
  reeve exec --process process.json web")]
pub struct Args {
    /// File with the process as in `config.json`, instead of a program and its options
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A terminal for the process
    #[arg(short, long)]
    tty: bool,
    /// User, and group
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// More supplementary groups
    #[arg(short = 'g', long, value_name = "GID", value_parser = id)]
    additional_gids: Vec<u32>,
    /// Add a capability, such as CAP_NET_ADMIN
    #[arg(short, long, value_name = "NAME", value_parser = capability)]
    cap: Vec<CapabilitySet>,
    /// Let the process gain no privileges by executing
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile of the process
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Do not stay: return when the process runs
    #[arg(short, long)]
    detach: bool,
    /// Write the pid of the process to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that gets the terminal, for a process that is not stayed with
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Group below the container's, in every hierarchy or in those of some controllers
    #[arg(long, value_name = "[CONTROLLER:]DIR")]
    cgroup: Vec<Below>,
    /// Let the process begin in a container that is paused; it goes on with it
    #[arg(long)]
    ignore_paused: bool,
    /// Give the process this many descriptors of the caller's, after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
    /// Program and arguments
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

pub(super) fn run(args: Args, root: &Path) -> Result<ExitCode, Error> {
    exec(args, root).map_err(|error| Error::Exec(Box::new(error)))
}

fn exec(args: Args, root: &Path) -> Result<ExitCode, Error> {
    seal()?;
    let state = State::load(root, &args.id)?;
    let status = state.status();
    if status == Status::Paused && !args.ignore_paused {
        let id = args.id;
        return Err(LaunchError::NotRunning { id, status }.into());
    }
    let spec = state.spec(root)?;
    let (detach, pid_file) = (args.detach, args.pid_file.clone());
    let (console_socket, below) = (args.console_socket.clone(), args.cgroup.clone());
    let options = Options {
        preserved_fds: args.preserve_fds,
        holds_appending: (state.policy.as_ref())
            .is_some_and(|policy| policy.compiled.adds_without_writing()),
        ..Options::default()
    };
    let spec = process(args, spec)?;
    let process = &spec.process;
    spec.labels.refuse_inactive(Lsms::detect())?;
    match (&console_socket, detach) {
        (None, true) if process.terminal => return Err(Error::NoConsoleSocket),
        (Some(_), _) if !process.terminal => return Err(Error::NoTerminal),
        (Some(_), false) => return Err(Error::Attached),
        _ => {}
    }
    let console = console_socket.as_deref();
    let console = console.map(ConsoleSocket::connect).transpose()?;
    let joined = Joined::new(ExecRequest {
        plan: ExecPlan::build(&spec, &options),
        state,
        below,
    })?;
    if let Some(path) = &pid_file {
        write_pid(path, joined.pid())?;
    }
    let executing = joined.release(console)?;
    if detach {
        executing.leave();
        return Ok(ExitCode::SUCCESS);
    }
    Ok(executing.supervise()?.code())
}

/// The configuration with the process of a file, or its own with the changes of the command line.
fn process(args: Args, mut spec: Spec) -> Result<Spec, Error> {
    if let Some(path) = &args.process {
        let read = |source| Error::File {
            operation: "read",
            path: path.clone(),
            source,
        };
        let text = fs::read(path).map_err(read)?;
        return Ok(spec.with_process(&text, path)?);
    }
    if args.command.is_empty() {
        return Err(Error::NoCommand);
    }
    let changed = Overrides {
        args: strings("COMMAND", args.command)?,
        env: strings("--env", args.env)?,
        cwd: args.cwd,
        user: args.user,
        additional_gids: args.additional_gids,
        capabilities: args
            .cap
            .into_iter()
            .fold(CapabilitySet::empty(), |all, one| all | one),
        no_new_privileges: args.no_new_privs,
        terminal: args.tty,
    };
    spec.process = changed.apply(spec.process)?;
    let label = |label: Option<String>| label.map(CString::new).transpose();
    let (apparmor, selinux) = (label(args.apparmor), label(args.process_label));
    let labels = &mut spec.labels;
    if let Some(profile) = apparmor.map_err(|_| Error::Nul("--apparmor"))? {
        labels.apparmor = Some(profile);
    }
    if let Some(label) = selinux.map_err(|_| Error::Nul("--process-label"))? {
        labels.selinux = Some(label);
    }
    Ok(spec)
}

fn strings(what: &'static str, words: Vec<String>) -> Result<Vec<CString>, Error> {
    let words = words.into_iter();
    words
        .map(|word| CString::new(word).map_err(|_| Error::Nul(what)))
        .collect()
}

/// `UID` or `UID:GID`, in plain decimal digits and nothing else.
fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

fn id(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = digits.then(|| text.parse::<u32>().ok()).flatten();
    // The last one means "unchanged" to the kernel.
    let value = value.filter(|value| *value != u32::MAX);
    value.ok_or_else(|| format!("`{text}` is not a numeric id"))
}

fn capability(text: &str) -> Result<CapabilitySet, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    CapabilitySet::from_name(name).ok_or_else(|| format!("`{text}` is no capability"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_digits() {
        assert_eq!(user("1000"), Ok((1000, None)));
        assert_eq!(user("0:5"), Ok((0, Some(5))));
        for bad in [
            "",
            ":",
            "1:",
            ":1",
            "+1",
            "-1",
            "1 ",
            "root",
            "4294967295",
            "1:2:3",
            "0x1",
        ] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_capability_has_a_name() {
        assert_eq!(capability("cap_kill"), Ok(CapabilitySet::KILL));
        assert_eq!(capability("KILL"), Ok(CapabilitySet::KILL));
        assert!(capability("CAP_NONSENSE").is_err());
    }
}
