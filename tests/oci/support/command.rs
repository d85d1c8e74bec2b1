//! One command of the runtime, run to its end within a bound.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reeve_tests::fixture;
use reeve_tests::oci::runtime::Runtime;
use reeve_tests::outcome::{Outcome, Report};

/// Longer than anything here takes, also on an emulated processor.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A command of the runtime under test with its state in `root`.
pub(crate) fn runtime(root: &Path) -> Command {
    let runtime = Runtime::under_test().expect("the runtime under test");
    let mut command = Command::new(&runtime.path);
    command.arg("--root").arg(root).stdin(Stdio::null());
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The file that its standard output went to: a container that it left running writes there.
    pub(crate) output: PathBuf,
}

/// A command that runs, with its output in files of `directory`.
#[derive(Debug)]
pub(crate) struct Started {
    line: String,
    pub(crate) child: Child,
    pub(crate) output: PathBuf,
    messages: PathBuf,
}

/// Starts a command. Its output goes to files, so that a container that is left running holds no
/// pipe.
pub(crate) fn start(command: &mut Command, directory: &Path) -> Started {
    let number = fixture::unique();
    let place = |name: &str| directory.join(format!("{name}.{number}"));
    let (output, messages) = (place("stdout"), place("stderr"));
    let file = |path: &PathBuf| File::create(path).expect("make a file for the output");
    command.stdout(file(&output)).stderr(file(&messages));
    let line = format!("{command:?}");
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    Started {
        line,
        child,
        output,
        messages,
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, directory: &Path) -> Ended {
    start(command, directory).wait()
}

impl Started {
    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for the command") {
                break status;
            }
            if begin.elapsed() > LIMIT {
                // The test fails; the command must not stay.
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!(
                    "{} does not end; it said:\n{}",
                    self.line,
                    text(&self.messages)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Ended {
            stdout: text(&self.output),
            stderr: text(&self.messages),
            line: self.line,
            output: self.output,
            status,
        }
    }

    /// Waits until its output has this many lines; all of it.
    pub(crate) fn lines(&self, count: usize) -> String {
        lines(&self.output, count)
    }
}

/// Waits until a file has this many lines; all of it.
pub(crate) fn lines(path: &Path, count: usize) -> String {
    let what = format!("{count} lines in `{}`", path.display());
    wait_until(&what, || {
        let text = text(path);
        (text.lines().count() >= count && text.ends_with('\n')).then_some(text)
    })
}

/// Waits until `ready` gives something.
pub(crate) fn wait_until<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    reeve_tests::host::wait_until(what, LIMIT, ready).unwrap_or_else(|error| panic!("{error}"))
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

impl Ended {
    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}", self.story());
        self
    }

    /// Fails the test if the command succeeded, was killed, or said nothing about why it failed.
    #[track_caller]
    pub(crate) fn refused(self) -> Self {
        let code = self.status.code();
        assert!(code.is_some_and(|code| code != 0), "{}", self.story());
        assert!(
            !self.stderr.trim().is_empty(),
            "no message: {}",
            self.story()
        );
        assert!(!self.stderr.contains("panicked at"), "{}", self.story());
        assert!(!self.stderr.contains("goroutine "), "{}", self.story());
        self
    }

    /// As [`Ended::refused`], with a message that names one of `words`.
    #[track_caller]
    pub(crate) fn refused_naming(self, words: &[&str]) -> Self {
        let ended = self.refused();
        let message = ended.stderr.to_lowercase();
        let named = words
            .iter()
            .any(|word| message.contains(&word.to_lowercase()));
        assert!(named, "none of {words:?} is named: {}", ended.story());
        ended
    }

    /// Fails the test unless the status is this.
    #[track_caller]
    pub(crate) fn with_status(self, status: i32) -> Self {
        assert_eq!(self.status.code(), Some(status), "{}", self.story());
        self
    }

    /// What the probe told, an outcome for each action.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let reports = self.stdout.lines().filter_map(Report::parse);
        reports.map(|report| report.outcome).collect()
    }

    /// The command with what it said, for a failed test.
    pub(crate) fn story(&self) -> String {
        format!(
            "{}\n{}\nstdout: {}\nstderr: {}",
            self.line,
            self.status,
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    text.chars().take(4000).collect()
}
