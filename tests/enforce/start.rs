//! The start of a container: no instruction of it runs before its policy does.

use std::fs;
use std::process::Stdio;

use libc::EACCES;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Container, PolicyText};

use crate::support::{Grounds, keep_loaded, prepared};

/// A container whose first deed is the forbidden one, two hundred times, four at once.
#[test]
fn start_race() {
    const STARTS: usize = 200;
    const AT_ONCE: usize = 4;
    let grounds = Grounds::new();
    let canary = grounds.plot("closed").join("file");
    let args = ["/probe", "write", &in_container(&canary), "changed"]
        .map(str::to_owned)
        .to_vec();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let config = Config {
                args: args.clone(),
                usual_mounts: false,
                ..Config::default()
            };
            let container = prepared(config, PolicyText::new("race"));
            scope.spawn(move || start_again_and_again(&container, STARTS / AT_ONCE));
        }
    });
    let text = fs::read_to_string(&canary).expect("read the canary");
    assert_eq!(
        text, "content of file\n",
        "hook `bprm_committing_creds` let a first write through"
    );
}

fn start_again_and_again(container: &Container, starts: usize) {
    for start in 0..starts {
        let finished = container.run(Stdio::null()).expect("run it");
        assert_eq!(
            finished.status.code(),
            Some(EACCES),
            "hook `bprm_committing_creds`, start {start}: {} {}{}",
            finished.status,
            finished.stdout,
            finished.stderr
        );
    }
}

/// The same as the first deed of threads and children that start at once.
#[test]
fn first_deed_of_children() {
    let grounds = Grounds::new();
    let canary = grounds.plot("closed").join("file");
    let write = format!("write {} changed", in_container(&canary));
    for way in ["fork", "thread", "daemon", "unshare user"] {
        let words = format!("/probe {way} {write}");
        let args = words.split(' ').map(str::to_owned).collect();
        let container = prepared(
            Config {
                args,
                ..Config::default()
            },
            PolicyText::new("children"),
        );
        let finished = container.run(Stdio::null()).expect("run it");
        assert_eq!(
            finished.status.code(),
            Some(EACCES),
            "hook `task_alloc`, {way}: {finished:?}"
        );
    }
    assert_eq!(
        fs::read_to_string(&canary).expect("read"),
        "content of file\n"
    );
}

/// A policy that cannot be had is a container that does not start.
#[test]
fn no_policy_no_start() {
    let grounds = Grounds::new();
    let canary = grounds.plot("closed").join("file");
    let args = ["/probe", "write", &in_container(&canary), "changed"]
        .map(str::to_owned)
        .to_vec();
    for text in [
        "reeve: v1\nname: broken\nfiles: { path: /etc }\n",
        "reeve: v2\nname: newer\n",
        "reeve: v1\nname: missing\nfiles:\n  - { path: /no/such/path, allow: [read] }\n",
        "not: [a, policy",
        "",
    ] {
        let config = Config {
            args: args.clone(),
            ..Config::default()
        };
        keep_loaded();
        let container = Container::new("no-policy", config).expect("a bundle");
        let container = container.with_policy(text).expect("write the policy");
        let finished = container.run(Stdio::null()).expect("run it");
        assert!(
            !finished.status.success(),
            "it started with the policy {text:?}"
        );
        assert!(
            finished.stderr.contains("policy.yaml"),
            "the file is named: {}",
            finished.stderr
        );
        assert!(finished.reports().is_empty(), "it ran: {}", finished.stdout);
    }
    assert_eq!(
        fs::read_to_string(&canary).expect("read"),
        "content of file\n"
    );
}
