//! What a configuration may say of scheduling, labels and the like.

use serde_json::{Value, json};

use super::{check, message, with};
use crate::lsm::Lsms;
use crate::spec::{MountKind, Personality, SchedulerPolicy};

#[test]
fn a_scheduler_is_read() {
    let process = check(with(
        "/process/scheduler",
        json!({ "policy": "SCHED_RR", "priority": 99, "nice": -20,
                "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_POLICY"] }),
    ))
    .unwrap()
    .process;
    let scheduler = process.scheduler.unwrap();
    assert_eq!(scheduler.policy, SchedulerPolicy::Rr);
    assert_eq!((scheduler.priority, scheduler.nice), (99, -20));
    assert_eq!(scheduler.flags, 0x2 | 0x8);
    let deadline =
        json!({ "policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 20, "period": 30 });
    let process = check(with("/process/scheduler", deadline)).unwrap().process;
    let scheduler = process.scheduler.unwrap();
    let times = (
        scheduler.runtime_ns,
        scheduler.deadline_ns,
        scheduler.period_ns,
    );
    assert_eq!(times, (10, 20, 30));
}

#[test]
fn cpus_of_later_processes_are_read() {
    let affinity = json!({ "initial": "0-3,7", "final": "1" });
    let process = check(with("/process/execCPUAffinity", affinity))
        .unwrap()
        .process;
    assert_eq!(process.exec_affinity.initial.unwrap().to_string(), "0-3,7");
    assert_eq!(process.exec_affinity.after.unwrap().words(), [2]);
    let process = check(super::base()).unwrap().process;
    assert_eq!(process.exec_affinity.initial, None);
}

#[test]
fn wrong_attributes_are_named() {
    for (pointer, value, expected) in [
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_FIFO" }),
            "process.scheduler.priority`: 0 is out of range",
        ),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_OTHER", "priority": 1 }),
            "process.scheduler.priority`: 1 is out of range",
        ),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_BATCH", "nice": 20 }),
            "process.scheduler.nice`: 20 is out of range",
        ),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_RR", "priority": 5, "period": 1 }),
            "process.scheduler.period`: means nothing without SCHED_DEADLINE",
        ),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_ISO" }),
            "process.scheduler.policy`: `SCHED_ISO` is none of the accepted values",
        ),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_RT", "priority": 8 }),
            "process.ioPriority.priority`: 8 is out of range",
        ),
        (
            "/process/execCPUAffinity",
            json!({ "final": "3-1" }),
            "process.execCPUAffinity.final`: `3-1` is not a list of numbers such as `0-3,7`",
        ),
    ] {
        let text = message(with(pointer, value));
        assert_eq!(text, format!("config.json: `{expected}"));
    }
}

#[test]
fn wrong_policies_and_labels_are_named() {
    for (pointer, value, expected) in [
        (
            "/linux/personality",
            json!({ "domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"] }),
            "linux.personality.flags[0]`: `ADDR_NO_RANDOMIZE` is none of the accepted values",
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND" }),
            "linux.memoryPolicy.nodes`: missing",
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
            "linux.memoryPolicy.nodes`: `0` is none of the accepted values",
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0-" }),
            "linux.memoryPolicy.nodes`: `0-` is not a list of numbers such as `0-3,7`",
        ),
        (
            "/process/apparmorProfile",
            json!("a\0b"),
            "process.apparmorProfile`: contains a NUL byte",
        ),
        (
            "/process/selinuxLabel",
            json!("a\nb"),
            "process.selinuxLabel`: `a\nb` is none of the accepted values",
        ),
    ] {
        let text = message(with(pointer, value));
        assert_eq!(text, format!("config.json: `{expected}"));
    }
}

#[test]
fn memory_policy_and_personality_are_read() {
    let policy = json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0,2",
                         "flags": ["MPOL_F_STATIC_NODES"] });
    let spec = check(with("/linux/memoryPolicy", policy)).unwrap();
    let policy = spec.memory_policy.unwrap();
    assert_eq!((policy.mode as u32, policy.flags), (3, 1 << 15));
    assert_eq!(policy.nodes.unwrap().words(), [5]);
    let spec = check(with("/linux/personality", json!({ "domain": "LINUX32" }))).unwrap();
    assert_eq!(spec.personality, Some(Personality::Linux32));
}

#[test]
fn labels_of_modules_that_are_not_in_force_are_refused() {
    let refused = |pointer: &str, lsms| {
        let labels = check(with(pointer, json!("x"))).unwrap().labels;
        labels.refuse_inactive(lsms).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", source.unwrap_or_default())
        })
    };
    let apparmor = Lsms {
        apparmor: true,
        selinux: false,
    };
    let selinux = Lsms {
        apparmor: false,
        selinux: true,
    };
    assert_eq!(refused("/process/apparmorProfile", apparmor), Ok(()));
    assert_eq!(refused("/process/selinuxLabel", selinux), Ok(()));
    assert_eq!(refused("/linux/mountLabel", selinux), Ok(()));
    assert_eq!(
        refused("/process/apparmorProfile", selinux).unwrap_err(),
        "config.json: `process.apparmorProfile`: AppArmor is not in force on this host"
    );
    let error = refused("/linux/mountLabel", apparmor).unwrap_err();
    assert!(error.contains("linux.mountLabel`: SELinux"), "{error}");
    let labels = check(with("/process/selinuxLabel", json!("")))
        .unwrap()
        .labels;
    assert_eq!(labels.refuse_inactive(Lsms::default()).ok(), Some(()));
}

#[test]
fn new_file_systems_get_the_mount_label() {
    let mut config: Value = with("/linux/mountLabel", json!("u:r:t:s0:c1,c2"));
    config["mounts"] = json!([
        { "destination": "/proc", "type": "proc" },
        { "destination": "/tmp", "type": "tmpfs", "options": ["mode=755"] },
        { "destination": "/own", "type": "tmpfs", "options": ["context=own"] },
        { "destination": "/dev/mqueue", "type": "mqueue" },
        { "destination": "/bound", "source": "/x", "options": ["bind"] },
    ]);
    let spec = check(config).unwrap();
    let context = |at: usize| match &spec.mounts[at].kind {
        MountKind::New { options, .. } => {
            let found = options.iter().find(|(name, _)| name == "context");
            found.and_then(|(_, value)| value.clone())
        }
        _ => None,
    };
    assert_eq!(context(0), None);
    assert_eq!(context(1).as_deref(), Some("u:r:t:s0:c1,c2"));
    assert_eq!(context(2).as_deref(), Some("own"));
    assert_eq!(context(3), None);
    assert_eq!(context(4), None);
    let roots: Vec<_> = spec
        .mounts
        .iter()
        .map(|mount| spec.labels.of_mount_root(mount).is_some())
        .collect();
    assert_eq!(roots, [false, false, false, true, false]);
}
