//! Groups on the real file systems, as root, below `/reeve-test-…`; passed over where there are
//! none or they cannot be changed.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::spec::{ContainerId, Spec};

/// Cgroups of a container that is none, removed when dropped.
struct Place {
    layout: Layout,
    path: CgroupPath,
}

impl Place {
    /// `None` where this test cannot run.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let layout = Layout::detect();
        let first = layout.hierarchies.first()?;
        let (pid, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = format!("reeve-test-{pid}-{number}");
        let probe = first.root.join(&name);
        if !rustix::process::geteuid().is_root() || fs::create_dir(&probe).is_err() {
            eprintln!("skipped: the cgroups of this host are not ours to change");
            return None;
        }
        fs::remove_dir(&probe).unwrap();
        let path = path(&format!("/{name}/one"));
        Some(Self { layout, path })
    }

    fn create(&self, resources: Value) -> Result<Cgroups, Error> {
        Cgroups::create(&self.layout, &self.path, &limits(resources))
    }

    /// The text of a file of the group with a controller.
    fn read(&self, dirs: &CgroupDirs, controller: &str, v1: &str, v2: &str) -> Option<String> {
        let layout = &self.layout;
        let groups = Groups { layout, dirs };
        let file = match (groups.v1(controller), groups.v2(controller)) {
            (Some(dir), _) => dir.join(v1),
            (None, Some(dir)) => dir.join(v2),
            (None, None) => return None,
        };
        Some(fs::read_to_string(file).unwrap().trim().to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = CgroupDirs::at(&self.layout, &self.path);
        let left: Vec<_> = left
            .all()
            .filter(|dir| dir.exists())
            .map(Path::to_owned)
            .collect();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "{left:?} is left over");
        }
    }
}

fn path(text: &str) -> CgroupPath {
    let config = json!({
        "ociVersion": "1.2.0", "root": { "path": "r" },
        "process": { "cwd": "/", "args": ["x"], "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [ { "type": "mount" } ], "cgroupsPath": text },
    });
    let raw = serde_json::from_value(config).unwrap();
    Spec::check(&raw, Path::new("/b")).unwrap().cgroup.unwrap()
}

fn limits(value: Value) -> Resources {
    Resources::check(Some(&serde_json::from_value(value).unwrap())).unwrap()
}

fn sleeper() -> Child {
    Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).unwrap()
}

/// Joins every group, that of version 2 as well: the start has its process born there.
fn enroll(cgroups: &mut Cgroups, child: &Child) {
    let pid = pid_of(child);
    cgroups.enter_scope(pid).unwrap();
    for dir in cgroups.dirs.all() {
        process::join(dir, pid).unwrap();
    }
}

#[test]
fn a_process_joins_every_hierarchy_and_is_ended_with_them() {
    let Some(place) = Place::new() else { return };
    let mut cgroups = place.create(json!({})).unwrap();
    let mut child = sleeper();
    enroll(&mut cgroups, &child);
    let text = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let relative = format!("/{}", place.path.relative().display());
    let inside = text
        .lines()
        .filter(|line| line.ends_with(&relative))
        .count();
    assert_eq!(inside, place.layout.hierarchies.len(), "{text}");
    assert_eq!(processes(cgroups.dirs()).unwrap(), [pid_of(&child)]);
    let again = place.create(json!({})).unwrap_err();
    assert!(matches!(again, Error::InUse(_)));
    drop(cgroups);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn limits_are_written_and_updated() {
    let Some(place) = Place::new() else { return };
    let cgroups = place
        .create(json!({
            "memory": { "limit": 64 << 20 },
            "cpu": { "shares": 1024, "quota": 50_000, "period": 100_000, "burst": 10_000,
                     "cpus": "0", "mems": "0" },
            "pids": { "limit": 50 },
            "devices": [
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            ],
        }))
        .unwrap();
    let dirs = cgroups.dirs();
    let read = |controller, v1, v2| place.read(dirs, controller, v1, v2);
    let memory = || read("memory", "memory.limit_in_bytes", "memory.max");
    let pids = || read("pids", "pids.max", "pids.max");
    assert_eq!(memory().as_deref(), Some("67108864"));
    assert_eq!(pids().as_deref(), Some("50"));
    assert_eq!(
        read("cpuset", "cpuset.cpus", "cpuset.cpus").as_deref(),
        Some("0")
    );
    dirs.update(&limits(
        json!({ "cpu": { "period": 200_000, "quota": 150_000 } }),
    ))
    .unwrap();
    match place.layout.v1("cpu") {
        Some(_) => {
            assert_eq!(
                read("cpu", "cpu.cfs_period_us", "").as_deref(),
                Some("200000")
            );
            assert_eq!(read("cpu", "cpu.shares", "").as_deref(), Some("1024"));
        }
        None => {
            assert_eq!(read("cpu", "", "cpu.max").as_deref(), Some("150000 200000"));
            assert_eq!(read("cpu", "", "cpu.weight").as_deref(), Some("100"));
        }
    }
    let smaller =
        json!({ "memory": { "limit": 32 << 20, "swap": 32 << 20 }, "pids": { "limit": -1 } });
    dirs.update(&limits(smaller)).unwrap();
    assert_eq!(
        (memory().as_deref(), pids().as_deref()),
        (Some("33554432"), Some("max"))
    );
    dirs.update(&limits(json!({ "memory": { "limit": -1 } })))
        .unwrap();
    assert_ne!(memory().as_deref(), Some("33554432"));
    assert!(stats(dirs).unwrap().memory.usage.limit > 1 << 40);
}

#[test]
fn frozen_and_thawed() {
    let Some(place) = Place::new() else { return };
    let mut cgroups = place.create(json!({})).unwrap();
    let mut child = sleeper();
    enroll(&mut cgroups, &child);
    let dirs = cgroups.dirs().clone();
    assert!(!is_frozen(&dirs).unwrap());
    freeze(&dirs).unwrap();
    assert!(is_frozen(&dirs).unwrap());
    thaw(&dirs).unwrap();
    assert!(!is_frozen(&dirs).unwrap());
    // Version 1 alone, and the end of a container that is frozen.
    let v1 = CgroupDirs {
        v2: None,
        ..dirs.clone()
    };
    if place.layout.v1("freezer").is_some() {
        freeze(&v1).unwrap();
        assert!(is_frozen(&v1).unwrap());
        assert!(is_frozen(&dirs).unwrap());
    } else {
        freeze(&dirs).unwrap();
    }
    drop(cgroups);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn the_end_of_memory_is_told() {
    let Some(place) = Place::new() else { return };
    let layout = &place.layout;
    let mut cgroups = place
        .create(json!({ "memory": { "limit": 8 << 20 } }))
        .unwrap();
    let groups = Groups {
        layout,
        dirs: &cgroups.dirs,
    };
    // Nothing is to end up in swap.
    if groups
        .v2("memory")
        .is_some_and(|dir| dir.join("memory.swap.max").exists())
    {
        let none = json!({ "memory": { "limit": 8 << 20, "swap": 8 << 20 } });
        cgroups.dirs.update(&limits(none)).unwrap();
    }
    // `tail` keeps an endless line in memory.
    let mut child = Command::new("sh")
        .args(["-c", "read go; exec tail /dev/zero"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    enroll(&mut cgroups, &child);
    let mut watch = OomWatch::new(cgroups.dirs()).unwrap();
    assert_eq!(
        watch.wait(Duration::from_millis(20)).unwrap(),
        OomEvent::Quiet
    );
    drop(child.stdin.take());
    let mut event = OomEvent::Quiet;
    for _ in 0..100 {
        event = watch.wait(Duration::from_millis(100)).unwrap();
        if event != OomEvent::Quiet {
            break;
        }
    }
    assert_eq!(event, OomEvent::Oom);
    assert!(!child.wait().unwrap().success());
    let found = stats(cgroups.dirs()).unwrap();
    assert!(
        found.memory.events["oom_kill"] >= 1,
        "{:?}",
        found.memory.events
    );
    for _ in 0..10 {
        event = watch.wait(Duration::from_millis(10)).unwrap();
    }
    assert_eq!(event, OomEvent::Ended);
}

/// A threaded group, which a container can make below its own, does not list its processes.
#[test]
fn a_threaded_group_is_emptied_too() {
    let Some(place) = Place::new() else { return };
    let mut cgroups = place.create(json!({})).unwrap();
    let Some(v2) = cgroups.dirs.v2.clone() else {
        return;
    };
    let mut child = sleeper();
    enroll(&mut cgroups, &child);
    let below = v2.join("threaded");
    fs::create_dir(&below).unwrap();
    files::write(&below.join("cgroup.type"), "threaded").unwrap();
    files::write(&below.join("cgroup.threads"), &child.id().to_string()).unwrap();
    assert!(fs::read_to_string(below.join("cgroup.procs")).is_err());
    let only = |dir: &Path| CgroupDirs {
        v2: Some(dir.to_owned()),
        ..CgroupDirs::default()
    };
    assert_eq!(processes(&only(&below)).unwrap(), [pid_of(&child)]);
    assert_eq!(processes(&only(&v2)).unwrap(), [pid_of(&child)]);
    let ended = std::thread::spawn(move || child.wait().unwrap());
    kill_all(&only(&below)).unwrap();
    assert!(!ended.join().unwrap().success());
    assert!(processes(&only(&v2)).unwrap().is_empty());
}

#[test]
fn processes_below_are_in_the_way_as_well() {
    let Some(place) = Place::new() else { return };
    let cgroups = place.create(json!({})).unwrap();
    let first = cgroups.dirs().all().next().unwrap().join("below");
    fs::create_dir(&first).unwrap();
    let mut child = sleeper();
    process::join(&first, pid_of(&child)).unwrap();
    assert!(matches!(place.create(json!({})), Err(Error::InUse(_))));
    drop(cgroups);
    assert!(!child.wait().unwrap().success());
}

/// The program at the version 2 group, also where the controller of version 1 would be used.
#[test]
fn a_device_program_is_attached_and_replaced() {
    let Some(place) = Place::new() else { return };
    let devices = ["/dev/loop-control", "/dev/fuse", "/dev/kvm"];
    let Some(device) = devices.into_iter().find(|path| File::open(path).is_ok()) else {
        eprintln!("skipped: no device to open");
        return;
    };
    let cgroups = place.create(json!({})).unwrap();
    let Some(v2) = cgroups.dirs.v2.clone() else {
        return;
    };
    let opens = |device: &str| {
        let script = format!("echo 0 > {}/cgroup.procs; : < {device}", v2.display());
        let shell = Command::new("sh")
            .args(["-c", &script])
            .stderr(Stdio::null())
            .status();
        shell.unwrap().success()
    };
    let group = files::open_dir(&v2).unwrap();
    let attached = || crate::sys::bpf::attached(&group).unwrap().len();
    let number = rustix::fs::stat(device).unwrap().st_rdev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let deny = json!({ "allow": false });
    let one = json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "r" });
    let all = json!({ "allow": true });
    assert!(opens(device));
    for (rules, allowed, programs) in [
        (json!([deny]), false, 1),
        (json!([deny, one]), true, 1),
        (
            json!([deny, one, { "allow": false, "type": "c", "major": major }]),
            false,
            1,
        ),
        (json!([deny, all]), true, 0),
    ] {
        let rules = limits(json!({ "devices": rules })).devices;
        devices::attach(&v2, &rules).unwrap();
        assert_eq!(opens(device), allowed, "{rules:?}");
        assert!(opens("/dev/null"));
        assert_eq!(attached(), programs, "{rules:?}");
    }
}

#[test]
fn what_a_group_has_not_is_an_error_that_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    for resources in [
        json!({ "unified": { "nothing.max": "1" } }),
        json!({ "rdma": { "nothing": { "hcaHandles": 1 } } }),
        json!({ "cpu": { "cpus": "100000" } }),
        json!({ "hugepageLimits": [ { "pageSize": "3KB", "limit": 1 } ] }),
    ] {
        let error = place.create(resources.clone()).unwrap_err();
        assert!(
            error.to_string().contains("linux.resources"),
            "{resources}: {error}"
        );
    }
}

#[test]
fn directories_of_an_older_state_are_read() {
    let text = r#"{ "v2": "/a", "v1": [], "roots": ["/"] }"#;
    let dirs: CgroupDirs = serde_json::from_str(text).unwrap();
    assert_eq!(dirs.scope, None);
    let id: ContainerId = "one".parse().unwrap();
    let at = CgroupDirs::at(&Layout::default(), &CgroupPath::default_for(&id));
    assert!(!serde_json::to_string(&at).unwrap().contains("scope"));
}
