//! A terminal for the entry process, seen from a terminal of the caller's.

use std::process::{Command, Stdio};

use crate::support::{contained, shell};

/// Runs a container's command line under `script`, which gives it a terminal.
#[test]
fn a_terminal_is_a_terminal() {
    let mut config = shell("test -t 0 && test -t 1 && test -t 2 && tty && stty size; exit 3");
    config.terminal = true;
    let container = contained(config);
    let command = container.command().expect("reeve");
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    let line = format!("stty rows 33 cols 77; {}", words.join(" "));
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("/dev/pts/") || text.contains("/dev/console"),
        "{text}"
    );
    assert!(
        text.contains("33 77"),
        "the size is not the caller's: {text}"
    );
}

/// Without one, standard output is what it was.
#[test]
fn no_terminal_is_none() {
    let finished = crate::support::run(&contained(shell("test -t 1 || echo none")));
    assert_eq!(finished.stdout, "none\n", "{}", finished.stderr);
}
