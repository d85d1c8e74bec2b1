//! What is somebody else's although the container was given a way to it: user namespaces, the
//! host's devtmpfs.

use std::fs;
use std::process::{Child, Command, Stdio};

use libc::{EACCES, EPERM};
use reeve_tests::bundle::Config;
use reeve_tests::{PolicyText, rootfs, tools};

use crate::support::{Contained, Grounds, prepared};

/// A host process in a user namespace of its own.
struct Secluded(Child);

impl Secluded {
    fn start(exe: &std::path::Path) -> Self {
        let program = tools::find("probe").expect("the probe");
        rootfs::copy_program(&program, exe).expect("copy it");
        let mut command = Command::new("unshare");
        command.arg("-U").arg(exe).args(["hold", "0"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let child = child.expect("unshare");
        let link = format!("/proc/{}/exe", child.id());
        reeve_tests::host::wait_until("its exec", std::time::Duration::from_secs(10), || {
            fs::read_link(&link).ok().filter(|found| found == exe)
        })
        .expect("it executes the probe");
        Self(child)
    }
}

impl Drop for Secluded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Over a user namespace below the host's, a task of the host's has every capability: entering it
/// counts as a use over the host.
#[test]
fn foreign_user_namespace() {
    let grounds = Grounds::new();
    let exe = grounds.fixture().at("secluded");
    let secluded = Secluded::start(&exe);
    let action = format!("setns /proc/{}/ns/user pid", secluded.0.id());
    let policy = PolicyText::new("foreign").ptrace(&exe, "read");
    let mut contained = Contained::among_host_processes(policy.clone());
    contained.refused("capable", EPERM, &action);
    contained.end();
    let mut contained = Contained::among_host_processes(policy.capability("SYS_ADMIN", "setns"));
    contained.allowed("capable", &action);
    contained.end();
}

/// devtmpfs has the magic number of a tmpfs, and is the host's one, whoever mounts it.
#[test]
fn devtmpfs_of_the_configuration() {
    let container = prepared(Config::default(), PolicyText::new("devtmpfs"));
    let mut json = container.config().to_json();
    let mounts = json["mounts"].as_array_mut().expect("mounts");
    mounts.push(serde_json::json!({
        "destination": "/devices", "type": "devtmpfs", "source": "devtmpfs",
    }));
    fs::write(container.directory().join("config.json"), json.to_string()).expect("write");
    let mut contained = Contained::of(container);
    contained.allowed("path_mknod", "create /dev/new");
    contained.refused("path_mknod", EACCES, "create /devices/new");
    contained.refused("path_unlink", EACCES, "unlink /devices/null");
    contained.refused("path_chmod", EPERM, "chmod /devices/null 0600");
    contained.end();
}
