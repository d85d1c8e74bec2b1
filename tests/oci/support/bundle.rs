//! A bundle with a container of its own: id, state directory, cgroup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reeve_tests::outcome::Outcome;
use reeve_tests::{fixture, rootfs, tools};
use serde_json::{Value, json};

use super::command::{self, Ended, Started};
use super::{Seen, leftovers};

/// Below which cgroup the containers are.
pub(crate) const CGROUP: &str = "reeve-oci";

/// A bundle and the container that is made from it. Whatever is left goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Name of the container; no other has it.
    pub(crate) id: String,
    /// The bundle's directory, with all else that belongs to the test.
    pub(crate) directory: PathBuf,
    /// `config.json`, written before each command that reads it.
    pub(crate) config: Value,
    /// Where the runtime keeps its state.
    pub(crate) root: PathBuf,
}

impl Bundle {
    /// An ordinary container: all usual namespaces and mounts, a few capabilities, root.
    pub(crate) fn new() -> Self {
        let id = format!("oci-{}-{}", std::process::id(), fixture::unique());
        let directory = fixture::base().join(format!("reeve-{id}"));
        rootfs::make(&directory.join("rootfs")).expect("make a root file system");
        let root = directory.join("state");
        fs::create_dir(&root).expect("make a directory for the state");
        let config = default_config(&id);
        Self {
            id,
            directory,
            config,
            root,
        }
    }

    /// One that does these actions of the probe.
    pub(crate) fn doing(actions: &[&str]) -> Self {
        Self::new().actions(actions)
    }

    /// One that waits until it is told to end.
    pub(crate) fn waiting() -> Self {
        Self::doing(&["block 15", "until 15"])
    }

    /// The actions of the entry process.
    pub(crate) fn actions(self, actions: &[&str]) -> Self {
        self.set("process.args", json!(script(actions)))
    }

    /// Sets a key, given as a path with dots; objects on the way are made.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.change(key, value);
        self
    }

    /// As [`Bundle::set`], for one that is in use.
    pub(crate) fn change(&mut self, key: &str, value: Value) {
        let mut at = &mut self.config;
        for name in key.split('.') {
            at = match name.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[name],
            };
        }
        *at = value;
    }

    /// Adds to a list; one that is missing is made.
    pub(crate) fn add(mut self, key: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for name in key.split('.') {
            at = &mut at[name];
        }
        match at.as_array_mut() {
            Some(list) => list.push(value),
            None => *at = json!([value]),
        }
        self
    }

    /// Takes a key out.
    pub(crate) fn without(mut self, key: &str) -> Self {
        let (above, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut at = &mut self.config;
        for name in above.split('.').filter(|name| !name.is_empty()) {
            at = &mut at[name];
        }
        if let Some(object) = at.as_object_mut() {
            object.remove(name);
        }
        self
    }

    /// Adds a mount.
    pub(crate) fn mount(self, at: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let mount =
            json!({ "destination": at, "type": kind, "source": source, "options": options });
        self.add("mounts", mount)
    }

    /// Adds a namespace, or gives the one that is there a path.
    pub(crate) fn namespace(mut self, kind: &str, path: Option<&str>) -> Self {
        let namespace = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self = self.without_namespace(kind);
        self.add("linux.namespaces", namespace)
    }

    /// Takes a namespace out.
    pub(crate) fn without_namespace(mut self, kind: &str) -> Self {
        if let Some(list) = self.config["linux"]["namespaces"].as_array_mut() {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Its root file system on the host.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Makes a file with the directories above it, at a path within the bundle.
    pub(crate) fn file(&self, path: &str, content: &str) -> PathBuf {
        let path = self.directory.join(path);
        let above = path.parent().expect("a directory above");
        fs::create_dir_all(above).expect("make a directory");
        fs::write(&path, content).expect("write a file");
        path
    }

    /// A path within the bundle, as text.
    pub(crate) fn at(&self, path: &str) -> String {
        self.directory
            .join(path)
            .to_str()
            .expect("a plain path")
            .to_owned()
    }

    /// Writes `config.json`.
    pub(crate) fn write(&self) {
        self.write_text(&self.config.to_string());
    }

    /// Writes any text as `config.json`.
    pub(crate) fn write_text(&self, text: impl AsRef<[u8]>) {
        fs::write(self.directory.join("config.json"), text).expect("write config.json");
    }

    /// A command of the runtime, with this container's state directory.
    pub(crate) fn runtime(&self) -> Command {
        let mut command = command::runtime(&self.root);
        command.current_dir(&self.directory);
        command
    }

    /// A command about this container: `NAME FLAGS… ID REST…`.
    pub(crate) fn command(&self, name: &str, flags: &[&str], rest: &[&str]) -> Command {
        let mut command = self.runtime();
        command.arg(name).args(flags).arg(&self.id).args(rest);
        command
    }

    /// Runs such a command to its end.
    pub(crate) fn call(&self, name: &str, flags: &[&str], rest: &[&str]) -> Ended {
        command::run(&mut self.command(name, flags, rest), &self.directory)
    }

    /// `create`, with `config.json` as it is on disk.
    pub(crate) fn create_as_is(&self, flags: &[&str]) -> Ended {
        let bundle = self.at("");
        self.call("create", &[&["--bundle", &bundle], flags].concat(), &[])
    }

    /// `create`.
    pub(crate) fn create_with(&self, flags: &[&str]) -> Ended {
        self.write();
        self.create_as_is(flags)
    }

    /// `create`, which must succeed; the file that the container writes to.
    #[track_caller]
    pub(crate) fn create(&self) -> PathBuf {
        self.create_with(&[]).succeeded().output
    }

    /// `start`, which must succeed.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.call("start", &[], &[]).succeeded();
    }

    /// `create` and `start` of one that is [`Bundle::waiting`]; returns when it waits.
    #[track_caller]
    pub(crate) fn launch(&self) -> PathBuf {
        let output = self.create();
        self.start();
        command::lines(&output, 1);
        output
    }

    /// `run` in the foreground, begun.
    pub(crate) fn run_begun(&self, flags: &[&str]) -> Started {
        self.write();
        let bundle = self.at("");
        let flags = [&["--bundle", bundle.as_str()], flags].concat();
        command::start(&mut self.command("run", &flags, &[]), &self.directory)
    }

    /// `run` with options, to its end.
    pub(crate) fn run_with(&self, flags: &[&str]) -> Ended {
        self.run_begun(flags).wait()
    }

    /// `run` to its end.
    pub(crate) fn run(&self) -> Ended {
        self.run_with(&[])
    }

    /// `run`, which must be refused and leave nothing.
    #[track_caller]
    pub(crate) fn run_refused(&self) -> Ended {
        let before = leftovers::of(self);
        let ended = self.run().refused();
        leftovers::nothing_since(self, &before);
        ended
    }

    /// What the entry process finds itself to be.
    #[track_caller]
    pub(crate) fn see(self) -> Seen {
        Seen::of(&self.actions(&["see"]).run().succeeded())
    }

    /// What comes of actions in the container.
    #[track_caller]
    pub(crate) fn attempt(self, actions: &[&str]) -> Vec<Outcome> {
        let ended = self.actions(actions).run();
        let outcomes = ended.outcomes();
        assert_eq!(outcomes.len(), actions.len(), "{}", ended.story());
        outcomes
    }

    /// What comes of one action.
    #[track_caller]
    pub(crate) fn attempt_one(self, action: &str) -> Outcome {
        self.attempt(&[action]).remove(0)
    }

    /// `state`, which must succeed.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        let ended = self.call("state", &[], &[]).succeeded();
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.story()))
    }

    /// Its status, as `state` tells it.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits for a status.
    #[track_caller]
    pub(crate) fn wait_for(&self, status: &str) {
        command::wait_until(status, || (self.status() == status).then_some(()));
    }

    /// Process id of the entry process.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        let pid = self.state()["pid"].as_u64().expect("a pid in the state");
        u32::try_from(pid).expect("a pid")
    }

    /// `exec` with options, doing actions of the probe.
    pub(crate) fn exec(&self, flags: &[&str], actions: &[&str]) -> Ended {
        let words = script(actions);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.call("exec", flags, &words)
    }

    /// What a process that `exec` starts finds itself to be.
    #[track_caller]
    pub(crate) fn exec_see(&self, flags: &[&str]) -> Seen {
        Seen::of(&self.exec(flags, &["see"]).succeeded())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        leftovers::remove(self);
    }
}

/// The command line of a probe that does `actions`.
pub(crate) fn script(actions: &[&str]) -> Vec<String> {
    let mut words = vec!["/probe".to_owned(), "script".to_owned()];
    for action in actions {
        words.push("--".to_owned());
        words.extend(action.split_whitespace().map(str::to_owned));
    }
    words
}

/// The probe on the host, for hooks.
pub(crate) fn host_probe() -> String {
    let path = tools::find("probe").expect("the probe");
    let path = fs::canonicalize(path).expect("the probe's path");
    path.to_str().expect("a plain path").to_owned()
}

/// Whether a path is there, links not followed.
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn default_config(id: &str) -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| {
        let (at, source) = (json!(at), json!(kind));
        json!({ "destination": at, "type": source, "source": source, "options": options })
    };
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let safe = ["nosuid", "noexec", "nodev"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/probe", "pid"],
            "env": ["PATH=/usr/bin:/bin", format!("REEVE_TEST_CONTAINER={id}")],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
        },
        "root": { "path": "rootfs" },
        "hostname": "conformance",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &dev),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666"]),
            mount("/dev/shm", "tmpfs", &[&safe[..], &["mode=1777", "size=65536k"]].concat()),
            mount("/dev/mqueue", "mqueue", &safe),
            mount("/sys", "sysfs", &[&safe[..], &["ro"]].concat()),
        ],
        "linux": {
            "cgroupsPath": format!("/{CGROUP}/{id}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" },
                { "type": "network" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" },
            ],
        },
    })
}
