//! To whom a policy applies: every task that comes of the entry process, wherever it goes.

use std::fs;
use std::path::PathBuf;

use libc::{EACCES, EPERM};
use reeve_tests::PolicyText;
use reeve_tests::fixture::in_container;

use crate::support::{Contained, Grounds};

/// Tries a granted and a refused write by each of `ways`, which precede an action.
fn inherited(ways: &[&str]) {
    let grounds = Grounds::new();
    let (open, closed) = (grounds.plot("open"), grounds.plot("closed"));
    let policy = PolicyText::new("inherit").file(&open, "read, write");
    let mut contained = Contained::start(policy);
    let (granted, refused) = (
        in_container(open.join("file")),
        in_container(closed.join("file")),
    );
    for way in ways {
        contained.allowed("task_alloc", format!("{way} open w {granted}"));
        contained.refused("file_open", EACCES, format!("{way} open w {refused}"));
    }
    contained.end();
}

#[test]
fn inherit_fork() {
    inherited(&["fork", "fork-deep 5", "thread", "fork thread", "daemon"]);
}

#[test]
fn inherit_exec() {
    inherited(&[
        "self-exec",
        "exec-memfd",
        "fork self-exec",
        "daemon self-exec",
    ]);
}

#[test]
fn inherit_unshare() {
    inherited(&[
        "unshare user",
        "unshare user,mount,pid,net,ipc,uts,cgroup",
        "unshare user,pid daemon self-exec",
    ]);
}

/// Other credentials are the same subject.
#[test]
fn inherit_credentials() {
    inherited(&[
        "as 65534",
        "as 1000 self-exec",
        "as 1000 unshare user,mount",
    ]);
}

#[test]
fn inherit_uring() {
    let grounds = Grounds::new();
    let (open, closed) = (grounds.plot("open"), grounds.plot("closed"));
    let policy = PolicyText::new("uring").file(&open, "read, write");
    let mut contained = Contained::start(policy);
    let (granted, refused) = (
        in_container(open.join("file")),
        in_container(closed.join("file")),
    );
    for action in ["uring-open", "uring-open-inline", "fork uring-open"] {
        contained.allowed("task_alloc", format!("{action} w {granted}"));
        contained.refused("file_open", EACCES, format!("{action} w {refused}"));
    }
    contained.end();
}

/// A cgroup outside the container's, made for a test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let path = PathBuf::from(format!("/sys/fs/cgroup/outside-{}", std::process::id()));
        fs::create_dir_all(&path).expect("make a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A child that is born in another cgroup, and one that moves itself there, are still the
/// container's.
#[test]
fn inherit_clone_into_cgroup() {
    let cgroup = Cgroup::new();
    let other = in_container(&cgroup.0);
    let mut contained = Contained::start(PolicyText::new("procs"));
    // Neither a child nor itself: the container's limits and its end are those of its cgroup.
    contained.refused("task_alloc", EACCES, format!("in-cgroup {other} pid"));
    contained.refused("file_open", EACCES, format!("write {other}/cgroup.procs 0"));
    contained.end();
}

/// Joining a namespace of the host's needs what a container has not; one of its own changes
/// nothing.
#[test]
fn inherit_setns() {
    let mut contained = Contained::among_host_processes(
        PolicyText::new("setns")
            .capability("SYS_ADMIN", "setns")
            .capability("SYS_CHROOT", "setns"),
    );
    for namespace in ["mnt", "pid", "net", "uts", "ipc", "cgroup", "user"] {
        for proc in ["/proc", "/host/proc"] {
            let action = format!("setns {proc}/1/ns/{namespace} pid");
            let outcome = contained.attempt(&action);
            let errno = outcome.errno();
            assert!(
                errno == Some(EPERM) || errno == Some(EACCES),
                "hook `ptrace_access_check`, `{action}`: {outcome}"
            );
        }
    }
    contained.allowed("task_alloc", "setns /proc/self/ns/uts pid");
    contained.end();
}

/// Two containers do not see each other's grants, nor do a container's own children see more than
/// it does.
#[test]
fn two_policies() {
    let grounds = Grounds::new();
    let (first, second) = (grounds.plot("first"), grounds.plot("second"));
    let mut one = Contained::start(PolicyText::new("one").file(&first, "read, write"));
    let mut two = Contained::start(PolicyText::new("two").file(&second, "read, write"));
    let (first, second) = (in_container(&first), in_container(&second));
    one.allowed("file_open", format!("open w {first}/file"));
    two.allowed("file_open", format!("open w {second}/file"));
    one.refused("file_open", EACCES, format!("open r {second}/file"));
    two.refused("file_open", EACCES, format!("open r {first}/file"));
    one.end();
    // The end of one is not the end of the other.
    two.refused("file_open", EACCES, format!("open r {first}/file"));
    two.allowed("file_open", format!("open w {second}/file"));
    two.end();
}

/// 32 at once, each with a directory of its own.
#[test]
fn many_policies_at_once() {
    const COUNT: usize = 32;
    let grounds = Grounds::new();
    let plots: Vec<PathBuf> = (0..COUNT)
        .map(|n| grounds.plot(&format!("plot-{n}")))
        .collect();
    let mut containers: Vec<Contained> = plots
        .iter()
        .map(|plot| Contained::start(PolicyText::new("many").file(plot, "read, write")))
        .collect();
    for contained in &mut containers {
        for plot in &plots {
            contained
                .running()
                .send(&format!("open rw {}/file", in_container(plot)))
                .expect("ask");
        }
    }
    for (own, contained) in containers.iter_mut().enumerate() {
        for other in 0..COUNT {
            let outcome = contained.running().receive("open rw").expect("answer");
            let expected = if own == other { 0 } else { EACCES };
            assert_eq!(
                outcome.errno(),
                Some(expected),
                "hook `file_open`: container {own}, directory {other}: {outcome}"
            );
        }
    }
    containers.into_iter().for_each(Contained::end);
}

/// Without `reeve` the policy stands: nothing in user space enforces it.
#[test]
fn survival() {
    let grounds = Grounds::new();
    let (open, closed) = (grounds.plot("open"), grounds.plot("closed"));
    let policy = PolicyText::new("survival").file(&open, "read, write");
    let mut contained = Contained::start(policy);
    let (granted, refused) = (
        in_container(open.join("file")),
        in_container(closed.join("file")),
    );
    contained.refused("file_open", EACCES, format!("open w {refused}"));
    let entry = contained.running().entry_pid().expect("the entry process");
    contained.running().kill_runtime().expect("kill reeve");
    for _ in 0..3 {
        // The container may end with its runtime; what it must not do is run on without its policy.
        let Ok(outcome) = contained.running().attempt(format!("open w {refused}")) else {
            return;
        };
        assert_eq!(
            outcome.errno(),
            Some(EACCES),
            "hook `file_open` after `reeve` died: {outcome}"
        );
        contained.allowed("file_open", format!("fork self-exec open w {granted}"));
        contained.refused(
            "file_open",
            EACCES,
            format!("daemon self-exec open w {refused}"),
        );
    }
    reeve_tests::host::kill(entry);
}
