//! A running service, and the tools that are its clients.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vmstorage::serve::control::Request;
use vmstorage::serve::{Client, ClientError};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves `d.raw`, with its changes tracked.
pub(crate) const TRACKED: [&str; 6] = [
    "d.raw",
    "--listen",
    "unix:nbd",
    "--control",
    "control",
    "--track",
];

/// A directory with disks and what serves them.
pub(crate) struct World {
    dir: TempDir,
}

/// The program, serving, until it is stopped or dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) ready: String,
    control: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sparse raw disk.
    pub(crate) fn raw(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    /// Serves what the configuration says, which has `control` in it already.
    pub(crate) fn serve_config(&self, disks: &Value) -> Service {
        self.write_config(disks);
        self.serve(&["--config", "config.json"])
    }

    pub(crate) fn write_config(&self, disks: &Value) {
        let config = serde_json::json!({
            "control": "control", "scratch": ".", "disks": disks,
        });
        let text = serde_json::to_string_pretty(&config).unwrap();
        std::fs::write(self.path("config.json"), text).unwrap();
    }

    /// Serves with these arguments, in the directory.
    pub(crate) fn serve(&self, args: &[&str]) -> Service {
        let mut child = self.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("ready: "), "it says `{ready}`");
        Service {
            child,
            ready,
            control: self.path("control"),
        }
    }

    /// The command that serves.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmstorage"));
        command.arg("serve").args(args).current_dir(self.dir.path());
        command.env("VMSTORAGE_LOG", "error").stdin(Stdio::null());
        command
    }

    pub(crate) fn uri(&self, socket: &str, export: &str) -> String {
        format!(
            "nbd+unix:///{export}?socket={}",
            self.path(socket).display()
        )
    }
}

impl Service {
    pub(crate) fn ask(&self, request: Value) -> Value {
        self.try_ask(request.clone())
            .unwrap_or_else(|error| panic!("{request}: {error}"))
    }

    pub(crate) fn try_ask(&self, request: Value) -> Result<Value, ClientError> {
        let request: Request = serde_json::from_value(request).unwrap();
        Client::connect(&self.control)?.ask(&request)
    }

    /// The report of a disk.
    pub(crate) fn disk(&self, name: &str) -> Value {
        let status = self.ask(serde_json::json!({ "command": "status" }));
        let disks = status["disks"].as_array().unwrap();
        let found = disks.iter().find(|disk| disk["name"] == name);
        found
            .unwrap_or_else(|| panic!("no `{name}` in {status}"))
            .clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        run("kill", &["-s", name, &pid]);
    }

    /// Kills it as a crash would.
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in order.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        self.wait();
    }

    /// Waits until it has ended in order.
    pub(crate) fn wait(mut self) {
        wait_for(|| self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Waits until something is so, for as long as a test may take.
#[track_caller]
pub(crate) fn wait_for(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a tool that has to succeed, and answers what it prints.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = output(program, args);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a tool for at most a minute.
pub(crate) fn output(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command
        .arg(PATIENCE.as_secs().to_string())
        .arg(program)
        .args(args);
    command.stdin(Stdio::null());
    command
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"))
}

/// Runs a program of nbdsh.
pub(crate) fn nbdsh(script: &str) -> Child {
    let mut command = Command::new("timeout");
    command
        .arg(PATIENCE.as_secs().to_string())
        .args(["nbdsh", "-c", script]);
    // The module is the system's Python's; another one may come first in the path.
    command.env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("nbdsh is needed: {error}"))
}

/// Writes a pattern through NBD: `-P 7 64k 4k`.
pub(crate) fn write(uri: &str, what: &[&str]) {
    let commands: Vec<String> = what.iter().map(|what| format!("write {what}")).collect();
    let mut args = vec!["-f", "raw"];
    for command in &commands {
        args.extend(["-c", command.as_str()]);
    }
    args.extend(["-c", "flush", uri]);
    run("qemu-io", &args);
}

/// The parts that changed since a point, as nbdinfo sees them.
pub(crate) fn changes(uri: &str, context: &str) -> Vec<(u64, u64)> {
    let map = run("nbdinfo", &["--json", &format!("--map={context}"), uri]);
    let map: Value = serde_json::from_str(&map).unwrap();
    let number = |entry: &Value, key: &str| entry[key].as_u64().unwrap();
    let entries = map.as_array().unwrap().iter();
    let changed = entries.filter(|entry| number(entry, "type") == 1);
    changed
        .map(|entry| (number(entry, "offset"), number(entry, "length")))
        .collect()
}

/// Copies an export to a file.
pub(crate) fn pull(uri: &str, to: &Path) -> Vec<u8> {
    run("nbdcopy", &[uri, to.to_str().unwrap()]);
    std::fs::read(to).unwrap()
}
