//! Shows a job's output as it comes.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result};

/// What is shown of a job's output.
#[derive(Clone)]
pub(crate) enum Show {
    /// Nothing.
    Nothing,
    /// Every byte, at once.
    Plain,
    /// Line by line with this name and the seconds since the start before each, for machines that
    /// run at the same time.
    Named(String),
}

/// One job's output on this program's standard output.
pub(crate) struct Screen {
    show: Show,
    start: Instant,
    /// A line without its end yet.
    pending: Vec<u8>,
    /// Whether what was shown ends in the middle of a line.
    open_line: bool,
}

impl Screen {
    /// Nothing was shown yet.
    pub(crate) fn new(show: Show) -> Self {
        Screen {
            show,
            start: Instant::now(),
            pending: Vec::new(),
            open_line: false,
        }
    }

    /// Shows more of the output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let text = match &self.show {
            Show::Nothing => return Ok(()),
            Show::Plain => bytes.to_vec(),
            Show::Named(name) => {
                let prefix = format!("{name} {:>3}s | ", self.start.elapsed().as_secs());
                self.pending.extend_from_slice(bytes);
                let mut lines = Vec::new();
                while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                    lines.extend_from_slice(prefix.as_bytes());
                    lines.extend(self.pending.drain(..=end));
                }
                lines
            }
        };
        if let Some(last) = text.last() {
            self.open_line = *last != b'\n';
        }
        let mut out = io::stdout().lock();
        out.write_all(&text).context("write the job's output")?;
        out.flush().context("write the job's output")
    }

    /// Ends the last line.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.open_line || !self.pending.is_empty() {
            self.write(b"\n")?;
        }
        Ok(())
    }
}
