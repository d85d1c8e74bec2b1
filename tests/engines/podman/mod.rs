//! Podman with the runtime under test, as root; [`rootless`] as an ordinary user.
//!
//! Its storage and configuration are below the suite's directory. The configuration is the one that
//! the documentation recommends, with the name that is under test.

mod confined;
mod exec;
mod files;
mod life;
mod limits;
mod namespaces;
mod pods;
mod rootless;
mod running;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::machine::{self, IMAGE};
use crate::said::{self, Said};

/// The command `podman` with the suite's own configuration and storage.
fn command(args: &[&str]) -> Command {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        let archive = machine::archive().to_string_lossy().into_owned();
        said::run(&bare(&["import", "--quiet", &archive, IMAGE])).ok();
    });
    bare(args)
}

fn bare(args: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", configuration())
        .arg("--root")
        .arg(machine::directory().join("podman"))
        .args(["--runroot", "/run/engines"])
        .args(args);
    command
}

/// Podman's configuration file.
pub(crate) fn configuration() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let write = || {
        let path = machine::directory().join("containers.conf");
        let runtime = machine::runtime();
        let text = format!(
            "[engine]\n\
             cgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\n\
             runtime = \"tested\"\n\
             runtime_supports_json = [\"tested\"]\n\
             [engine.runtimes]\n\
             tested = [\"{}\"]\n\
             [network]\n\
             network_backend = \"netavark\"\n",
            runtime.display()
        );
        fs::write(&path, text).expect("write Podman's configuration");
        path
    };
    FILE.get_or_init(write).clone()
}

/// Runs a command of Podman.
pub(crate) fn podman(args: &[&str]) -> Said {
    said::run(&command(args))
}

/// The same from a terminal.
fn podman_in_terminal(args: &[&str]) -> Said {
    said::run_in_terminal(&command(args), String::new)
}

/// `podman run --rm` with `options` and this shell script, without a network.
fn run(options: &[&str], script: &str) -> Said {
    let mut args = vec!["run", "--rm", "--network=none"];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", script]);
    podman(&args)
}

/// A container that runs in the background, and is removed when dropped.
struct Container {
    name: String,
}

impl Container {
    /// `podman run --detach` with `options` and this shell script, without a network.
    #[track_caller]
    fn start(options: &[&str], script: &str) -> Self {
        let name = machine::unique("box");
        let mut args = vec!["run", "--detach", "--network=none", "--name", &name];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script]);
        podman(&args).ok();
        Container { name }
    }

    /// One that only waits, and ends at the first SIGTERM.
    #[track_caller]
    fn waiting(options: &[&str]) -> Self {
        let script = "trap 'exit 0' TERM; sleep 1000 & wait";
        Self::start(options, script)
    }

    /// One that is there for the whole run, for tests that leave it as it was.
    #[track_caller]
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Container> = OnceLock::new();
        let options = [
            "--env=A=outer",
            "--memory=64m",
            "--ipc=shareable",
            "--health-cmd=test -e /tmp/well",
            "--health-interval=disable",
        ];
        SHARED.get_or_init(|| Self::waiting(&options))
    }

    /// Runs a command of Podman about it: `words`, the name, `rest`.
    fn podman(&self, words: &[&str], rest: &[&str]) -> Said {
        podman(&self.args(words, rest))
    }

    fn args<'a>(&'a self, words: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
        let mut args = words.to_vec();
        args.push(&self.name);
        args.extend(rest);
        args
    }

    /// Runs a command in it.
    fn exec(&self, options: &[&str], argv: &[&str]) -> Said {
        let mut words = vec!["exec"];
        words.extend(options);
        self.podman(&words, argv)
    }

    /// What `podman inspect` says with this template.
    #[track_caller]
    fn inspect(&self, template: &str) -> String {
        let said = self.podman(&["inspect", "--format", template], &[]).ok();
        said.out().to_owned()
    }

    /// The only cgroup of the container.
    #[track_caller]
    fn cgroup(&self) -> PathBuf {
        let id = self.inspect("{{.Id}}");
        let found = machine::cgroups_of(&format!("libpod-{id}"));
        let [cgroup] = found.as_slice() else {
            panic!("not one cgroup of `{id}`: {found:#?}");
        };
        cgroup.clone()
    }

    /// Waits until its log has this line.
    #[track_caller]
    fn wait_for_log(&self, line: &str) {
        for _ in 0..100 {
            if self.podman(&["logs"], &[]).ok().lines().contains(&line) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let said = self.podman(&["logs"], &[]);
        panic!("`{}` did not print `{line}`: {said:?}", self.name);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Part of no test: what is shown about removal is shown by tests that look.
        let _removed = self.podman(&["rm", "--force", "--time=0", "--ignore"], &[]);
    }
}
