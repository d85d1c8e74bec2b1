//! Exit status and signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::support::{both, contained, free, shell};

#[test]
fn exit_status_is_passed_through() {
    for code in [0, 1, 7, 42, 255] {
        both(shell(&format!("exit {code}")), |finished| {
            assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
        });
    }
}

/// As a shell shows it: 128 and the signal's number.
#[test]
fn a_signal_is_told_as_shells_do() {
    let mut config = shell("kill -KILL $$");
    config.host_pid = true;
    both(config, |finished| {
        assert_eq!(finished.status.code(), Some(128 + 9), "{}", finished.stderr);
    });
}

#[test]
fn output_and_input_are_the_containers() {
    both(shell("echo out; echo err >&2"), |finished| {
        assert_eq!(finished.stdout, "out\n", "{}", finished.stderr);
        assert!(finished.stderr.contains("err\n"), "{}", finished.stderr);
    });
    let container = free(shell("read line; echo \"read $line\""));
    let mut child = container
        .command()
        .expect("reeve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("reeve run");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"hello\n").expect("write");
    let output = child.wait_with_output().expect("wait");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "read hello\n");
}

#[test]
fn signals_are_forwarded() {
    for (name, number) in [
        ("TERM", 15),
        ("INT", 2),
        ("HUP", 1),
        ("USR1", 10),
        ("USR2", 12),
    ] {
        let script =
            format!("trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.1; done");
        let container = contained(shell(&script));
        let mut child = container
            .command()
            .expect("reeve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("reeve run");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n", "{name}");
        let target = child.id().to_string();
        let sent = Command::new("kill")
            .args([format!("-{number}"), target])
            .status();
        assert!(sent.expect("kill").success());
        let status = child.wait().expect("wait");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("read");
        assert_eq!((status.code(), rest.as_str()), (Some(5), "got\n"), "{name}");
    }
}
