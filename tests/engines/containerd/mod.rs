//! containerd with its own shim for runc, which is given the runtime under test as its binary.

mod confined;
mod exec;
mod life;
mod running;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use reeve_tests::host;

use crate::machine;
use crate::said::{self, Said};

const ADDRESS: &str = "/run/engines-containerd.sock";

/// How long the daemon may take to answer; emulation is slow.
const START: Duration = Duration::from_secs(60);

/// Time between two looks at a task that is to end.
const LOOK: Duration = Duration::from_millis(100);

fn log() -> PathBuf {
    machine::directory().join("containerd.log")
}

/// The end of the daemon's log, for a test that failed.
fn log_end() -> String {
    let text = fs::read_to_string(log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(12)..];
    format!("--- containerd\n{}", last.join("\n"))
}

/// Starts the daemon when it is first needed. It ends with the machine.
fn ensure_daemon() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let config = machine::directory().join("containerd.toml");
        let root = machine::directory().join("containerd");
        let text = format!(
            "version = 2\n\
             root = \"{}\"\n\
             state = \"/run/engines-containerd\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n\
             address = \"{ADDRESS}\"\n",
            root.display()
        );
        fs::write(&config, text).expect("write containerd's configuration");
        let log = File::create(log()).expect("create its log");
        let mut daemon = Command::new("containerd");
        daemon.arg("--config").arg(&config).stdin(Stdio::null());
        daemon.stdout(Stdio::null()).stderr(log);
        daemon.spawn().expect("start containerd");
        let ready = || Path::new(ADDRESS).exists().then_some(());
        host::wait_until("containerd's socket", START, ready).expect("containerd");
    });
}

fn command(args: &[&str]) -> Command {
    ensure_daemon();
    let mut command = Command::new("ctr");
    command.args(["--address", ADDRESS]).args(args);
    command
}

/// Runs a command of `ctr`.
fn ctr(args: &[&str]) -> Said {
    said::run_with(&command(args), log_end)
}

/// The same from a terminal.
fn ctr_in_terminal(args: &[&str]) -> Said {
    said::run_in_terminal(&command(args), log_end)
}

/// The arguments of `ctr run` for a container with this name, options and command.
fn run_args(name: &str, options: &[&str], argv: &[&str]) -> Vec<String> {
    let runtime = machine::runtime().to_string_lossy().into_owned();
    let rootfs = machine::rootfs().to_string_lossy().into_owned();
    let mut args = vec!["run", "--runc-binary", &runtime, "--env=PATH=/bin"];
    args.extend(options);
    args.extend(["--rootfs", &rootfs, name]);
    args.extend(argv);
    args.into_iter().map(str::to_owned).collect()
}

/// `ctr run --rm` with `options` and this shell script.
fn run(options: &[&str], script: &str) -> Said {
    let name = machine::unique("task");
    let options = [&["--rm"], options].concat();
    let args = run_args(&name, &options, &["sh", "-c", script]);
    ctr(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A task in the background, removed with its container when dropped.
struct Task {
    name: String,
}

impl Task {
    /// `ctr run --detach` with `options` and this shell script.
    #[track_caller]
    fn start(options: &[&str], script: &str) -> Self {
        let name = machine::unique("task");
        let options = [&["--detach"], options].concat();
        let args = run_args(&name, &options, &["sh", "-c", script]);
        ctr(&args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        Task { name }
    }

    /// One that only waits, and ends at the first SIGTERM.
    #[track_caller]
    fn waiting() -> Self {
        Self::start(&[], "trap 'exit 4' TERM; sleep 1000 & wait")
    }

    /// One that is there for the whole run, for tests that leave it as it was.
    #[track_caller]
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Task> = OnceLock::new();
        SHARED.get_or_init(Self::waiting)
    }

    /// Runs a command of `ctr tasks` about it: `words`, the name, `rest`.
    fn ctr(&self, words: &[&str], rest: &[&str]) -> Said {
        ctr(&self.args(words, rest))
    }

    fn args<'a>(&'a self, words: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["tasks"];
        args.extend(words);
        args.push(&self.name);
        args.extend(rest);
        args
    }

    /// Runs a command in it.
    fn exec(&self, options: &[&str], argv: &[&str]) -> Said {
        let id = machine::unique("exec");
        let mut words = vec!["exec", "--exec-id", &id];
        words.extend(options);
        self.ctr(&words, argv)
    }

    /// Its status, as containerd lists it.
    #[track_caller]
    fn status(&self) -> String {
        let said = ctr(&["tasks", "list"]).ok();
        let words: Vec<Vec<&str>> = said.lines().iter().map(|line| words(line)).collect();
        let row = words.iter().find(|row| row.first() == Some(&&*self.name));
        row.and_then(|row| row.last())
            .map_or_else(|| "absent".to_owned(), |status| (*status).to_owned())
    }

    /// Waits until it has this status.
    #[track_caller]
    fn wait_for(&self, status: &str) {
        for _ in 0..100 {
            if self.status() == status {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!(
            "`{}` is {} and not {status}\n{}",
            self.name,
            self.status(),
            log_end()
        );
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

impl Drop for Task {
    fn drop(&mut self) {
        // Part of no test: what is shown about removal is shown by tests that look.
        let _removed = self.ctr(&["delete", "--force"], &[]);
        let _removed = ctr(&["containers", "delete", &self.name]);
    }
}
