//! Signals and tracing of the host's processes.

use libc::EPERM;
use reeve_tests::PolicyText;
use reeve_tests::host::Bystander;

use crate::support::{Contained, Grounds};

fn bystander(grounds: &Grounds, name: &str) -> Bystander {
    Bystander::start(grounds.fixture().at(name)).expect("start a bystander")
}

#[test]
fn signal_granted() {
    let grounds = Grounds::new();
    let mut target = bystander(&grounds, "target");
    let policy = PolicyText::new("signal").signal(target.exe(), "probe, USR1, TERM");
    let mut contained = Contained::among_host_processes(policy);
    contained.allowed("task_kill", format!("kill {} 0", target.pid()));
    contained.allowed("task_kill", format!("pidfd-kill {} 15", target.pid()));
    target.wait_end().expect("the signal arrives");
    contained.end();
}

#[test]
fn signal_refused() {
    let grounds = Grounds::new();
    let (mut named, mut unnamed) = (bystander(&grounds, "named"), bystander(&grounds, "unnamed"));
    let policy = PolicyText::new("signal").signal(named.exe(), "TERM");
    let mut contained = Contained::among_host_processes(policy);
    for (pid, signal) in [
        (named.pid(), 9),
        (named.pid(), 0),
        (unnamed.pid(), 15),
        (1, 10),
    ] {
        contained.refused("task_kill", EPERM, format!("kill {pid} {signal}"));
        contained.refused("task_kill", EPERM, format!("pidfd-kill {pid} {signal}"));
    }
    assert!(
        named.alive() && unnamed.alive(),
        "hook `task_kill` refused and a process is gone"
    );
    contained.end();
}

/// Its own processes a container signals and traces as it likes.
#[test]
fn own_processes_are_free() {
    let mut contained = Contained::among_host_processes(PolicyText::new("own"));
    let own = contained.allowed("task_kill", "pid");
    contained.allowed("task_kill", format!("kill {own} 0"));
    contained.allowed("task_kill", format!("fork kill {own} 0"));
    contained.allowed("ptrace_access_check", format!("read /proc/{own}/environ"));
    contained.end();
}

#[test]
fn ptrace_granted() {
    let grounds = Grounds::new();
    let target = bystander(&grounds, "target");
    let mut contained =
        Contained::among_host_processes(PolicyText::new("ptrace").ptrace(target.exe(), "attach"));
    contained.allowed(
        "ptrace_access_check",
        format!("ptrace-attach {}", target.pid()),
    );
    contained.allowed(
        "ptrace_access_check",
        format!("pidfd-getfd {} 0", target.pid()),
    );
    contained.allowed(
        "ptrace_access_check",
        format!("fork ptrace-seize {}", target.pid()),
    );
    contained.end();
}

#[test]
fn ptrace_refused() {
    let grounds = Grounds::new();
    let (reads, unnamed) = (bystander(&grounds, "reads"), bystander(&grounds, "unnamed"));
    let policy = PolicyText::new("ptrace").ptrace(reads.exe(), "read");
    let mut contained = Contained::among_host_processes(policy);
    for pid in [reads.pid(), unnamed.pid(), 1] {
        let hook = "ptrace_access_check";
        contained.refused(hook, EPERM, format!("ptrace-attach {pid}"));
        contained.refused(hook, EPERM, format!("fork ptrace-seize {pid}"));
        contained.refused(hook, EPERM, format!("process-vm-read {pid} 4096"));
        contained.refused(hook, EPERM, format!("pidfd-getfd {pid} 0"));
    }
    contained.end();
}

/// What procfs shows of the host's processes is the host's.
#[test]
fn environment_of_the_host_refused() {
    let grounds = Grounds::new();
    let target = bystander(&grounds, "target");
    let mut contained = Contained::among_host_processes(PolicyText::new("environ"));
    for root in ["/proc", "/host/proc"] {
        for entry in ["environ", "mem", "root/etc/passwd", "maps"] {
            let action = format!("open r {root}/{}/{entry}", target.pid());
            let outcome = contained.attempt(&action);
            assert!(
                !outcome.is_done(),
                "hook `ptrace_access_check` let `{action}` through"
            );
        }
    }
    contained.end();
}

/// One container is nothing to another, not even with a grant for its executable.
#[test]
fn other_containers_are_out_of_reach() {
    let grounds = Grounds::new();
    let mut other = Contained::among_host_processes(PolicyText::new("other"));
    let pid = other.allowed("task_kill", "pid");
    let exe = other.running().container().root().join("probe");
    let policy = PolicyText::new("neighbour")
        .signal(&exe, "KILL, TERM")
        .ptrace(&exe, "attach");
    let mut contained = Contained::among_host_processes(policy);
    contained.refused("task_kill", EPERM, format!("kill {pid} 9"));
    contained.refused("ptrace_access_check", EPERM, format!("ptrace-attach {pid}"));
    other.allowed("task_kill", "pid");
    contained.end();
    other.end();
    drop(grounds);
}
