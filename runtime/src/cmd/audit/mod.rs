//! `reeve audit`: what was refused, why, and which line of policy would allow it.
//!
//! Reading order: the arguments and the loop here, [`table`] and [`view`] (for people), [`sink`]
//! (files and journald), [`totals`] and [`server`] (for Prometheus).

mod server;
mod sink;
mod table;
mod totals;
mod view;

use std::error::Error;
use std::io::{self, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ebpf_loader::events::Events;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::audit::{self, Counted, Part, Position, Record};
use server::Server;
use sink::{AppendedFile, Journal};
use view::View;

/// How long a follower sleeps at most before it looks whether another reader has written to the
/// log.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Show what containers were refused, or, in audit mode, would have been
///
/// Each entry names the action, the object with its path on the host, the line of the policy that
/// decided, and the line that would allow it. Entries are kept in the state directory across
/// containers. What came too fast to be recorded is counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve audit web                       # what was refused to it
  reeve audit --follow                  # of all containers, as it happens
  reeve audit --json web | jq -r .allow # the lines that would allow it
  reeve audit --follow --journald       # hand entries to journald from now on
  reeve audit --serve=9470              # counters for Prometheus, on 127.0.0.1:9470")]
pub struct Args {
    /// Only this container's entries
    id: Option<String>,
    /// Go on as entries come in; on a terminal, repeated ones are grouped
    #[arg(short, long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Append new entries to this file, one JSON object a line, and print none
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Hand new entries to journald, and print none
    #[arg(long)]
    journald: bool,
    /// Stay and answer Prometheus at `/metrics` of this port or address; by itself a port is one of
    /// 127.0.0.1
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = server::DEFAULT,
        value_parser = server::address
    )]
    serve: Option<SocketAddr>,
    /// Print the kernel side's debug log to stderr (containers started with REEVE_EBPF_DEBUG=1)
    #[arg(long, requires = "follow")]
    kernel_log: bool,
}

/// Where entries go.
enum Output {
    Json,
    Table(table::Table),
    Lines,
    View(View),
    Elsewhere,
}

/// Prints, forwards or counts what is in the log.
///
/// # Errors
/// A log or ring buffer that cannot be read, or output that cannot be written.
pub fn run(args: &Args, root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut teller = Teller::new(args)?;
    let mut at = match teller.only_new() {
        true => audit::end(root)?,
        false => Position::default(),
    };
    let mut kernel_log = match args.kernel_log {
        true => ebpf_loader::events::DebugLog::open()?,
        false => None,
    };
    loop {
        audit::drain(root)?;
        match teller.tell_from(root, &mut at) {
            // The reader has gone: `reeve audit | head` is no failure.
            Err(error) if is_broken_pipe(error.as_ref()) => return Ok(ExitCode::SUCCESS),
            other => other?,
        }
        if let Some(log) = &mut kernel_log {
            log.flush();
        }
        if !args.follow && teller.server.is_none() {
            teller.tell_gaps(root)?;
            return Ok(ExitCode::SUCCESS);
        }
        let events = Events::open()?;
        wait(events.as_ref(), teller.server.as_ref())?;
        if let Some(server) = &mut teller.server {
            server.serve(|| audit::living(root).unwrap_or_default());
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Everybody who is told of entries.
struct Teller<'a> {
    args: &'a Args,
    output: Output,
    file: Option<AppendedFile>,
    journal: Option<Journal>,
    server: Option<Server>,
    /// What is missing in the log, of containers that have ended.
    gaps: Vec<Counted>,
    /// Lines of the log that cannot be read.
    unread: usize,
}

impl<'a> Teller<'a> {
    fn new(args: &'a Args) -> Result<Self, Box<dyn Error>> {
        let elsewhere = args.append.is_some() || args.journald || args.serve.is_some();
        let output = match () {
            () if elsewhere => Output::Elsewhere,
            () if args.json => Output::Json,
            () if !args.follow => Output::Table(table::Table::default()),
            () if io::stdout().is_terminal() => Output::View(View::default()),
            () => Output::Lines,
        };
        Ok(Self {
            args,
            output,
            file: args.append.as_deref().map(AppendedFile::open).transpose()?,
            journal: args.journald.then(Journal::open).transpose()?,
            server: args.serve.map(Server::bind).transpose()?,
            gaps: Vec::new(),
            unread: 0,
        })
    }

    /// Whoever forwards or counts has had what is in the log already.
    fn only_new(&self) -> bool {
        matches!(self.output, Output::Elsewhere)
    }

    fn wants(&self, container: &str) -> bool {
        self.args.id.as_ref().is_none_or(|id| id == container)
    }

    /// Tells what is in the log from a place on, a part at a time.
    fn tell_from(&mut self, root: &Path, at: &mut Position) -> Result<(), Box<dyn Error>> {
        loop {
            let part = audit::read(root, *at)?;
            let is_all = part.end == *at;
            *at = part.end;
            self.tell_unread(&part);
            let wanted = part.records.into_iter();
            let wanted: Vec<_> = wanted.filter(|one| self.wants(&one.container)).collect();
            self.tell(&wanted)?;
            let gaps = part.counted.into_iter();
            let gaps: Vec<_> = gaps.filter(|one| self.wants(&one.container)).collect();
            self.gaps.extend(gaps);
            let too_many = self.gaps.len().saturating_sub(GAPS_MAX);
            self.gaps.drain(..too_many);
            if is_all {
                return self.refresh(root);
            }
        }
    }

    /// Says on stderr how much of the log cannot be read; in a view it has a place of its own.
    fn tell_unread(&mut self, part: &Part) {
        self.unread += part.unread;
        match (&mut self.output, part.torn()) {
            (_, None) => {}
            (Output::View(view), _) => view.set_unread(self.unread),
            (_, Some(said)) => eprintln!("{said}"),
        }
    }

    fn tell(&mut self, records: &[Record]) -> Result<(), Box<dyn Error>> {
        if let Some(file) = &mut self.file {
            file.append(records)?;
        }
        if let Some(journal) = &self.journal {
            records.iter().try_for_each(|record| journal.send(record))?;
        }
        if let Some(server) = &mut self.server {
            records.iter().for_each(|record| server.totals.add(record));
        }
        let mut out = io::stdout().lock();
        match &mut self.output {
            Output::Elsewhere => {}
            Output::Table(table) => out.write_all(table.rows(records).as_bytes())?,
            Output::View(view) => records.iter().for_each(|record| view.add(record)),
            Output::Lines => {
                for record in records {
                    writeln!(out, "{record}")?;
                }
            }
            Output::Json => {
                for record in records {
                    serde_json::to_writer(&mut out, record).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }

    /// Draws the view again, if there is one and it has changed.
    fn refresh(&mut self, root: &Path) -> Result<(), Box<dyn Error>> {
        if let Output::View(view) = &mut self.output {
            let missing = audit::living(root)?.into_iter().chain(self.gaps.clone());
            let id = self.args.id.as_ref();
            view.set_missing(missing.filter(|one| id.is_none_or(|id| *id == one.container)));
            let mut out = io::stdout().lock();
            out.write_all(view.draw_if_changed().as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }

    /// Says what is missing in the log: on stderr, or as JSON lines.
    fn tell_gaps(&mut self, root: &Path) -> Result<(), Box<dyn Error>> {
        let living = audit::living(root)?;
        let all = self.gaps.iter().chain(&living);
        for gap in all.filter(|one| one.has_gaps() && self.wants(&one.container)) {
            match self.output {
                Output::Json => {
                    let line = serde_json::json!({ "counters": gap });
                    writeln!(io::stdout(), "{line}")?;
                }
                Output::Elsewhere => {}
                _ => eprintln!("{gap}"),
            }
        }
        Ok(())
    }
}

/// Containers with gaps that are remembered: the last ones.
const GAPS_MAX: usize = 256;

/// Sleeps until the ring buffer or a client has something, but never longer than [`LOOK_AGAIN`].
fn wait(events: Option<&Events>, server: Option<&Server>) -> Result<(), Box<dyn Error>> {
    let mut waiting: Vec<PollFd<'_>> = Vec::new();
    waiting.extend(events.map(|events| PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN)));
    if let Some(server) = server {
        waiting.extend(server.waits_for());
    }
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK_AGAIN.subsec_nanos()),
    };
    match poll(&mut waiting, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
