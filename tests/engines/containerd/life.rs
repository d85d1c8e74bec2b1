//! What containerd does to a task that runs.

use super::{Task, ctr};
use crate::machine;

#[test]
fn kill_and_delete() {
    let task = Task::waiting();
    task.ctr(&["kill", "--signal=TERM"], &[]).ok();
    task.wait_for("STOPPED");
    task.ctr(&["delete"], &[]).complains(&["exit code 4"]);
    assert_eq!(task.status(), "absent");
    ctr(&["containers", "delete", &task.name]).ok();
    machine::nothing_left(&task.name);
}

#[test]
fn kill_all() {
    let task = Task::start(&[], "trap '' TERM; sleep 1000 & wait");
    task.ctr(&["kill", "--all", "--signal=KILL"], &[]).ok();
    task.wait_for("STOPPED");
    task.ctr(&["delete"], &[]).complains(&["exit code 137"]);
}

#[test]
fn pause_resume_and_metrics() {
    let task = Task::shared();
    task.ctr(&["pause"], &[]).ok();
    assert_eq!(task.status(), "PAUSED");
    task.ctr(&["resume"], &[]).ok();
    assert_eq!(task.status(), "RUNNING");
    task.ctr(&["metrics", "--format=json"], &[])
        .ok()
        .mentions("\"usage_usec\"")
        .mentions("\"pids\"");
    task.ctr(&["ps"], &[])
        .ok()
        .shows("two processes", |out| out.trim().lines().count() == 3);
}

/// Without CRIU there is a word about it, and the task goes on.
#[test]
fn checkpoint_without_criu() {
    let task = Task::shared();
    task.ctr(&["checkpoint"], &[])
        .fails()
        .complains(&["criu", "checkpoint"]);
    task.wait_for("RUNNING");
    task.exec(&[], &["true"]).ok();
}
