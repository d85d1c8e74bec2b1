//! `reeve run`: a container that takes actions while it runs, or one that is run to its end.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::bundle::Config;
use crate::error::Context as _;
use crate::outcome::{Outcome, Report};
use crate::{Error, fixture, host, tools};

/// A container that has not been started: its bundle and its policy. Dropping it removes both.
#[derive(Debug)]
pub struct Container {
    id: String,
    directory: PathBuf,
    policy: Option<PathBuf>,
    config: Config,
}

impl Container {
    /// Makes the bundle of a container whose id starts with `name`.
    pub fn new(name: &str, mut config: Config) -> Result<Self, Error> {
        let id = format!(
            "{}-{}-{}",
            name.replace('_', "-"),
            std::process::id(),
            fixture::unique()
        );
        let directory = fixture::base().join(format!("reeve-test-bundle-{id}"));
        fs::create_dir_all(&directory).call("mkdir", &directory)?;
        config.env.push(marker(&id));
        let container = Self {
            id,
            directory,
            policy: None,
            config,
        };
        container.config.write(&container.directory)?;
        Ok(container)
    }

    /// Puts it under a policy.
    pub fn with_policy(mut self, text: impl ToString) -> Result<Self, Error> {
        let path = self.directory.join("policy.yaml");
        fs::write(&path, text.to_string()).call("write", &path)?;
        self.policy = Some(path);
        Ok(self)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory of its bundle.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its root file system, as the host sees it.
    pub fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// What its `config.json` says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file of its policy.
    pub fn policy_path(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// `reeve run` for it, with no standard stream set up.
    pub fn command(&self) -> Result<Command, Error> {
        let mut command = tools::reeve()?;
        command.arg("run").arg("--bundle").arg(&self.directory);
        if let Some(policy) = &self.policy {
            command.arg("--policy").arg(policy);
        }
        command.arg(&self.id);
        Ok(command)
    }

    /// Runs it to its end with `input` as its standard input.
    pub fn run(&self, input: Stdio) -> Result<Finished, Error> {
        let output = self
            .command()?
            .stdin(input)
            .output()
            .call("reeve run", &self.id)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Finished {
            status: output.status,
            stdout,
            stderr,
        })
    }

    /// Starts it with a probe as its entry process that takes actions one by one.
    pub fn start(self) -> Result<Running, Error> {
        let messages = self.directory.join("stderr");
        let stderr = File::create(&messages).call("create", &messages)?;
        self.start_with_stderr(&stderr)
    }

    /// Starts it like [`Self::start`], with `stderr` as its descriptor 2.
    pub fn start_with_stderr(self, stderr: &File) -> Result<Running, Error> {
        let stderr = stderr.try_clone().call("dup", &self.directory)?;
        let mut child = self
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .call("reeve run", &self.id)?;
        let lines = child.stdout.take().map(BufReader::new);
        Ok(Running {
            container: self,
            child,
            lines,
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What is left is in a machine that is thrown away.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The variable in a container's environment that tells its processes from all others.
pub fn marker(id: &str) -> String {
    format!("REEVE_TEST_CONTAINER={id}")
}

/// A container that was run to its end.
#[derive(Debug)]
pub struct Finished {
    /// Exit status of `reeve run`.
    pub status: ExitStatus,
    /// What the container (and `reeve`) printed.
    pub stdout: String,
    /// What either complained about.
    pub stderr: String,
}

impl Finished {
    /// The lines of a probe's output.
    pub fn reports(&self) -> Vec<Report> {
        self.stdout.lines().filter_map(Report::parse).collect()
    }
}

/// A running container whose entry process is `probe script`.
#[derive(Debug)]
pub struct Running {
    container: Container,
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Has the entry process try an action (words separated by spaces) and waits for what comes of
    /// it.
    pub fn attempt(&mut self, action: impl AsRef<str>) -> Result<Outcome, Error> {
        let action = action.as_ref();
        self.send(action)?;
        self.receive(action)
    }

    /// Asks for an action without waiting for it.
    pub fn send(&mut self, action: &str) -> Result<(), Error> {
        if let Some(stdin) = self.child.stdin.as_mut() {
            // A container that has ended shows in `receive`, with its messages.
            let _ = stdin
                .write_all(format!("{action}\n").as_bytes())
                .and_then(|()| stdin.flush());
        }
        Ok(())
    }

    /// Waits for the result of an action that was sent.
    pub fn receive(&mut self, action: &str) -> Result<Outcome, Error> {
        let mut line = String::new();
        if let Some(lines) = self.lines.as_mut() {
            lines
                .read_line(&mut line)
                .call("read", self.container.id())?;
        }
        match Report::parse(&line) {
            Some(report) => Ok(report.outcome),
            None => Err(self.no_answer(action, line)),
        }
    }

    fn no_answer(&mut self, action: &str, said: String) -> Error {
        if said.is_empty() {
            drop(self.child.stdin.take());
            std::thread::sleep(Duration::from_millis(300));
        }
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "still running".to_owned(),
        };
        Error::NoAnswer {
            action: action.to_owned(),
            said,
            status,
            messages: self.messages(),
        }
    }

    /// What `reeve run` and the container printed on standard error.
    pub fn messages(&self) -> String {
        fs::read_to_string(self.container.directory.join("stderr")).unwrap_or_default()
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        self.container.id()
    }

    /// The container as it was made.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Process id of `reeve run`.
    pub fn runtime_pid(&self) -> u32 {
        self.child.id()
    }

    /// Process id of the container's entry process, on the host.
    pub fn entry_pid(&self) -> Result<u32, Error> {
        let wanted = marker(self.id());
        host::wait_until("the entry process", Duration::from_secs(30), || {
            host::processes_with_variable(&wanted).into_iter().min()
        })
    }

    /// Kills `reeve run` itself, and reaps it.
    pub fn kill_runtime(&mut self) -> Result<(), Error> {
        self.child.kill().call("kill", self.container.id())?;
        self.child.wait().call("wait", self.container.id())?;
        Ok(())
    }

    /// Ends the entry process by closing its input, and waits for `reeve run` to clean up.
    pub fn finish(mut self) -> Result<Finished, Error> {
        drop(self.child.stdin.take());
        let mut stdout = String::new();
        if let Some(mut lines) = self.lines.take() {
            lines
                .read_to_string(&mut stdout)
                .call("read", self.container.id())?;
        }
        let status = self.child.wait().call("wait", self.container.id())?;
        Ok(Finished {
            status,
            stdout,
            stderr: self.messages(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It hangs: the test has failed already, the next one shall not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
