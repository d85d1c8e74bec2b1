//! On a kernel that was booted without `bpf` among its security modules: what cannot be enforced is
//! not started.
//!
//! Runs as root in a machine to throw away.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use reeve_tests::bundle::Config;
use reeve_tests::{Container, PolicyText, host, tools};

/// Everything of which a container makes some: state, pins, cgroups, mounts.
fn traces() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for directory in [host::STATE_DIR, host::PIN_DIR, "/sys/fs/cgroup"] {
        below(Path::new(directory), &mut found);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    found.extend(mounts.lines().map(str::to_owned));
    found
}

fn below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.insert(entry.path().display().to_string());
            below(&entry.path(), found);
        }
    }
}

fn container() -> Container {
    let args = ["/probe", "pid"].map(str::to_owned).to_vec();
    let config = Config {
        args,
        ..Config::default()
    };
    Container::new("no-lsm", config).expect("make a bundle")
}

#[test]
fn the_kernel_is_without_bpf() {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    assert!(
        !modules.split(',').any(|name| name.trim() == "bpf"),
        "this kernel has it: {modules}"
    );
}

#[test]
fn a_policy_is_refused_before_anything_is_made() {
    let container = container()
        .with_policy(PolicyText::new("policy"))
        .expect("write a policy");
    let before = traces();
    let finished = container.run(Stdio::null()).expect("run it");
    let after = traces();
    assert!(
        !finished.status.success(),
        "it started without enforcement: {}",
        finished.stdout
    );
    assert!(finished.stdout.is_empty(), "it ran: {}", finished.stdout);
    let remedy = finished.stderr.contains("lsm=") && finished.stderr.contains("bpf");
    assert!(
        remedy,
        "the message does not say what to change: {}",
        finished.stderr
    );
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "it made {new:#?}");
}

#[test]
fn without_a_policy_it_runs() {
    let finished = container().run(Stdio::null()).expect("run it");
    assert!(
        finished.status.success(),
        "{}: {}",
        finished.status,
        finished.stderr
    );
    assert_eq!(finished.stdout, "pid ok 1\n");
}

#[test]
fn the_doctor_says_so() {
    let output = tools::reeve()
        .expect("reeve")
        .arg("doctor")
        .output()
        .expect("reeve doctor");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{text}");
    assert!(
        text.contains("lsm=") && text.contains("bpf"),
        "the remedy is missing: {text}"
    );
    let quiet = tools::reeve()
        .expect("reeve")
        .args(["doctor", "--quiet"])
        .output()
        .expect("reeve");
    assert!(!quiet.status.success());
}
