//! What is stored, and whose a process is.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::*;

fn state(id: &str, process: Option<ProcessName>) -> State {
    State {
        version: VERSION,
        id: id.parse().unwrap(),
        process,
        creator: ProcessName::of(std::process::id().cast_signed()),
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        oci_version: "1.2.0".to_owned(),
        annotations: BTreeMap::new(),
        owner: 0,
        restored: false,
        created_ms: now_ms(),
        cgroups: CgroupDirs::default(),
        rdt: None,
        policy: None,
    }
}

#[test]
fn an_id_is_taken_once_and_given_back() {
    let root = tempfile::tempdir().unwrap();
    let id: ContainerId = "a".parse().unwrap();
    let dir = StateDir::create(root.path(), &id).unwrap();
    let again = StateDir::create(root.path(), &id).unwrap_err();
    assert!(matches!(again, Error::Exists(_)));

    dir.save(&state("a", None)).unwrap();
    let status = || State::load(root.path(), &id).unwrap().status();
    assert_eq!(status(), Status::Creating);
    let mut process = ProcessName::of(std::process::id().cast_signed()).unwrap();
    dir.save(&state("a", Some(process))).unwrap();
    assert_eq!(status(), Status::Running);
    process.start_ticks += 1;
    dir.save(&state("a", Some(process))).unwrap();
    let again = StateDir::create(root.path(), &id).unwrap_err();
    assert!(
        matches!(again, Error::Stale(_)),
        "another start time is another process"
    );

    assert_eq!(State::list(root.path()).unwrap().len(), 1);
    drop(dir);
    assert!(State::list(root.path()).unwrap().is_empty());
}

#[test]
fn an_ended_process_whose_group_lives() {
    let mut leader = Command::new("sh")
        .args(["-c", "sleep 60 >/dev/null & read end"])
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let number = leader.id().cast_signed();
    let name = ProcessName::of(number).unwrap();
    assert!(name.open().unwrap().is_some());
    // This closes its input and so ends it.
    leader.wait().unwrap();
    assert!(name.open().unwrap().is_none());
    let group = Pid::from_raw(number).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
}

#[test]
fn a_process_runs_whatever_it_calls_itself() {
    let (waits, alive) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        rustix::thread::set_name(c"\xff) Z (").unwrap();
        tell.send(rustix::thread::gettid()).unwrap();
        let _ = alive.recv();
    });
    let number = told.recv().unwrap().as_raw_nonzero().get();
    assert!(ProcessName::of(number).is_some());
    drop(waits);
    thread.join().unwrap();
}

#[test]
fn an_older_version_is_read_and_a_newer_one_is_not() {
    let root = tempfile::tempdir().unwrap();
    let id: ContainerId = "a".parse().unwrap();
    let old = r#"{"version": 1, "id": "a", "process": null, "creator": null, "bundle": "/b",
        "created_ms": 5, "cgroups": {"v2": "/c", "v1": [], "roots": []}, "policy": null}"#;
    fs::create_dir(root.path().join("a")).unwrap();
    fs::write(root.path().join("a/state.json"), old).unwrap();
    let state = State::load(root.path(), &id).unwrap();
    assert_eq!(state.status(), Status::Stopped);
    assert!(state.annotations.is_empty());
    fs::write(root.path().join("a/state.json"), "{\"version\": 99}").unwrap();
    let error = State::load(root.path(), &id).unwrap_err();
    assert!(matches!(error, Error::Version { found: 99, .. }));
    fs::create_dir(root.path().join("b")).unwrap();
    fs::write(root.path().join("b/state.json"), old).unwrap();
    assert_eq!(State::list(root.path()).unwrap().len(), 1);
}
