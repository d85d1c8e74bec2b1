//! The serial ports to the runner.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use guest_init::{Outcome, Report, layout};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use crate::error::{Context as _, Error};

/// A serial port that carries bytes as they are.
pub(crate) struct Port {
    path: &'static str,
    file: File,
}

impl Port {
    /// Opens `path` for writing, without line discipline and without making it a terminal of ours.
    pub(crate) fn open(path: &'static str) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(path)
            .call(|| format!("open `{path}`"))?;
        let mut termios = tcgetattr(&file).call(|| format!("tcgetattr `{path}`"))?;
        termios.make_raw();
        tcsetattr(&file, OptionalActions::Now, &termios).call(|| format!("tcsetattr `{path}`"))?;
        Ok(Port { path, file })
    }

    /// Writes all of `bytes`; blocks while the runner is behind.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .call(|| format!("write to `{}`", self.path))
    }

    /// Waits until everything written has left the port.
    pub(crate) fn drain(&self) -> Result<(), Error> {
        tcdrain(&self.file).call(|| format!("tcdrain `{}`", self.path))
    }
}

/// Sends one report line.
pub(crate) fn send(report: &Report) -> Result<(), Error> {
    let mut port = Port::open(layout::REPORT_PORT)?;
    port.write(format!("{report}\n").as_bytes())?;
    port.drain()
}

/// Reports that the init itself failed; falls back on the console when the port is not there.
pub(crate) fn report_failure(error: &Error) {
    eprintln!("guest-init: {error}");
    let outcome = Outcome::Failed(error.to_string());
    if let Err(second) = send(&Report::Verdict {
        outcome,
        elapsed: Duration::ZERO,
    }) {
        eprintln!("guest-init: {second}");
    }
}
