//! The QEMU Machine Protocol, as far as a backup job needs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long an answer or an event may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A monitor's connection.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects and leaves the negotiation of capabilities behind.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connect to `{}`", socket.display()))?;
        stream
            .set_read_timeout(Some(LIMIT))
            .context("set a time limit")?;
        let mut monitor = Monitor {
            stream: BufReader::new(stream),
        };
        monitor.next().context("read the greeting")?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command; its answer.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        let stream = self.stream.get_mut();
        writeln!(stream, "{request}").with_context(|| format!("send `{command}`"))?;
        loop {
            let mut message = self.next()?;
            if let Some(error) = message.get("error") {
                bail!("`{command}` failed: {error}");
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Waits until a job has ended well, and dismisses it.
    pub(crate) fn wait_for_job(&mut self, id: &str) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let message = self.next()?;
            let data = &message["data"];
            if message["event"] == "BLOCK_JOB_COMPLETED" && data["device"] == id {
                if let Some(error) = data.get("error") {
                    bail!("the job `{id}` failed: {error}");
                }
                return Ok(());
            }
        }
        bail!("the job `{id}` does not end")
    }

    fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self
            .stream
            .read_line(&mut line)
            .context("read from the monitor")?;
        if read == 0 {
            bail!("the monitor closed the connection");
        }
        serde_json::from_str(&line).with_context(|| format!("parse `{}`", line.trim()))
    }
}
