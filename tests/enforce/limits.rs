//! Limits, priority and placement of the host's processes: with them a process can be ended or
//! blinded as by a signal.

use libc::EPERM;
use reeve_tests::PolicyText;
use reeve_tests::host::Bystander;

use crate::support::{Contained, Grounds};

/// Each hook with the action of the probe that comes to it.
const ACTIONS: [(&str, &str); 4] = [
    ("task_setrlimit", "set-limit"),
    ("task_setnice", "set-nice"),
    ("task_setioprio", "set-io-priority"),
    ("task_setscheduler", "set-affinity"),
];

#[test]
fn limits_granted() {
    let mut contained = Contained::among_host_processes(PolicyText::new("limits"));
    let own = contained.allowed("task_kill", "pid");
    for (hook, action) in ACTIONS {
        contained.allowed(hook, format!("{action} {own}"));
    }
    contained.end();
}

#[test]
fn limits_refused() {
    let grounds = Grounds::new();
    let target = Bystander::start(grounds.fixture().at("target")).expect("start a bystander");
    let mut contained = Contained::among_host_processes(PolicyText::new("limits"));
    for (hook, action) in ACTIONS {
        contained.refused(hook, EPERM, format!("{action} {}", target.pid()));
    }
    contained.end();
}
