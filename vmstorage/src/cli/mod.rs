//! The command line of `vmstorage`: one module a command, each a struct of arguments and a thin
//! `run`.

mod backup;
mod csi;
mod ctl;
mod error;
mod image;
mod refpoint;
mod serve;
mod staged;
pub mod units;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub use error::Error;

/// Storage services for virtual machines: disks with change tracking, checkpoints, backups
#[derive(Debug, Parser)]
#[command(name = "vmstorage", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  vmstorage serve root.qcow2 --listen unix:/run/root.sock --track --control /run/vm.ctl
  vmstorage ctl --control /run/vm.ctl checkpoint create monday
  nbdcopy 'nbd+unix:///root@monday?socket=/run/root.sock' monday.raw
  vmstorage ctl --control /run/vm.ctl checkpoint convert monday

Messages go to standard error; `VMSTORAGE_LOG=debug` shows more of them.
Exit status: 0 done, 1 the answer is no, 2 wrong usage, 3 only a full backup is right, 4 failed.")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What to do; one module each.
#[derive(Debug, Subcommand)]
enum Command {
    Backup(backup::Args),
    Serve(Box<serve::Args>),
    Csi(csi::Args),
    Ctl(ctl::Args),
    Image(image::Args),
    Refpoint(refpoint::Args),
}

/// Who says something each time that a guest or a client does wrong, which could be until the disk
/// is full. Who names them in `VMSTORAGE_LOG` hears them.
const QUIET: &str = "virtio_queue=off,rustls=error";

/// What is said, as the environment or else the command wants it.
fn filter(usual: &str) -> EnvFilter {
    let asked = std::env::var("VMSTORAGE_LOG").ok();
    let asked = asked.and_then(|asked| EnvFilter::try_new(format!("{QUIET},{asked}")).ok());
    asked.unwrap_or_else(|| format!("{QUIET},{usual}").into())
}

/// Runs the command line of the process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let usual = match args.command {
        Command::Serve(_) => "info",
        _ => "warn",
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter(usual))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    // Whoever makes a TLS connection without saying how, such as the client of object stores, takes
    // this provider. It fails only if there is one.
    let _taken = rustls::crypto::ring::default_provider().install_default();
    let done = match args.command {
        Command::Backup(args) => backup::run(args),
        Command::Serve(args) => serve::run(*args),
        Command::Csi(args) => csi::run(args),
        Command::Ctl(args) => ctl::run(args),
        Command::Image(args) => image::run(args),
        Command::Refpoint(args) => refpoint::run(args),
    };
    match done.and_then(|()| all_was_said()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// The model of the command line, for its documentation.
pub fn command() -> clap::Command {
    Args::command()
}

/// Prints a line for the caller.
fn say(line: impl std::fmt::Display) {
    print(&printable(&line.to_string(), |_| false));
}

/// Prints several lines for the caller.
fn say_lines(text: &str) {
    print(&printable(text.trim_end(), |letter| letter == '\n'));
}

/// Why something could not be printed.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        UNSAID.get_or_init(|| error);
    }
}

/// Whether the caller has all that was printed. A reader that has gone away wanted no more.
fn all_was_said() -> Result<(), Error> {
    match UNSAID.get() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Output(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Text in which a control character that is not `kept` is written as in JSON: names in disks and
/// repositories are foreign, and would speak to a terminal.
fn printable(text: &str, kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() && !kept(letter) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_speaks_to_a_terminal_and_json_stays_what_it_was() {
        let name = "a\u{1b}[2J\u{9b}31m\u{7f}\nb \u{fc}";
        let shown = printable(name, |letter| letter == '\n');
        assert_eq!(shown, "a\\u001b[2J\\u009b31m\\u007f\nb \u{fc}");
        let text = printable(&serde_json::json!([name]).to_string(), |_| false);
        assert!(!text.contains(char::is_control));
        let read: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, [name]);
    }
}
