//! `podman exec`: more processes in a container that runs.

use super::{Container, podman_in_terminal};

/// Output, status, environment, directory, user.
#[test]
fn another_process() {
    let box_ = Container::shared();
    let script = "echo $A $B; pwd; id -u; id -G; echo to-err >&2; exit 9";
    let options = ["--env=B=inner", "--workdir=/tmp", "--user=alice"];
    let said = box_.exec(&options, &["sh", "-c", script]);
    said.exits(9)
        .prints(&["outer inner", "/tmp", "1000", "1000"])
        .complains(&["to-err"]);
    // It is in the container's namespaces and cgroup, with its seccomp filter.
    let script = "for n in pid mnt net ipc uts cgroup; do \
        [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n differs; done; \
        cat /proc/self/cgroup; grep Seccomp: /proc/self/status";
    box_.exec(&[], &["sh", "-c", script])
        .ok()
        .prints(&["0::/", "Seccomp:\t2"]);
    // Nothing is open but the three standard ones, and the directory that is listed.
    box_.exec(&[], &["ls", "/proc/self/fd"])
        .ok()
        .prints(&["0", "1", "2", "3"]);
}

/// A program that cannot be executed, and a container that goes on.
#[test]
fn no_such_program() {
    let box_ = Container::shared();
    box_.exec(&[], &["/no/such/program"])
        .exits(127)
        .complains(&["no such file"]);
    box_.exec(&[], &["/etc/passwd"])
        .exits(126)
        .complains(&["permission denied"]);
    assert_eq!(box_.inspect("{{.State.Status}}"), "running");
}

#[test]
fn terminal() {
    let box_ = Container::shared();
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; \
        i=0; while [ \"$(stty size)\" != '33 99' ] && [ $i -lt 100 ]; do sleep 0.1; \
        i=$((i + 1)); done; stty size; exit 5";
    podman_in_terminal(&box_.args(&["exec", "-it"], &["sh", "-c", script]))
        .exits(5)
        .mentions("/dev/pts/0")
        .mentions("33 99");
}

/// In the background, privileged.
#[test]
fn detached_and_privileged() {
    let box_ = Container::waiting(&[]);
    let script = "grep CapEff /proc/self/status >/tmp/caps; sleep 1000";
    box_.exec(&["--detach", "--privileged"], &["sh", "-c", script])
        .ok();
    let look = "while ! [ -s /tmp/caps ]; do sleep 0.1; done; cat /tmp/caps";
    box_.exec(&[], &["sh", "-c", look])
        .ok()
        .prints(&["CapEff:\t000001ffffffffff"]);
    box_.podman(&["top"], &["pid", "args"])
        .ok()
        .mentions("sleep 1000");
    // It goes with the container.
    let id = box_.inspect("{{.Id}}");
    box_.podman(&["rm", "--force", "--time=0"], &[]).ok();
    crate::machine::nothing_left(&id);
}
