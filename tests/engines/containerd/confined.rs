//! What a task is not allowed to do, as `ctr run` asks for it.

use super::run;

#[test]
fn limits_and_capabilities() {
    let options = [
        "--memory-limit=33554432",
        "--cpus=0.5",
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
    let mount = "--mount=type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid";
    let script = "cd /sys/fs/cgroup; cat memory.max cpu.max; mkdir below 2>&1";
    run(&[&options[..], &[mount]].concat(), script)
        .exits(1)
        .prints(&[
            "33554432",
            "50000 100000",
            "mkdir: can't create directory 'below': Read-only file system",
        ]);
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
