//! Steps of a test run, and their summary.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps done so far.
pub(crate) struct Steps {
    start: Instant,
    done: Vec<Step>,
}

/// One step that was done.
pub(crate) struct Step {
    name: String,
    elapsed: Duration,
    state: State,
    runner_lines: Vec<String>,
}

/// How a step went.
enum State {
    Ok,
    Skipped(String),
    Failed(String),
}

/// What a step without a failure says of itself.
pub(crate) enum Done {
    /// It was done; what it printed, as far as a test runner's results may be in it.
    Ran(String),
    /// It could not be done here, which is no failure; why.
    Skipped(String),
}

impl Steps {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Steps {
            start: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Runs one step that has no test runner.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        self.run_any(name, || step().map(|()| Done::Ran(String::new())));
    }

    /// Runs one step and keeps the result lines of the test runners in the output it returns.
    ///
    /// An output without them is no failure here: whoever expects some checks with [`results`].
    pub(crate) fn run_tests(&mut self, name: &str, step: impl FnOnce() -> Result<String>) {
        self.run_any(name, || step().map(Done::Ran));
    }

    /// Runs one step that may find that it cannot be done here.
    pub(crate) fn run_any(&mut self, name: &str, step: impl FnOnce() -> Result<Done>) {
        self.add(Step::perform(name, step));
    }

    /// Adds a step that was done elsewhere.
    pub(crate) fn add(&mut self, step: Step) {
        self.done.push(step);
    }

    /// Prints the summary; success if no step failed.
    pub(crate) fn finish(self) -> ExitCode {
        let lengths = self.done.iter().map(|step| step.name.len());
        let width = lengths.max().unwrap_or_default();
        println!("\nsummary ({:.0} s)", self.start.elapsed().as_secs_f32());
        for step in &self.done {
            let seconds = step.elapsed.as_secs_f32();
            let (word, reason) = step.state.describe();
            let line = format!(
                "  {:<width$}  {word:<7}  {seconds:>6.1} s  {reason}",
                step.name
            );
            println!("{}", line.trim_end());
        }
        println!("\ntest runners");
        for step in &self.done {
            for line in &step.runner_lines {
                println!("  {:<width$}  {line}", step.name);
            }
        }
        let is_failed = |step: &Step| matches!(step.state, State::Failed(_));
        if self.done.iter().any(is_failed) {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

impl Step {
    /// Does one step.
    pub(crate) fn perform(name: &str, step: impl FnOnce() -> Result<Done>) -> Step {
        eprintln!("\n=== {name}");
        let start = Instant::now();
        let outcome = step();
        let elapsed = start.elapsed();
        let (state, output) = match outcome {
            Ok(Done::Ran(output)) => (State::Ok, output),
            Ok(Done::Skipped(reason)) => (State::Skipped(reason), String::new()),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                let failed = error.downcast_ref::<Failed>();
                let output = failed.map(|failed| failed.output.clone());
                let reason = first_line(&format!("{error:#}"));
                (State::Failed(reason), output.unwrap_or_default())
            }
        };
        let (word, reason) = state.describe();
        eprintln!(
            "=== {name}: {word} ({:.0} s) {reason}",
            elapsed.as_secs_f32()
        );
        Step {
            name: name.to_owned(),
            elapsed,
            state,
            runner_lines: results(&output).into_iter().map(str::to_owned).collect(),
        }
    }
}

impl State {
    /// A word, and a reason that may be empty.
    fn describe(&self) -> (&'static str, &str) {
        match self {
            State::Ok => ("ok", ""),
            State::Skipped(reason) => ("skipped", reason),
            State::Failed(reason) => ("FAILED", reason),
        }
    }
}

/// A failure whose output has result lines all the same.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What failed.
    pub(crate) what: String,
    /// What the runners printed.
    pub(crate) output: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failed {}

/// The lines in which the test runners give their results.
pub(crate) fn results(output: &str) -> Vec<&str> {
    let lines = output.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("test result:"))
        .collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
