//! The tutorial's commands, in its order, with the outputs that it shows.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use reeve_tests::tools;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");

/// From here on it removes what other tests need.
const END: &str = "## 9. Clean up";

/// Stands for lines, or for a part of one, that differ from run to run.
const GAP: &str = "…";

/// A block of the tutorial: commands, or one command with its output.
struct Step {
    command: String,
    output: Option<Vec<String>>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut fence = "";
    for line in text.lines() {
        match (fence, line) {
            ("", line) => {
                fence = line.strip_prefix("```").unwrap_or("");
                if fence == "sh" {
                    steps.push(Step {
                        command: String::new(),
                        output: None,
                    });
                }
            }
            (_, "```") => fence = "",
            ("sh", line) => {
                if let Some(step) = steps.last_mut() {
                    step.command += line;
                    step.command.push('\n');
                }
            }
            ("console", line) => match (line.strip_prefix("# "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: format!("{command}\n"),
                    output: Some(Vec::new()),
                }),
                (None, Some(step)) => step.output.get_or_insert_default().push(line.to_owned()),
                (None, None) => {}
            },
            _ => {}
        }
    }
    steps
}

/// One shell for all steps: what the reader sets in one is there in the next.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    const DONE: &str = "-- the step has ended --";

    fn start() -> Self {
        let reeve = tools::find("reeve").expect("reeve");
        let programs = reeve.parent().expect("its directory").to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .env("PATH", format!("{}:{path}", programs.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start bash");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut shell = Self {
            child,
            input,
            output,
        };
        shell.run("exec 2>&1\n");
        shell
    }

    /// What a step prints, on both streams.
    fn run(&mut self, command: &str) -> Vec<String> {
        let (input, done) = (&mut self.input, Self::DONE);
        write!(
            input,
            "{{\n{command}}} < /dev/null\nprintf '\\n{done}\\n'\n"
        )
        .expect("to bash");
        let mut lines = Vec::new();
        for line in self.output.by_ref().lines() {
            match line.expect("from bash") {
                line if line == done => break,
                line => lines.push(line),
            }
        }
        // That of the line before the mark, if the output had an end of its own.
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line without what is never the same: times, process ids, the widths of columns.
fn plain(line: &str) -> String {
    let is_time = |word: &str| word.len() == 8 && word.split(':').count() == 3;
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if let [time, _, pid, ..] = words.as_mut_slice()
        && is_time(time)
    {
        (*time, *pid) = ("TIME", "PID");
    }
    words.join(" ")
}

fn same(shown: &str, found: &str) -> bool {
    let (shown, found) = (plain(shown), plain(found));
    match shown.split_once(GAP) {
        Some((start, end)) => found.starts_with(start.trim()) && found.ends_with(end.trim()),
        None => shown == found,
    }
}

fn fits(shown: &[String], found: &[String]) -> bool {
    match (shown, found) {
        ([], found) => found.is_empty(),
        ([gap, rest @ ..], found) if gap == GAP => {
            (0..=found.len()).any(|at| fits(rest, found.get(at..).unwrap_or_default()))
        }
        ([line, rest @ ..], [first, after @ ..]) => same(line, first) && fits(rest, after),
        (_, []) => false,
    }
}

#[test]
fn the_tutorial_shows_what_happens() {
    let text = TUTORIAL.split(END).next().unwrap_or_default();
    let steps = steps(text);
    assert!(steps.len() > 20, "{} steps", steps.len());
    let mut shell = Shell::start();
    let mut failures = String::new();
    for step in steps {
        let found = shell.run(&step.command);
        let shown = step.output.unwrap_or_default();
        if !fits(&shown, &found) {
            failures += &format!(
                "# {}--- shown\n{}\n--- found\n{}\n",
                step.command,
                shown.join("\n"),
                found.join("\n")
            );
        }
    }
    let _ = std::fs::remove_dir_all("/srv/tutorial");
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn gaps_and_numbers_fit() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let fits = |shown: &str, found: &str| fits(&lines(shown), &lines(found));
    assert!(fits("a\n…\nd", "a\nb\nc\nd") && fits("…", "") && fits("x … y", "x 1 2 y"));
    assert!(fits("11:57:00  second  161  sh", "12:00:01 second   9 sh"));
    assert!(!fits("a", "a\nb") && !fits("a\n…\nd", "a\nd\ne") && !fits("a", ""));
}
