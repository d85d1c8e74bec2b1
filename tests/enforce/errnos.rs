//! A refused process cannot tell Reeve from a lack of privilege: the errno is what an ordinary user
//! gets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::host::Bystander;
use reeve_tests::{PolicyText, Report, host, tools};

use crate::support::{Contained, Grounds, on_host};

/// What the same attempt comes to for user 65534 on the host. `/host` is the root there.
fn unprivileged(action: &str) -> Option<i32> {
    let probe = tools::find("probe").expect("the probe");
    let action = action.replace("/host/", "/");
    let words: Vec<&str> = ["as", "65534"]
        .into_iter()
        .chain(action.split(' '))
        .collect();
    let output = Command::new(probe)
        .args(&words)
        .output()
        .expect("run the probe");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Report::parse(&text).expect("its line").outcome.errno()
}

#[test]
fn errno_as_unprivileged() {
    let grounds = Grounds::new();
    let plot = grounds.plot("closed");
    for file in ["file", "second"] {
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(plot.join(file), private).expect("chmod");
    }
    for directory in [plot.clone(), plot.join("directory")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let target = Bystander::start(grounds.fixture().at("target")).expect("a bystander");
    let (at, pid) = (in_container(&plot), target.pid());
    let module = host::module_file("dummy").expect("a module");
    // What keeps a module out shall not be that its file cannot be read.
    let policy = PolicyText::new("errnos").file(&module, "read");
    let module = in_container(&module);
    let actions = [
        format!("open r {at}/file"),
        format!("open w {at}/file"),
        format!("open trunc {at}/file"),
        format!("touch {at}/file"),
        format!("set-times {at}/file"),
        format!("create {at}/new"),
        format!("mkdir {at}/new"),
        format!("mknod {at}/fifo fifo"),
        format!("symlink file {at}/new"),
        format!("unlink {at}/file"),
        format!("rmdir {at}/directory"),
        format!("rename {at}/file {at}/new"),
        format!("truncate {at}/file 0"),
        format!("chmod {at}/file 0777"),
        format!("chown {at}/file 1 1"),
        format!("setxattr {at}/file user.reeve x"),
        format!("exec {at}/file"),
        format!("kill {pid} 9"),
        format!("kill {pid} 0"),
        format!("ptrace-attach {pid}"),
        format!("process-vm-read {pid} 4096"),
        format!("finit-module {module}"),
        "mount-tmpfs /host/mnt".to_owned(),
        "mount-bind /host/tmp /host/mnt".to_owned(),
        "umount /host/tmp".to_owned(),
        "fsopen-tmpfs /host/mnt".to_owned(),
        "chroot /host/srv".to_owned(),
        "bpf-map-create".to_owned(),
        "bpf-prog-load".to_owned(),
        "settime".to_owned(),
        "settimeofday".to_owned(),
        "sethostname unprivileged".to_owned(),
        "swapon /host/srv".to_owned(),
        "reboot-keys".to_owned(),
        "packet-socket".to_owned(),
        "open r /host/dev/vdc".to_owned(),
        "open w /host/proc/sys/kernel/core_pattern".to_owned(),
        "open w /host/etc/shadow".to_owned(),
        "open r /host/etc/shadow".to_owned(),
    ];
    let mut contained = Contained::among_host_processes(policy);
    let mut wrong = Vec::new();
    for action in actions {
        let (here, there) = (contained.attempt(&action).errno(), unprivileged(&action));
        if here != there || here == Some(0) {
            wrong.push(format!(
                "`{action}`: under the policy {here:?}, unprivileged {there:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    contained.end();
}

/// The same for IPC, keys, settings and parts of the kernel, of which the host's are closed to
/// other users.
#[test]
fn errno_as_unprivileged_of_the_kernel() {
    let key = 0x5f_0000 + reeve_tests::fixture::unique();
    let [shm, sem, msg] =
        ["shm", "sem", "msg"].map(|class| on_host(&format!("{class}-get {key} 01600")));
    let secret = on_host("key-add -4 reeve-errnos");
    let actions = [
        format!("shm-get {key} 0600"),
        format!("shm-at {shm} 0"),
        format!("shm-ctl {shm} 2"),
        format!("shm-ctl {shm} 0"),
        format!("sem-get {key} 0600"),
        format!("sem-op {sem} 1"),
        format!("sem-ctl {sem} 12"),
        format!("sem-ctl {sem} 0"),
        format!("msg-get {key} 0600"),
        format!("msg-send {msg}"),
        format!("msg-receive {msg}"),
        format!("msg-ctl {msg} 0"),
        format!("key-read {secret}"),
        format!("keyctl 3 {secret}"),
        format!("keyctl 6 {secret} 0 0"),
        "open w /host/proc/sys/vm/dirty_ratio".to_owned(),
        "open trunc /host/proc/sys/vm/dirty_ratio".to_owned(),
        "syslog".to_owned(),
        "perf-open".to_owned(),
        "kexec-unload".to_owned(),
        "acct /host/srv".to_owned(),
        "iopl".to_owned(),
    ];
    let config = Config {
        host_ipc: true,
        ..Config::default()
    };
    let mut contained = Contained::with(config, PolicyText::new("errnos"));
    let mut wrong = Vec::new();
    for action in actions {
        let (here, there) = (contained.attempt(&action).errno(), unprivileged(&action));
        if here != there || here == Some(0) {
            wrong.push(format!(
                "`{action}`: under the policy {here:?}, unprivileged {there:?}"
            ));
        }
    }
    contained.end();
    for (class, id) in [("shm", shm), ("sem", sem), ("msg", msg)] {
        on_host(&format!("{class}-ctl {id} 0"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
