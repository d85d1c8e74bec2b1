//! Parts of the kernel that a line opens as a whole.

use libc::{EACCES, EINVAL, EPERM};
use reeve_tests::PolicyText;

use crate::support::Contained;

/// With the line, the action succeeds; the capabilities that it needs come with it.
fn granted(hook: &str, line: &str, actions: &[&str]) {
    let mut contained = Contained::start(PolicyText::new("granted").kernel(line));
    for action in actions {
        contained.allowed(hook, action);
    }
    contained.end();
}

/// With the capability and without the line, the hook refuses.
fn refused(hook: &str, capability: (&str, &str), actions: &[&str]) {
    refused_with(EPERM, hook, capability, actions);
}

fn refused_with(errno: i32, hook: &str, capability: (&str, &str), actions: &[&str]) {
    let (name, calls) = capability;
    let policy = PolicyText::new("refused").capability(name, calls);
    let mut contained = Contained::start(policy);
    for action in actions {
        contained.refused(hook, errno, action);
    }
    contained.end();
}

#[test]
fn syslog_granted() {
    granted("syslog", "syslog: true", &["syslog"]);
}

#[test]
fn syslog_refused() {
    refused("syslog", ("SYSLOG", "syslog"), &["syslog"]);
}

#[test]
fn perf_granted() {
    granted("perf_event_open", "perf: true", &["perf-open"]);
}

#[test]
fn perf_refused() {
    let capability = ("SYS_ADMIN", "perf_event_open");
    refused_with(EACCES, "perf_event_open", capability, &["perf-open"]);
}

#[test]
fn uring_sqpoll_granted() {
    granted(
        "uring_sqpoll",
        "io_uring: [sqpoll]",
        &["uring-polled [1:0]"],
    );
}

#[test]
fn uring_sqpoll_refused() {
    refused(
        "uring_sqpoll",
        ("SYS_NICE", "setpriority"),
        &["uring-polled [1:0]"],
    );
}

#[test]
fn uring_personality_granted() {
    let line = "io_uring: [personality]";
    granted("uring_override_creds", line, &["uring-borrowed [1:0]"]);
}

#[test]
fn uring_personality_refused() {
    let other = ("SYS_NICE", "setpriority");
    refused("uring_override_creds", other, &["uring-borrowed [1:0]"]);
}

#[test]
fn uring_command_granted() {
    granted("uring_cmd", "io_uring: [command]", &["uring-command"]);
}

#[test]
fn uring_command_refused() {
    refused("uring_cmd", ("SYS_NICE", "setpriority"), &["uring-command"]);
}

#[test]
fn quota_granted() {
    granted("quotactl", "quota: true", &["quota-sync"]);
}

#[test]
fn quota_refused() {
    refused("quotactl", ("SYS_ADMIN", "quotactl"), &["quota-sync"]);
}

#[test]
fn kexec_granted() {
    granted("kernel_load_data", "kexec: true", &["kexec-unload"]);
}

#[test]
fn kexec_refused() {
    refused(
        "kernel_load_data",
        ("SYS_BOOT", "kexec_load"),
        &["kexec-unload"],
    );
}

#[test]
fn userns_granted() {
    let mut contained = Contained::start(PolicyText::new("granted"));
    contained.allowed("userns_create", "unshare user pid");
    contained.end();
}

#[test]
fn userns_refused() {
    let mut contained = Contained::start(PolicyText::new("refused").kernel("userns: false"));
    contained.refused("userns_create", EPERM, "unshare user pid");
    contained.end();
}

#[test]
fn lockdown_granted() {
    let policy = PolicyText::new("granted")
        .kernel("lockdown: [ioport]")
        .capability("SYS_RAWIO", "iopl");
    let mut contained = Contained::start(policy);
    contained.allowed("locked_down", "iopl");
    contained.end();
}

#[test]
fn lockdown_refused() {
    refused("locked_down", ("SYS_RAWIO", "iopl"), &["iopl"]);
}

/// What only a capability guards: the line brings the pair along, and nothing else does.
#[test]
fn parts_behind_a_capability_alone() {
    let policy = PolicyText::new("parts")
        .kernel("hostname: true")
        .kernel("reboot: true")
        .kernel("swap: true")
        .kernel("acct: true");
    let mut contained = Contained::start(policy.clone());
    contained.allowed("capable", "create /own/file");
    for action in [
        "sethostname granted",
        "setdomainname granted",
        "acct /own/file",
    ] {
        contained.allowed("capable", action);
    }
    // It gets as far as to see that there is no swap area in the file.
    assert_eq!(contained.attempt("swapon /own/file").errno(), Some(EINVAL));
    contained.refused("capable", EPERM, "chroot /own");
    contained.refused("capable", EPERM, "syslog");
    contained.end();
    // In a pid namespace of its own `reboot` means something else.
    let mut contained = Contained::among_host_processes(policy);
    contained.allowed("capable", "reboot-keys");
    contained.end();
    let mut contained = Contained::start(PolicyText::new("parts"));
    contained.allowed("capable", "create /own/file");
    for action in [
        "sethostname refused",
        "setdomainname refused",
        "reboot-keys",
        "acct /own/file",
        "swapon /own/file",
        "kexec-unload",
    ] {
        contained.refused("capable", EPERM, action);
    }
    contained.end();
}
