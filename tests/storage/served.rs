//! A container that serves a disk of the host.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use reeve_tests::bundle::Config;
use reeve_tests::{Container, rootfs, tools};

use crate::POLICY;

/// Where the policy lets disks be.
pub(crate) const DISKS: &str = "/var/lib/vms";
/// Where it lets sockets be.
const SOCKETS: &str = "/run/vmstorage";

/// Under emulation, with the programs to be loaded first.
const START_LIMIT: Duration = Duration::from_secs(120);

/// `vmstorage serve` in a container under its policy. Dropping it ends it.
pub(crate) struct Served {
    name: String,
    container: Container,
    child: Child,
}

fn container(name: &str, args: Vec<String>) -> Container {
    for directory in [DISKS, SOCKETS] {
        fs::create_dir_all(directory).expect("make what the policy names");
    }
    let config = Config {
        args,
        ..Config::default()
    };
    let container = Container::new(name, config).expect("make a bundle");
    let program = tools::find("vmstorage").expect("vmstorage");
    let place = container.root().join("bin/vmstorage");
    rootfs::copy_program(&program, &place).expect("copy vmstorage");
    rootfs::add_libraries(&program, &container.root()).expect("copy its libraries");
    container.with_policy(POLICY).expect("write the policy")
}

fn arguments(disk: &str, socket: &str, more: &[&str]) -> Vec<String> {
    let listen = format!("unix:/host{SOCKETS}/{socket}.sock");
    let fixed = [
        "/bin/vmstorage",
        "serve",
        disk,
        "--format",
        "raw",
        "--name",
        "disk",
        "--listen",
        &listen,
    ];
    let all = fixed.iter().chain(more);
    all.map(|&word| word.to_owned()).collect()
}

impl Served {
    /// Serves a new disk with this content.
    pub(crate) fn start(name: &str, content: &[u8], more: &[&str]) -> Self {
        fs::create_dir_all(DISKS).expect("make the directory of disks");
        fs::write(format!("{DISKS}/{name}.raw"), content).expect("write the disk");
        Self::again(name, more)
    }

    /// Serves a disk that is there.
    pub(crate) fn again(name: &str, more: &[&str]) -> Self {
        let args = arguments(&format!("/host{DISKS}/{name}.raw"), name, more);
        let container = container(name, args);
        let messages = fs::File::create(container.directory().join("said")).expect("create a file");
        let child = container
            .command()
            .expect("reeve run")
            .stdin(Stdio::null())
            .stdout(messages.try_clone().expect("a second descriptor"))
            .stderr(messages)
            .spawn()
            .expect("start the container");
        let mut served = Self {
            name: name.to_owned(),
            container,
            child,
        };
        served.wait_until_it_listens();
        served
    }

    /// What a container says whose disk it may not have.
    pub(crate) fn try_disk(name: &str, disk: &str) -> String {
        let finished = container(name, arguments(disk, name, &[]))
            .run(Stdio::null())
            .expect("run the container");
        assert!(
            !finished.status.success(),
            "it was served: {}",
            finished.stdout
        );
        format!("{}{}", finished.stdout, finished.stderr)
    }

    /// The export.
    pub(crate) fn uri(&self) -> String {
        format!("nbd+unix:///disk?socket={}", self.socket().display())
    }

    /// Its socket, as the host sees it.
    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(SOCKETS).join(format!("{}.sock", self.name))
    }

    /// The disk, as the host sees it.
    pub(crate) fn disk(&self) -> PathBuf {
        Path::new(DISKS).join(format!("{}.raw", self.name))
    }

    /// A path for something of the test's own.
    pub(crate) fn path(&self, name: &str) -> String {
        self.container.directory().join(name).display().to_string()
    }

    /// Ends the service in order.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("wait for the container");
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// Ends it without a warning.
    pub(crate) fn kill(mut self) {
        self.signal("KILL");
        self.child.wait().expect("wait for the container");
    }

    fn signal(&self, signal: &str) {
        let mut kill = tools::reeve().expect("reeve");
        tools::output(kill.args(["kill", self.container.id(), signal])).expect("kill");
    }

    fn said(&self) -> String {
        fs::read_to_string(self.container.directory().join("said")).unwrap_or_default()
    }

    fn wait_until_it_listens(&mut self) {
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().expect("look at the container");
            assert!(
                ended.is_none() && start.elapsed() < START_LIMIT,
                "it does not serve: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let mut kill = tools::reeve().expect("reeve");
            let _gone = tools::output(kill.args(["kill", self.container.id(), "KILL"]));
            let _ended = self.child.wait();
        }
    }
}
