//! What a task is not allowed to do, as `ctr run` asks for it.

use std::fs;

use super::{Task, run};
use crate::machine;

#[test]
fn capabilities_seccomp_and_network() {
    let options = [
        "--cap-drop=CAP_CHOWN",
        "--seccomp",
        "--with-ns=network:/proc/1/ns/net",
    ];
    let script = "grep -E '^(CapEff|NoNewPrivs|Seccomp:)' /proc/self/status; \
        ls /sys/class/net | head -1";
    run(&options, script).ok().prints(&[
        "CapEff:\t00000000a80425fa",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "lo",
    ]);
}

#[test]
fn limits() {
    let options = ["--memory-limit=33554432", "--cpus=0.5"];
    let task = Task::start(&options, "exec sleep 1000");
    let found = machine::cgroups_of(&task.name);
    let [cgroup] = found.as_slice() else {
        panic!("not one cgroup of `{}`: {found:#?}", task.name);
    };
    let read = |file: &str| fs::read_to_string(cgroup.join(file)).expect("a file of the cgroup");
    assert_eq!(read("memory.max").trim(), "33554432");
    assert_eq!(read("cpu.max").trim(), "50000 100000");
    assert_eq!(read("pids.current").trim(), "1");
}

#[test]
fn privileged_and_read_only() {
    let script = "grep CapEff /proc/self/status; touch /new 2>&1; mount -t tmpfs none /tmp && \
        echo mount";
    run(&["--privileged", "--read-only"], script).ok().prints(&[
        "CapEff:\t000001ffffffffff",
        "touch: /new: Read-only file system",
        "mount",
    ]);
}
