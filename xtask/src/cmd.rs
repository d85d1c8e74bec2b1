//! Child processes, with errors that name the command.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// A command to run; prints as a shell would take it.
pub(crate) struct Cmd {
    command: Command,
    line: String,
}

impl Cmd {
    /// A command of `program`, found through `PATH`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let line = program.as_ref().to_string_lossy().into_owned();
        Cmd {
            command: Command::new(program),
            line,
        }
    }

    /// A command that needs root: through `sudo` when this process is not root.
    pub(crate) fn root(program: &str) -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            return Ok(Cmd::new(program));
        }
        if !found("sudo") {
            bail!(
                "`{program}` needs root here, and there is no `sudo`\n\
                 help: run `cargo xtask setup` as root"
            );
        }
        Ok(Cmd::new("sudo").arg(program))
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let arg = arg.as_ref();
        let text = arg.to_string_lossy();
        self.line.push(' ');
        if text.is_empty() || text.contains([' ', '\'', '"', '$', '*', '\u{1f}']) {
            self.line.push_str(&format!("{text:?}"));
        } else {
            self.line.push_str(&text);
        }
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Cmd::arg)
    }

    /// Sets one variable of the environment.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes one variable out of the environment.
    pub(crate) fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Sets the working directory.
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// The command as text.
    pub(crate) fn line(&self) -> &str {
        &self.line
    }

    /// Runs it with this process's output; an error unless it succeeds.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("run `{}`", self.line))?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.line);
        }
        Ok(())
    }

    /// Runs it with this process's output; whether it succeeded.
    pub(crate) fn succeeds(mut self) -> Result<bool> {
        let status = self.command.stdin(Stdio::null()).status();
        Ok(status
            .with_context(|| format!("run `{}`", self.line))?
            .success())
    }

    /// Runs it silently; its output is part of the error when it fails.
    pub(crate) fn quiet(self) -> Result<()> {
        self.read().map(drop)
    }

    /// Runs it silently and returns its standard output.
    pub(crate) fn read(self) -> Result<String> {
        let line = self.line.clone();
        let output = self.output()?;
        if !output.status.success() {
            let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.trim().is_empty() {
                said = String::from_utf8_lossy(&output.stdout).into_owned();
            }
            bail!(
                "`{line}` ended with {}\n{}",
                output.status,
                last_lines(&said, 30)
            );
        }
        String::from_utf8(output.stdout).with_context(|| format!("output of `{line}`"))
    }

    /// Runs it with standard error shown and returns its standard output, whatever its status.
    pub(crate) fn read_shown(mut self) -> Result<(String, bool)> {
        self.command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = self
            .command
            .output()
            .with_context(|| format!("run `{}`", self.line))?;
        let text = String::from_utf8(output.stdout);
        let text = text.with_context(|| format!("output of `{}`", self.line))?;
        Ok((text, output.status.success()))
    }

    /// Runs it with its output shown as it comes, and returns what it wrote to standard output.
    pub(crate) fn tee(mut self) -> Result<(String, bool)> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("run `{}`", self.line))?;
        let mut text = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            let mut buffer = [0; 8192];
            loop {
                let count = stdout.read(&mut buffer);
                let count = count.with_context(|| format!("read the output of `{}`", self.line))?;
                if count == 0 {
                    break;
                }
                io::stdout()
                    .write_all(&buffer[..count])
                    .context("write to standard output")?;
                text.extend_from_slice(&buffer[..count]);
            }
        }
        let status = child
            .wait()
            .with_context(|| format!("wait for `{}`", self.line))?;
        Ok((
            String::from_utf8_lossy(&text).into_owned(),
            status.success(),
        ))
    }

    fn output(mut self) -> Result<Output> {
        self.command.stdin(Stdio::null());
        self.command
            .output()
            .with_context(|| format!("run `{}`", self.line))
    }

    /// The command for a caller that spawns it by itself.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }
}

/// True when `program` is in `PATH` or in one of the directories for system programs.
pub(crate) fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .any(|dir| dir.join(program).is_file())
}

/// `PATH` with the directories for system programs at its end; Debian leaves them out for users.
pub(crate) fn full_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
