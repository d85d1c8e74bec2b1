//! `ctr tasks exec`: more processes in a container that runs.

use super::{Task, ctr_in_terminal};

#[test]
fn another_process() {
    let task = Task::shared();
    let script = "pwd; id -u; echo to-err >&2; exit 9";
    task.exec(&["--cwd=/tmp", "--user=1000"], &["sh", "-c", script])
        .exits(9)
        .prints(&["/tmp", "1000"])
        .complains(&["to-err"]);
    task.exec(&[], &["/no/such/program"])
        .fails()
        .complains(&["/no/such/program"]);
    assert_eq!(task.status(), "RUNNING");
    let args = ["exec", "--tty", "--exec-id=terminal"];
    let script = "test -t 0 && test -t 1 && tty; exit 5";
    ctr_in_terminal(&task.args(&args, &["sh", "-c", script]))
        .exits(5)
        .mentions("/dev/pts/0");
}

/// One in the background is listed, and can be killed alone.
#[test]
fn in_the_background() {
    let task = Task::waiting();
    let args = ["exec", "--detach", "--exec-id=background"];
    task.ctr(&args, &["sleep", "999"]).ok();
    task.ctr(&["ps"], &[]).ok().mentions("background");
    let args = ["kill", "--exec-id=background", "--signal=KILL"];
    task.ctr(&args, &[]).ok();
    let gone = "while pidof sleep | grep -q ' '; do sleep 0.1; done; pidof sleep | wc -w";
    task.exec(&[], &["timeout", "10", "sh", "-c", gone]).ok();
    assert_eq!(task.status(), "RUNNING");
}
