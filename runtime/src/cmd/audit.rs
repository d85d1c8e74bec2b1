//! `reeve audit`: what was refused, why, and which line of policy would allow it.

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ebpf_loader::events::Events;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::audit::{self, Record};

/// How long a follower sleeps at most before it looks whether another reader has written to the
/// log.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Show what containers were refused, or, in audit mode, would have been
///
/// Each entry names the action, the object with its path on the host, the line of the policy that
/// decided, and the line that would allow it. Entries are kept in the state directory across
/// containers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve audit web                       # what was refused to it
  reeve audit --follow                  # of all containers, as it happens
  reeve audit --json web | jq -r .allow # the lines that would allow it")]
pub struct Args {
    /// Only this container's entries
    id: Option<String>,
    /// Go on printing as entries come in
    #[arg(short, long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Print the kernel side's debug log to stderr (containers started with REEVE_EBPF_DEBUG=1)
    #[arg(long, requires = "follow")]
    kernel_log: bool,
}

/// Prints the log.
///
/// # Errors
/// A log or ring buffer that cannot be read, or output that cannot be written.
pub fn run(args: &Args, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut at = 0;
    let mut kernel_log = match args.kernel_log {
        true => ebpf_loader::events::DebugLog::open()?,
        false => None,
    };
    loop {
        audit::drain(root)?;
        let (records, next) = audit::read(root, at)?;
        at = next;
        for record in records.iter().filter(|record| args.wants(record)) {
            match args.print(record) {
                // The reader has gone: `reeve audit | head` is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(ExitCode::SUCCESS);
                }
                other => other?,
            }
        }
        if let Some(log) = &mut kernel_log {
            log.flush();
        }
        if !args.follow {
            report_lost()?;
            return Ok(ExitCode::SUCCESS);
        }
        wait()?;
    }
}

impl Args {
    fn wants(&self, record: &Record) -> bool {
        self.id.as_ref().is_none_or(|id| *id == record.container)
    }

    fn print(&self, record: &Record) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, record)?;
            writeln!(out)
        } else {
            writeln!(out, "{record}")
        }
    }
}

/// Says on stderr how many events the full ring buffer lost.
fn report_lost() -> Result<(), ebpf_loader::Error> {
    if !ebpf_loader::host::is_loaded() {
        return Ok(());
    }
    let lost = match ebpf_loader::Enforcer::open()? {
        Some(enforcer) => enforcer.lost_events()?,
        None => 0,
    };
    if lost > 0 {
        eprintln!(
            "{lost} entries were lost to a full buffer; follow with --follow to read in time"
        );
    }
    Ok(())
}

/// Sleeps until the ring buffer has something, but never longer than [`LOOK_AGAIN`].
fn wait() -> Result<(), Box<dyn Error>> {
    let Some(events) = Events::open()? else {
        std::thread::sleep(LOOK_AGAIN);
        return Ok(());
    };
    let mut waiting = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK_AGAIN.subsec_nanos()),
    };
    match poll(&mut waiting, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
