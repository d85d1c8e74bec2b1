//! What a container is not allowed to do.

use std::fs;

use super::run;
use crate::machine;

/// Prints the sets and the modes of the process.
const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";

#[test]
fn capabilities() {
    let options = ["--cap-drop=all", "--cap-add=chown,net_bind_service"];
    run(&options, STATUS).ok().prints(&[
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000401",
        "CapEff:\t0000000000000401",
        "CapBnd:\t0000000000000401",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
    ]);
    // For an ordinary user the set is what a program with the set-user-id bit could get.
    let options = [
        "--user=alice",
        "--cap-drop=all",
        "--cap-add=chown",
        "--security-opt=no-new-privileges",
    ];
    run(&options, STATUS)
        .ok()
        .mentions("CapEff:\t0000000000000001")
        .mentions("CapAmb:\t0000000000000001")
        .mentions("NoNewPrivs:\t1");
}

/// The profile that Podman has by default, one of our own, and none.
///
/// `swapon` needs a capability; with it, only the filter and the kind of file are in the way.
#[test]
fn seccomp() {
    let swapon = "swapon /etc/passwd 2>&1";
    run(&["--cap-add=sys_admin"], swapon)
        .fails()
        .mentions("Operation not permitted");
    let options = ["--cap-add=sys_admin", "--security-opt=seccomp=unconfined"];
    run(&options, &format!("{STATUS}; {swapon}"))
        .fails()
        .mentions("Seccomp:\t0")
        .mentions("Invalid argument");
    let profile = machine::directory().join("profile.json");
    let text = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{
            "names": ["mkdir", "mkdirat", "a_call_of_the_future"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 28
        }, {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 97,
            "args": [{ "index": 0, "value": 2, "op": "SCMP_CMP_EQ" }]
        }]
    }"#;
    fs::write(&profile, text).expect("write a profile");
    let option = format!("--security-opt=seccomp={}", profile.display());
    run(&[&option], "mkdir /tmp/new 2>&1; nc 127.0.0.1 1 2>&1")
        .fails()
        .mentions("No space left")
        .mentions("Address family not supported");
}

/// The engine loads a profile and names it; `--privileged` takes it away.
#[test]
fn profile_of_apparmor() {
    let script = "cat /proc/self/attr/current";
    run(&[], script)
        .ok()
        .mentions("containers-default")
        .mentions("(enforce)");
    run(&["--privileged"], script).ok().mentions("unconfined");
}

/// Everything that the engine can give, and nothing that it keeps.
#[test]
fn privileged() {
    let script = format!(
        "{STATUS}; [ -e /dev/vda ] && echo device; echo 1 >/proc/sys/net/ipv4/ip_forward && \
         echo sysctl; mount -t tmpfs none /tmp && echo mount; \
         mkdir /sys/fs/cgroup/below && echo cgroup"
    );
    run(&["--privileged"], &script)
        .ok()
        .mentions("CapEff:\t000001ffffffffff")
        .mentions("Seccomp:\t0")
        .mentions("device\nsysctl\nmount\ncgroup");
}

/// Masked and read-only paths, and devices that were not given.
#[test]
fn the_host_is_out_of_reach() {
    // Empty where it is masked; with AppArmor it cannot be opened at all.
    let script = "(wc -c </proc/kcore) 2>/dev/null || echo 0; ls /sys/firmware | wc -l; \
        echo 1 2>/dev/null >/proc/sys/kernel/panic || echo sysctl; \
        echo b 2>/dev/null >/proc/sysrq-trigger || echo sysrq; \
        mkdir /sys/fs/cgroup/below 2>/dev/null || echo cgroup; \
        mknod /tmp/disk b 254 0 2>/dev/null || echo mknod; \
        mount -t tmpfs none /tmp 2>/dev/null || echo mount";
    run(&["--cap-drop=mknod"], script)
        .ok()
        .prints(&["0", "0", "sysctl", "sysrq", "cgroup", "mknod", "mount"]);
    // With the capability, a device node can be made and still not be opened.
    let script = "mknod /tmp/disk b 254 0 && ! dd if=/tmp/disk of=/dev/null count=1 2>&1";
    run(&["--cap-add=mknod"], script)
        .ok()
        .mentions("Operation not permitted");
}
