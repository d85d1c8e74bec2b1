//! The command line: one module a sub-command, each a struct of arguments and a thin `run`.
//!
//! Names, options, output and exit statuses are those of runc wherever it has them, so that an
//! engine or a script that knows runc needs no change. Exit status 1 is every failure of `reeve`
//! itself, wrong usage too; `run` and `exec` pass on that of the process.

mod args;
pub mod audit;
pub mod checkpoint;
pub mod create;
mod criu;
pub mod delete;
pub mod doctor;
#[cfg(doc)]
mod engines;
#[cfg(test)]
mod engines;
mod error;
pub mod events;
pub mod exec;
pub mod features;
mod global;
mod help;
pub mod kill;
pub mod list;
mod log;
mod make;
pub mod pause;
pub mod policy;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
mod signal;
pub mod spec;
pub mod start;
pub mod state;
mod table;
mod time;
pub mod update;

pub use error::Error;
pub use global::{Global, Rootless};
pub use help::command;
pub use log::Format;

use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Args, Parser, Subcommand};

use crate::launch::seal;

/// Newest version of the OCI runtime specification that is followed.
pub const OCI_VERSION: &str = "1.3.0";

/// Commit that this program was built from, where the build said so.
const COMMIT: &str = match option_env!("REEVE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// An OCI runtime for partially privileged containers: the kernel lets through only the host
/// actions that a policy names
#[derive(Debug, Parser)]
#[command(name = "reeve", version = version(), disable_version_flag = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    version: Version,
}

#[derive(Debug, clap::Args)]
struct Version {
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Start(start::Args),
    Run(run::Args),
    Exec(exec::Args),
    State(state::Args),
    List(list::Args),
    Kill(kill::Args),
    Ps(ps::Args),
    Delete(delete::Args),
    Checkpoint(checkpoint::Args),
    Restore(restore::Args),
    Spec(spec::Args),
    Features(features::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Update(Box<update::Args>),
    Events(events::Args),
    Doctor(doctor::Args),
    Audit(audit::Args),
    Policy(policy::Args),
    Help(help::Args),
}

/// Defines the arguments of a command.
type Define = fn(clap::Command) -> clap::Command;

/// What is in [`Command`], by name.
const COMMANDS: &[(&str, Define)] = &[
    ("create", create::Args::augment_args),
    ("start", start::Args::augment_args),
    ("run", run::Args::augment_args),
    ("exec", exec::Args::augment_args),
    ("state", state::Args::augment_args),
    ("list", list::Args::augment_args),
    ("kill", kill::Args::augment_args),
    ("ps", ps::Args::augment_args),
    ("delete", delete::Args::augment_args),
    ("checkpoint", checkpoint::Args::augment_args),
    ("restore", restore::Args::augment_args),
    ("spec", spec::Args::augment_args),
    ("features", features::Args::augment_args),
    ("pause", pause::Args::augment_args),
    ("resume", resume::Args::augment_args),
    ("update", update::Args::augment_args),
    ("events", events::Args::augment_args),
    ("doctor", doctor::Args::augment_args),
    ("audit", audit::Args::augment_args),
    ("policy", policy::Args::augment_args),
    ("help", help::Args::augment_args),
];

/// The command line for a line that is right: what a command takes is defined when it is met, since
/// to define it for all of them takes longer than many of them do.
fn lean() -> clap::Command {
    let root = clap::Command::new("reeve").version(version());
    let root = Version::augment_args(Global::augment_args(root));
    let commands = COMMANDS
        .iter()
        .map(|(name, define)| clap::Command::new(*name).defer(*define));
    root.disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .subcommands(commands)
}

/// The commands that execute a program of the container's.
const SEALED: &[&str] = &["create", "exec", "run"];

/// Runs the command that the process was started with; errors are told, and only their exit status
/// is left.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.iter().any(|arg| SEALED.iter().any(|name| arg == name)) {
        // Now rather than when the command does it: what comes before would be done twice. Where it
        // is the name of something else no harm is done, and a failure is told of then.
        let _ = seal();
    }
    let cli = match args::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let compares = matches!(&cli.command, Command::Policy(args) if args.compares());
    cli.run().unwrap_or_else(|error| {
        log::error(&error.report(), &error.line());
        match compares {
            true => policy::NOT_COMPARED.into(),
            false => error.code(),
        }
    })
}

impl Cli {
    fn run(self) -> Result<ExitCode, Error> {
        let global = &self.global;
        let log = log::Log::open(global.log.as_deref(), global.log_format, global.debug);
        let log = log.map_err(|source| Error::File {
            operation: "open",
            path: global.log.clone().unwrap_or_default(),
            source,
        })?;
        log.install();
        let root = global.root();
        match self.command {
            Command::Create(args) => create::run(args, global),
            Command::Start(args) => start::run(&args, &root),
            Command::Run(args) => run::run(args, global),
            Command::Exec(args) => exec::run(args, &root),
            Command::State(args) => state::run(&args, &root),
            Command::List(args) => list::run(&args, &root),
            Command::Kill(args) => kill::run(&args, &root),
            Command::Ps(args) => ps::run(&args, &root),
            Command::Delete(args) => delete::run(&args, &root),
            Command::Checkpoint(args) => checkpoint::run(&args, global),
            Command::Restore(args) => restore::run(&args, global),
            Command::Spec(args) => spec::run(&args),
            Command::Features(args) => features::run(&args),
            Command::Pause(args) => pause::run(&args, &root),
            Command::Resume(args) => resume::run(&args, &root),
            Command::Update(args) => update::run(&args, &root),
            Command::Events(args) => events::run(&args, &root),
            Command::Doctor(args) => Ok(doctor::run(&args)?),
            Command::Audit(args) => Ok(audit::run(&args, &root)?),
            Command::Policy(args) => policy::run(&args, &root).map_err(Error::of_box),
            Command::Help(args) => help::run(&args),
        }
    }
}

/// What `--version` prints after the name: see `engines` for who parses it.
fn version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let version = env!("CARGO_PKG_VERSION");
        format!("version {version}\ncommit: {COMMIT}\nspec: {OCI_VERSION}")
    })
}

/// Prints a line of output. A reader that has gone (`reeve list | head`) is no failure.
///
/// # Errors
/// Standard output cannot be written for any other reason.
fn say(text: impl std::fmt::Display) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write as _};
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
