//! Capabilities over the host, by system call.

use libc::EPERM;
use reeve_tests::PolicyText;

use crate::support::Contained;

#[test]
fn capability_granted() {
    let policy = PolicyText::new("granted")
        .capability("SYS_ADMIN", "sethostname")
        .capability("SYS_CHROOT", "chroot")
        .capability("SYS_NICE", "setpriority");
    let mut contained = Contained::start(policy);
    contained.allowed("capable", "sethostname granted");
    contained.allowed("capable", "nice");
    contained.allowed("capable", "fork chroot /own");
    contained.end();
}

#[test]
fn capability_refused() {
    // Each is granted in a call that is not the one tried.
    let policy = PolicyText::new("refused")
        .capability("SYS_ADMIN", "sethostname")
        .capability("SYS_CHROOT", "openat")
        .capability("NET_RAW", "bind");
    let mut contained = Contained::start(policy);
    for action in [
        "setdomainname refused",
        "chroot /own",
        "swapon /own",
        "acct /own",
        "syslog",
        "iopl",
        "reboot-keys",
        "fanotify",
        "unshare mount pid",
        "unshare uts pid",
    ] {
        contained.refused("capable", EPERM, action);
    }
    contained.end();
}

/// `all` is every system call.
#[test]
fn capability_in_every_call() {
    let policy = PolicyText::new("all").capability_all("SYS_ADMIN");
    let mut contained = Contained::start(policy);
    contained.allowed("capable", "sethostname all");
    contained.allowed("capable", "setdomainname all");
    contained.refused("capable", EPERM, "chroot /own");
    contained.end();
}

/// Harmless by themselves, since other hooks govern what they are used for.
#[test]
fn built_in_capabilities() {
    let mut contained = Contained::start(PolicyText::new("built-in"));
    for action in [
        "create /own/file",
        "chown /own/file 1000 1000",
        "chmod /own/file 0600",
        "write /own/file text",
        "mknod /own/null char:1:3",
        "fork setuid 1000",
        "setxattr /own/file user.reeve x",
    ] {
        contained.allowed("capable", action);
    }
    contained.end();
}

/// In a user namespace of its own a container has all powers over that, and none over the host.
#[test]
fn capabilities_in_an_own_user_namespace() {
    let mut contained = Contained::start(PolicyText::new("userns"));
    contained.allowed("capable", "unshare user,uts sethostname own");
    contained.allowed("capable", "unshare user,mount,pid,ipc,net pid");
    // Here the kernel itself says no: the powers end with the namespace.
    for action in ["unshare user sethostname host", "unshare user reboot-keys"] {
        assert_eq!(contained.attempt(action).errno(), Some(EPERM), "{action}");
    }
    contained.end();
}

/// A 32-bit system call has other numbers, 21 is `mount` there and `access` here: neither grant
/// opens it.
#[test]
fn compatibility_numbers_are_not_native_ones() {
    let policies = [
        PolicyText::new("native").capability("SYS_ADMIN", "mount"),
        PolicyText::new("number").capability("SYS_ADMIN", "access"),
        PolicyText::new("mount"),
    ];
    for policy in policies {
        let mut contained = Contained::start(policy.mount("tmpfs", ""));
        let outcome = contained.attempt("fork compat-mount /mnt");
        assert!(
            !outcome.is_done(),
            "hook `capable` took a 32-bit call's number for a native one"
        );
        contained.allowed("capable", "mount-tmpfs /mnt");
        contained.end();
    }
}
