//! What a command printed, and what was expected of it.

use std::process::{Command, Stdio};

/// Seconds after which a command counts as hanging: many times what the slowest takes in an
/// emulated machine.
const LIMIT_SECONDS: &str = "90";

/// A command that came to its end.
///
/// What is expected of it is written as a chain; the first link that does not hold panics with
/// everything that the command printed, which is where engines repeat what the runtime said.
#[derive(Debug)]
pub(crate) struct Said {
    line: String,
    status: Option<i32>,
    out: String,
    err: String,
    background: fn() -> String,
}

/// Runs a command without input to its end, or ends it when it hangs.
pub(crate) fn run(command: &Command) -> Said {
    run_with(command, String::new)
}

/// The same for a command behind which something runs that has messages of its own.
pub(crate) fn run_with(command: &Command, background: fn() -> String) -> Said {
    let mut limited = Command::new("timeout");
    limited
        .args(["--kill-after=5", LIMIT_SECONDS])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let line = line_of(command);
    let output = limited
        .output()
        .unwrap_or_else(|error| panic!("execve `{line}`: {error}"));
    Said {
        line,
        status: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
        background,
    }
}

/// Runs a command with a terminal of 33 rows and 99 columns; its output and messages are one.
pub(crate) fn run_in_terminal(command: &Command, background: fn() -> String) -> Said {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
        .collect();
    let mut script = Command::new("script");
    let line = format!("stty rows 33 cols 99; exec {}", words.join(" "));
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    for (name, value) in command.get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    let mut said = run_with(&script, background);
    said.out = said.out.replace('\r', "");
    said
}

/// The words of a command, as one would type them.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Said {
    /// It succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    /// It exited with `status`.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        if self.status != Some(status) {
            self.give_up(&format!("exit status {status}"));
        }
        self
    }

    /// It failed.
    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        if self.status == Some(0) {
            self.give_up("a failure");
        }
        self
    }

    /// It printed these lines and no others.
    #[track_caller]
    pub(crate) fn prints(self, lines: &[&str]) -> Self {
        if self.lines() != lines {
            self.give_up(&format!("these lines: {lines:#?}"));
        }
        self
    }

    /// What it printed has `words` in it.
    #[track_caller]
    pub(crate) fn mentions(self, words: &str) -> Self {
        if !self.out.contains(words) {
            self.give_up(&format!("output with `{words}` in it"));
        }
        self
    }

    /// Its messages have one of `words` in them, whatever the case.
    #[track_caller]
    pub(crate) fn complains(self, words: &[&str]) -> Self {
        let err = self.err.to_lowercase();
        if !words.iter().any(|word| err.contains(&word.to_lowercase())) {
            self.give_up(&format!("a message with one of {words:?}"));
        }
        self
    }

    /// What it printed satisfies `holds`, which is `what`.
    #[track_caller]
    pub(crate) fn shows(self, what: &str, holds: impl Fn(&str) -> bool) -> Self {
        if !holds(&self.out) {
            self.give_up(what);
        }
        self
    }

    /// What it printed, without the space around it.
    pub(crate) fn out(&self) -> &str {
        self.out.trim()
    }

    /// The lines that it printed, each without the space around it.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.out().lines().map(str::trim).collect()
    }

    /// The panic of every expectation that does not hold.
    #[track_caller]
    fn give_up(&self, expected: &str) -> ! {
        let Said { line, out, err, .. } = self;
        let status = match self.status {
            Some(124) => "124 (it hung)".to_owned(),
            Some(status) => status.to_string(),
            None => "none: a signal".to_owned(),
        };
        let background = (self.background)();
        panic!(
            "`{line}`\n expected {expected}\n exit status {status}\n--- output\n{out}\n\
             --- messages\n{err}\n{background}"
        );
    }
}
