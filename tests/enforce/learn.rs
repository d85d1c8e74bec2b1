//! A policy learned from what a container did allows that, and nothing else of the host.

use libc::{EACCES, EPERM};
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::host::Bystander;
use reeve_tests::{Container, audit, tools};

use crate::support::{Contained, Grounds, keep_loaded, on_host};

fn start(name: &str, policy: &str) -> Contained {
    start_with(name, Config::default(), policy)
}

fn start_with(name: &str, config: Config, policy: &str) -> Contained {
    keep_loaded();
    let container = Container::new(name, config).expect("make the bundle");
    Contained::of(container.with_policy(policy).expect("write the policy"))
}

/// The policy that is learned of a container, which then ends.
fn learned_from(mut learner: Contained) -> String {
    let id = learner.running().id().to_owned();
    let mut command = tools::reeve().expect("reeve");
    let learned = tools::output(command.args(["policy", "learn", &id]));
    learner.end();
    learned.expect("reeve policy learn")
}

/// Shared memory of the host's, removed when this is dropped.
struct Shared(String);

impl Shared {
    fn new() -> Self {
        let key = 0x1ea_0000 + reeve_tests::fixture::unique();
        Self(on_host(&format!("shm-get {key} 01666")))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        on_host(&format!("shm-ctl {} 0", self.0));
    }
}

/// A disk that nothing is on.
const DISK: &str = "/host/dev/vdc";

/// What a container does of each kind, with the hook that records it.
fn of_every_section(pid: u32, file: &str, shared: &Shared) -> Vec<(&'static str, String)> {
    vec![
        ("file_open", format!("open r {file}")),
        ("file_ioctl", format!("ioctl r {DISK} 0x1261")),
        ("sb_mount", "mount-tmpfs /mnt nosuid".to_owned()),
        ("sb_mount", "remount /mnt nosuid,ro".to_owned()),
        ("capable", "in-chroot /tmp pid".to_owned()),
        ("shm_shmat", format!("shm-at {} 010000", shared.0)),
        ("syslog", "syslog".to_owned()),
        (
            "file_open",
            "open r /host/proc/sys/vm/dirty_ratio".to_owned(),
        ),
        (
            "file_open",
            "open w /proc/sys/vm/dirty_expire_centisecs".to_owned(),
        ),
        ("task_setnice", format!("set-nice {}", pid)),
        ("capable", format!("setns-of {} net pid", pid)),
    ]
}

/// Each section has its lines: what was done under mode `learn` can be done under what was learned,
/// and what is beside it cannot.
#[test]
fn every_section_is_learned() {
    let grounds = Grounds::new();
    let (named, other) = (
        Bystander::start(grounds.fixture().at("named")).expect("start a bystander"),
        Bystander::start(grounds.fixture().at("other")).expect("start a bystander"),
    );
    let (seen, unseen) = (Shared::new(), Shared::new());
    let file = in_container(grounds.plot("ioctl").join("file"));
    let work = of_every_section(named.pid(), &file, &seen);
    let config = Config {
        host_pid: true,
        host_ipc: true,
        ..Config::default()
    };
    let learn = "reeve: v1\nname: learner\nmode: learn\n";
    let mut learner = start_with("learner", config.clone(), learn);
    for (hook, action) in &work {
        learner.allowed(hook, action);
    }
    let learned = learned_from(learner);
    let mut bound = start_with("bound", config, &learned);
    for (hook, action) in &work {
        bound.allowed(hook, action);
    }
    let (pid, errno) = (other.pid(), EPERM);
    for (hook, errno, action) in [
        ("file_open", EACCES, format!("open w {file}")),
        ("file_open", EACCES, format!("open w {DISK}")),
        ("file_ioctl", errno, format!("ioctl r {DISK} 0x125f")),
        ("shm_shmat", EACCES, format!("shm-at {} 0", unseen.0)),
        ("capable", errno, "reboot-keys".to_owned()),
        (
            "file_open",
            EACCES,
            "open w /proc/sys/vm/dirty_ratio".to_owned(),
        ),
        ("task_setnice", errno, format!("set-nice {pid}")),
        (
            "task_setscheduler",
            errno,
            format!("set-affinity {}", named.pid()),
        ),
        (
            "ptrace_access_check",
            errno,
            format!("setns-of {} uts pid", named.pid()),
        ),
        (
            "ptrace_access_check",
            errno,
            format!("setns-of {pid} net pid"),
        ),
    ] {
        bound.refused(hook, errno, action);
    }
    bound.end();
}

#[test]
fn what_was_learned_is_allowed_and_nothing_else() {
    let grounds = Grounds::new();
    let (worked, other) = (grounds.plot("worked"), grounds.plot("other"));
    let work = [
        format!("write {} changed", in_container(worked.join("file"))),
        format!("mkdir {}/new", in_container(&worked)),
        "setdomainname learned".to_owned(),
    ];
    let mut learner = start("learner", "reeve: v1\nname: learner\nmode: learn\n");
    learner.allowed("file_open", &work[0]);
    learner.allowed("path_mkdir", &work[1]);
    learner.allowed("capable", &work[2]);
    let id = learner.running().id().to_owned();
    let events = audit::events(&id).expect("the audit");
    let marked = events
        .iter()
        .all(|event| event.text("verdict") == "learned");
    assert!(marked && !events.is_empty(), "{events:#?}");
    let learned = learned_from(learner);

    std::fs::remove_dir(worked.join("new")).expect("what it made");
    let mut bound = start("bound", &learned);
    bound.allowed("file_open", &work[0]);
    bound.allowed("path_mkdir", &work[1]);
    bound.allowed("capable", &work[2]);
    let elsewhere = in_container(other.join("file"));
    bound.refused("file_open", EACCES, format!("open w {elsewhere}"));
    bound.refused(
        "path_mkdir",
        EACCES,
        format!("mkdir {}/new", in_container(&other)),
    );
    bound.end();
}
