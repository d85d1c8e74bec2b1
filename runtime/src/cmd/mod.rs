//! The command line: one module a sub-command, each a struct of arguments and a thin `run`.

pub mod audit;
pub mod delete;
pub mod doctor;
mod error;
pub mod events;
pub mod list;
pub mod pause;
pub mod policy;
pub mod resume;
pub mod run;
pub mod state;
pub mod update;

pub use error::Error;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::state::DEFAULT_ROOT;

/// An OCI runtime for partially privileged containers: the kernel lets through only the host
/// actions that a policy names
#[derive(Debug, Parser)]
#[command(name = "reeve", version, max_term_width = 100)]
pub struct Cli {
    /// Directory of the containers' state
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// Say on standard error what is done
    #[arg(long, global = true)]
    debug: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    State(state::Args),
    List(list::Args),
    Delete(delete::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Update(Box<update::Args>),
    Events(events::Args),
    Doctor(doctor::Args),
    Audit(audit::Args),
    Policy(policy::Args),
}

impl Cli {
    /// Carries the command out.
    ///
    /// # Errors
    /// What kept it from being done; [`Error::help`] has the remedy.
    pub fn run(self) -> Result<ExitCode, Error> {
        log_to_stderr(self.debug);
        let root = std::path::absolute(&self.root).unwrap_or(self.root);
        match self.command {
            Command::Run(args) => run::run(args, &root),
            Command::State(args) => state::run(&args, &root),
            Command::List(args) => list::run(&args, &root),
            Command::Delete(args) => delete::run(&args, &root),
            Command::Pause(args) => pause::run(&args, &root),
            Command::Resume(args) => resume::run(&args, &root),
            Command::Update(args) => update::run(&args, &root),
            Command::Events(args) => events::run(&args, &root),
            Command::Doctor(args) => Ok(doctor::run(&args)?),
            Command::Audit(args) => Ok(audit::run(&args, &root)?),
            Command::Policy(args) => Ok(policy::run(&args, &root)?),
        }
    }
}

fn log_to_stderr(debug: bool) {
    let level = if debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::WARN
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(debug)
        .without_time()
        .init();
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
