//! Watches one running machine until it ends.
//!
//! One loop owns all state: readers turn the three serial ports into [`Event`]s, the loop applies
//! them one by one, and a deadline bounds every phase.

use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use guest_init::{Outcome, Report};

use super::markers::{self, Trouble};
use super::screen::{Screen, Show};

/// How long the console is still read after a fatal line, for the trace that follows it.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// How long a machine may take to switch off after its verdict.
const POWER_OFF: Duration = Duration::from_secs(30);

/// How long the emulator may take to connect its ports.
const CONNECT: Duration = Duration::from_secs(20);

/// What the serial ports deliver.
enum Event {
    Console(String),
    Output(Vec<u8>),
    Report(String),
}

/// How long each phase may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// From start to the init.
    pub(crate) boot: Duration,
    /// From the init to its verdict.
    pub(crate) job: Duration,
}

/// What is wanted of a start.
pub(crate) struct Mode {
    /// What is shown of the job's output as it comes.
    pub(crate) show: Show,
    /// End the machine as soon as the init answers.
    pub(crate) until_ready: bool,
}

/// What became of one start of the machine.
#[derive(Debug)]
pub(crate) enum End {
    /// The init was not reached; why.
    NoBoot(String),
    /// The init sent a verdict.
    Verdict(Outcome, Duration),
    /// The init was reached, and then the kernel died or the machine ended; why.
    Died(String),
    /// The init was reached and no verdict came in time.
    Overdue,
}

/// What was seen of one start.
pub(crate) struct Seen {
    /// How it ended.
    pub(crate) end: End,
    /// Time until the init was reached.
    pub(crate) boot: Duration,
    /// What the job printed.
    pub(crate) output: Vec<u8>,
    /// What the kernel printed.
    pub(crate) console: Vec<String>,
}

/// Listens on the three ports' sockets; must exist before the emulator starts.
pub(crate) struct Listeners([UnixListener; 3]);

impl Listeners {
    /// Binds the sockets at `paths`.
    pub(crate) fn bind(paths: &[impl AsRef<Path>; 3]) -> Result<Self> {
        let bind = |path: &Path| {
            let listener = UnixListener::bind(path);
            let listener = listener.with_context(|| format!("bind `{}`", path.display()))?;
            listener
                .set_nonblocking(true)
                .context("make a socket non-blocking")?;
            anyhow::Ok(listener)
        };
        let [a, b, c] = paths;
        Ok(Listeners([
            bind(a.as_ref())?,
            bind(b.as_ref())?,
            bind(c.as_ref())?,
        ]))
    }

    /// Waits for the emulator to connect all ports and starts their readers.
    fn connect(self, child: &mut Child) -> Result<Receiver<Event>> {
        let [console, output, reports] = self.0;
        let start = Instant::now();
        let mut accept = |listener: &UnixListener| accept(listener, child, start);
        let (console, output, reports) = (accept(&console)?, accept(&output)?, accept(&reports)?);
        let (sender, receiver) = mpsc::channel();
        read_lines(console, sender.clone(), Event::Console);
        read_lines(reports, sender.clone(), Event::Report);
        thread::spawn(move || read_bytes(output, &sender));
        Ok(receiver)
    }
}

fn accept(listener: &UnixListener, child: &mut Child, start: Instant) -> Result<UnixStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream
                    .set_nonblocking(false)
                    .context("make a socket blocking")?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("accept the emulator's connection"),
        }
        if let Some(status) = child.try_wait().context("wait for the emulator")? {
            bail!("the emulator ended at its start with {status}");
        }
        if start.elapsed() > CONNECT {
            bail!("the emulator did not connect its serial ports");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn read_bytes(mut stream: UnixStream, sender: &Sender<Event>) {
    let mut buffer = [0; 8192];
    // A read error is the end of the machine, as end of file is.
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if sender
            .send(Event::Output(buffer[..count].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

fn read_lines(mut stream: UnixStream, sender: Sender<Event>, event: fn(String) -> Event) {
    thread::spawn(move || {
        let mut pending = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            pending.extend_from_slice(&buffer[..count]);
            while let Some(end) = pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(event(line)).is_err() {
                    return;
                }
            }
        }
        if !pending.is_empty() {
            // The receiver is gone only when nobody wants the line any more.
            let _unwanted = sender.send(event(String::from_utf8_lossy(&pending).into_owned()));
        }
    });
}

/// Where a machine is in its life.
enum Phase {
    Booting,
    Running,
    Ending(End),
}

/// Watches the machine of `child` to its end, and makes sure that it ends.
pub(crate) fn watch(
    mut child: Child,
    listeners: Listeners,
    limits: Limits,
    mode: Mode,
) -> Result<Seen> {
    let events = listeners.connect(&mut child);
    let events = match events {
        Ok(events) => events,
        Err(error) => {
            kill(&mut child)?;
            return Err(error);
        }
    };
    let start = Instant::now();
    let mut watch = Watch {
        phase: Phase::Booting,
        deadline: start + limits.boot,
        start,
        limits,
        until_ready: mode.until_ready,
        screen: Screen::new(mode.show),
        boot: Duration::ZERO,
        output: Vec::new(),
        console: Vec::new(),
    };
    let watched = watch.until_end(&events);
    kill(&mut child)?;
    watched?;
    // What was under way when the machine ended.
    for event in events.iter() {
        watch.apply(event)?;
    }
    watch.screen.finish()?;
    Ok(watch.finish())
}

/// Ends the emulator if it has not ended by itself.
fn kill(child: &mut Child) -> Result<()> {
    // Fails only when it ended already, which is what is wanted.
    let _ended = child.kill();
    child.wait().context("wait for the emulator").map(drop)
}

struct Watch {
    phase: Phase,
    deadline: Instant,
    start: Instant,
    limits: Limits,
    until_ready: bool,
    screen: Screen,
    boot: Duration,
    output: Vec<u8>,
    console: Vec<String>,
}

impl Watch {
    /// Applies events until there are no more, or the deadline of the phase has passed.
    fn until_end(&mut self, events: &Receiver<Event>) -> Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => self.apply(event)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Console(line) => {
                if markers::trouble(&line) == Some(Trouble::Fatal) {
                    self.die(&line);
                }
                self.console.push(line);
                Ok(())
            }
            Event::Output(bytes) => {
                self.screen.write(&bytes)?;
                self.output.extend_from_slice(&bytes);
                Ok(())
            }
            Event::Report(line) => self.report(&line),
        }
    }

    fn report(&mut self, line: &str) -> Result<()> {
        let report = line
            .parse()
            .with_context(|| format!("read the init's report `{line}`"))?;
        match (&self.phase, report) {
            (Phase::Booting, Report::Ready { .. }) => {
                self.boot = self.start.elapsed();
                self.phase = Phase::Running;
                let job = if self.until_ready {
                    Duration::ZERO
                } else {
                    self.limits.job
                };
                self.deadline = Instant::now() + job;
            }
            (Phase::Booting, Report::Verdict { outcome, .. }) => {
                self.end(
                    End::NoBoot(format!("the init failed: {outcome}")),
                    POWER_OFF,
                );
            }
            (Phase::Running, Report::Verdict { outcome, elapsed }) => {
                self.end(End::Verdict(outcome, elapsed), POWER_OFF);
            }
            // After a fatal line the init may still talk; the first end stands.
            (Phase::Ending(_), _) => {}
            (Phase::Running, Report::Ready { .. }) => bail!("the init reported ready twice"),
        }
        Ok(())
    }

    /// The kernel printed a fatal `line`.
    fn die(&mut self, line: &str) {
        match self.phase {
            Phase::Booting => self.end(End::NoBoot(line.to_owned()), AFTERMATH),
            Phase::Running => self.end(End::Died(line.to_owned()), AFTERMATH),
            Phase::Ending(End::Verdict(..)) => {
                self.end(End::Died(format!("after the verdict: {line}")), AFTERMATH);
            }
            Phase::Ending(_) => {}
        }
    }

    fn end(&mut self, end: End, patience: Duration) {
        self.phase = Phase::Ending(end);
        self.deadline = Instant::now() + patience;
    }

    fn finish(self) -> Seen {
        let over = Instant::now() >= self.deadline;
        let end = match self.phase {
            Phase::Ending(end) => end,
            Phase::Booting if over => End::NoBoot("the init was not reached in time".to_owned()),
            Phase::Booting => End::NoBoot("the machine ended before the init".to_owned()),
            Phase::Running if over => End::Overdue,
            Phase::Running => End::Died("the machine ended without a verdict".to_owned()),
        };
        Seen {
            end,
            boot: self.boot,
            output: self.output,
            console: self.console,
        }
    }
}
