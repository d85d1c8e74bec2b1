//! A policy learned from what a container did allows that, and nothing else of the host.

use libc::EACCES;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Container, audit, tools};

use crate::support::{Contained, Grounds, keep_loaded};

fn start(name: &str, policy: &str) -> Contained {
    keep_loaded();
    let container = Container::new(name, Config::default()).expect("make the bundle");
    Contained::of(container.with_policy(policy).expect("write the policy"))
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
    let mut command = tools::reeve().expect("reeve");
    let learned = tools::output(command.args(["policy", "learn", &id]));
    let learned = learned.expect("reeve policy learn");
    learner.end();

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
