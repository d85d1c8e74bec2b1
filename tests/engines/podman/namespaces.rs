//! Namespaces: new ones, the host's, and other containers'.

use std::fs;
use std::process::Command;

use super::{Container, podman, run};
use crate::machine::IMAGE;
use crate::said;

const KINDS: [&str; 6] = ["pid", "net", "ipc", "uts", "cgroup", "mnt"];

/// Prints the container's namespaces in the order of [`KINDS`].
const LIST: &str = "for n in pid net ipc uts cgroup mnt; do readlink /proc/self/ns/$n; done";

/// The namespaces of a process of the host.
fn of_process(pid: &str) -> Vec<String> {
    KINDS
        .map(|kind| {
            let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
            link.to_string_lossy().into_owned()
        })
        .to_vec()
}

#[test]
fn own() {
    let said = run(&[], LIST).ok();
    let (inside, host) = (said.lines(), of_process("self"));
    for (inside, host) in inside.iter().zip(&host) {
        assert_ne!(inside, host, "the container is in a namespace of the host");
    }
    assert_eq!(inside.len(), KINDS.len());
}

#[test]
fn of_the_host() {
    let mut args = vec!["run", "--rm", "--network=host", "--pid=host", "--ipc=host"];
    args.extend(["--uts=host", "--cgroupns=host", IMAGE, "sh", "-c", LIST]);
    let said = podman(&args).ok();
    let host = of_process("self");
    assert_eq!(said.lines()[..5], host[..5], "not in the host's namespaces");
    assert_ne!(said.lines()[5], host[5], "in the host's mount namespace");
}

/// Of another container, each by the path that Podman gives.
#[test]
fn of_another_container() {
    let box_ = Container::shared();
    let join = format!("container:{}", box_.name);
    let options = ["network", "pid", "ipc"].map(|kind| format!("--{kind}={join}"));
    let mut args = vec!["run", "--rm"];
    args.extend(options.iter().map(String::as_str));
    args.extend([IMAGE, "sh", "-c", LIST]);
    let said = podman(&args).ok();
    let other = of_process(&box_.inspect("{{.State.Pid}}"));
    assert_eq!(
        said.lines()[..3],
        other[..3],
        "not in the other's namespaces"
    );
    assert_ne!(
        said.lines()[3..],
        other[3..],
        "in all of the other's namespaces"
    );
}

/// A network namespace by path, and the default network of Podman.
#[test]
fn network() {
    said::run(Command::new("ip").args(["netns", "add", "made"])).ok();
    let args = ["run", "--rm", "--network=ns:/run/netns/made", IMAGE];
    let link = podman(&[&args[..], &["readlink", "/proc/self/ns/net"]].concat()).ok();
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", "made", "readlink", "/proc/self/ns/net"]);
    assert_eq!(link.out(), said::run(&inside).ok().out());
    said::run(Command::new("ip").args(["netns", "delete", "made"])).ok();
    let args = ["run", "--rm", IMAGE, "ip", "-4", "address", "show", "eth0"];
    podman(&args).ok().mentions("inet 10.88.");
}

/// A range of ids by hand, and one that Podman looks for.
#[test]
fn user() {
    let script = "cat /proc/self/uid_map | tr -s ' '; id -u; touch /tmp/f; stat -c %u /tmp/f; \
        cat /proc/sys/kernel/hostname >/dev/null && echo proc; ls /sys/class >/dev/null && \
        echo sys; echo >/dev/null && echo dev";
    let options = ["--uidmap=0:100000:5000", "--gidmap=0:200000:5000"];
    run(&options, script)
        .ok()
        .prints(&["0 100000 5000", "0", "0", "proc", "sys", "dev"]);
    // Ranges for `--userns=auto` come from this user's.
    for file in ["/etc/subuid", "/etc/subgid"] {
        fs::write(file, "containers:1000000:1000000\n").expect("give ranges of ids");
    }
    let box_ = Container::waiting(&["--userns=auto:size=2000"]);
    box_.exec(
        &[],
        &["sh", "-c", "cat /proc/self/uid_map | tr -s ' '; id -u"],
    )
    .ok()
    .prints(&["0 1000000 2000", "0"]);
    // A second container in the same one.
    let join = format!("--userns=container:{}", box_.name);
    let args = ["run", "--rm", "--network=none", &join, IMAGE];
    let said = podman(&[&args[..], &["readlink", "/proc/self/ns/user"]].concat()).ok();
    let pid = box_.inspect("{{.State.Pid}}");
    let link = fs::read_link(format!("/proc/{pid}/ns/user")).expect("its user namespace");
    assert_eq!(said.out(), link.to_string_lossy());
}
