//! The suites that run on real kernels.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, bail};
use guest_init::Outcome;
use tempfile::TempDir;

use super::step::{Done, Failed, Step, Steps, results};
use super::{guests, oci};
use crate::build::{self, Guest};
use crate::cmd::Cmd;
use crate::setup::kernels::{self, Kernel};
use crate::setup::{self, Need, peers};
use crate::vm::{self, Ending, Machine, Show, Verdict};

/// An integration test of `reeve-tests` that needs a machine to itself.
struct Suite {
    /// Name of the test target.
    name: &'static str,
    /// Added to the kernel's command line.
    append: &'static str,
    /// Seconds it may take under emulation.
    limit_seconds: u64,
    /// Tests that it may leave out; each says why in its `ignore` attribute.
    may_ignore: &'static [&'static str],
    /// The only kernel to run it on: one for which the tests do not differ from other kernels.
    only: Option<&'static str>,
    /// A kernel on which it runs only if asked for by name: it lies between others, and machines
    /// are slow.
    passes_over: Option<&'static str>,
    /// The runtime of Debian that it runs with, rather than `reeve`.
    peer: Option<&'static str>,
    /// Tests at a time: more than one where they do not disturb each other.
    threads: u8,
    /// Modules of tests that are enough after the suite has run here, natively; none are all.
    after_native: &'static [&'static str],
}

/// What most suites are like.
const SUITE: Suite = Suite {
    name: "",
    append: "",
    limit_seconds: 1200,
    may_ignore: &[],
    only: None,
    passes_over: None,
    peer: None,
    threads: 1,
    after_native: &[],
};

/// The conformance suite: of interest here for the one thing that few hosts have, version 2 of
/// control groups alone. Asked for by name it runs as a whole.
const OCI: Suite = Suite {
    name: oci::NAME,
    only: Some("6.12"),
    threads: 2,
    after_native: &[
        "cgroups::",
        "devices::",
        "exec::",
        "lifecycle::",
        "namespaces::",
        "operations::",
        "process::",
        "resources::",
        "tuning::",
    ],
    ..SUITE
};

/// In the order in which they are started: the longest first.
const SUITES: &[Suite] = &[
    // About command lines and formats, which are the same on every kernel.
    Suite {
        name: "engines",
        only: Some("6.12"),
        limit_seconds: 900,
        ..SUITE
    },
    Suite {
        name: "enforce",
        ..SUITE
    },
    Suite {
        name: "escape",
        ..SUITE
    },
    Suite {
        name: "lifecycle",
        passes_over: Some("6.12"),
        ..SUITE
    },
    OCI,
    Suite {
        peer: Some("crun"),
        ..OCI
    },
    Suite {
        peer: Some("runc"),
        ..OCI
    },
    Suite {
        name: "storage",
        limit_seconds: 600,
        passes_over: Some("6.12"),
        ..SUITE
    },
    Suite {
        name: "no_lsm",
        append: "lsm=landlock,lockdown,yama,apparmor",
        limit_seconds: 300,
        ..SUITE
    },
];

/// Variables of the caller that the suites are given: the runtime to test in the place of ours.
const PASSED_ON: &[&str] = &["REEVE_TEST_RUNTIME"];

const MEMORY_MIB: u32 = 2048;

/// Where the other runtimes are in a machine.
const PEERS: &str = "/payload/peers";

/// Machines at a time; each takes [`MEMORY_MIB`].
const MOST_MACHINES: usize = 4;

/// Which suites on which kernels.
pub(crate) struct Wanted<'a> {
    /// A kernel's name or `all`.
    pub(crate) kernel: &'a str,
    /// Only this suite.
    pub(crate) suite: Option<&'a str>,
    /// More arguments for the test runner.
    pub(crate) runner: &'a [String],
}

/// Runs the steps.
pub(crate) fn run(steps: &mut Steps, wanted: &Wanted<'_>) {
    if wanted.suite == Some(guests::NAME) {
        steps.run("machines", vm::ensure);
        steps.run(guests::NAME, || {
            let programs = build::guest_payload(&Guest {
                bins: &["vmstorage"],
                tests: &[],
            })?;
            guests::run(&programs.path().join("bin"))
        });
        return;
    }
    let mut ready = None;
    steps.run("machines", || {
        vm::ensure()?;
        ready = Some((runs(wanted)?, payload(wanted)?));
        Ok(())
    });
    // Without machines the step above has failed, and so has the run.
    let Some((runs, payload)) = ready else {
        return;
    };
    let perform = |run: &Run| {
        let output = || run.perform(&payload, &run.suite.arguments(wanted));
        Step::perform(&run.name(), || output().map(Done::Ran))
    };
    for step in side_by_side(&runs, perform) {
        steps.add(step);
    }
    if wanted.suite.is_none() {
        steps.run(guests::NAME, || guests::run(&payload.path().join("bin")));
    }
}

/// Does `perform` for each of `runs`, one for each processor at a time; the results in order.
///
/// A suite keeps about one emulated processor busy.
fn side_by_side(runs: &[Run], perform: impl Fn(&Run) -> Step + Sync) -> Vec<Step> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(index) else { return };
            let step = perform(run);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((index, step));
        }
    };
    thread::scope(|scope| {
        for _ in 0..processors.min(MOST_MACHINES) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, step)| step).collect()
}

/// Names of the test targets.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let own = SUITES.iter().filter(|suite| suite.peer.is_none());
    own.map(|suite| suite.name)
}

/// Those that are wanted. What other runtimes do in a machine is of interest to who changes the
/// suite, and takes long: it must be asked for by the suite's name. They are run here in any case.
fn suites(wanted: &Wanted<'_>) -> Result<Vec<&'static Suite>> {
    let is_wanted = |suite: &&Suite| match wanted.suite {
        Some(name) => name == suite.name,
        None => suite.peer.is_none(),
    };
    let found: Vec<&Suite> = SUITES.iter().filter(is_wanted).collect();
    if found.is_empty() {
        let names = names().collect::<Vec<_>>().join(", ");
        bail!("no such suite\nhelp: there are {names}, {}", guests::NAME);
    }
    Ok(found)
}

/// Each wanted suite on each wanted kernel that it is for.
///
/// The longest suite first on every kernel, so that the last machine has little left to do.
fn runs(wanted: &Wanted<'_>) -> Result<Vec<Run>> {
    let kernels = kernels::named(wanted.kernel)?;
    let mut runs = Vec::new();
    for suite in suites(wanted)? {
        let passed_over = |kernel: &&Kernel| {
            wanted.suite.is_none() && suite.passes_over == Some(kernel.version().as_str())
        };
        let its = kernels.iter().rev().filter(|kernel| suite.is_for(kernel));
        let its = its.filter(|kernel| !passed_over(kernel));
        runs.extend(its.cloned().map(|kernel| Run { suite, kernel }));
    }
    if runs.is_empty() {
        bail!("the suite is for another kernel than `{}`", wanted.kernel);
    }
    Ok(runs)
}

/// Builds the suites with what they drive.
fn payload(wanted: &Wanted<'_>) -> Result<TempDir> {
    let suites = suites(wanted)?;
    let own = suites.iter().filter(|suite| suite.peer.is_none());
    let tests: Vec<&str> = own.map(|suite| suite.name).collect();
    let payload = build::guest_payload(&Guest {
        bins: &["reeve", "probe", "vmstorage"],
        tests: &tests,
    })?;
    if suites.iter().any(|suite| suite.peer.is_some()) {
        setup::ensure(&[Need::Peers])?;
        let copy = Cmd::new("cp").arg("--archive").arg(peers::dir()?);
        copy.arg(payload.path().join("peers")).run()?;
    }
    Ok(payload)
}

/// One suite on one kernel.
struct Run {
    suite: &'static Suite,
    kernel: Kernel,
}

impl Run {
    fn name(&self) -> String {
        let with = self.suite.peer.map(|name| format!(" with {name}"));
        let (name, kernel) = (self.suite.name, self.kernel.version());
        format!("{name}{} on {kernel}", with.unwrap_or_default())
    }

    /// Runs the suite in a machine of its own; what it printed, if all of it passed.
    fn perform(&self, payload: &TempDir, runner: &[String]) -> Result<String> {
        let program = format!("/payload/bin/{}", self.suite.name);
        let fixed = [program, format!("--test-threads={}", self.suite.threads)];
        let argv = fixed.into_iter().chain(runner.iter().cloned()).collect();
        let mut job = vm::batch(argv, self.suite.limit_seconds);
        for name in PASSED_ON {
            let value = std::env::var(name).ok();
            job.env
                .extend(value.map(|value| ((*name).to_owned(), value)));
        }
        if let Some(peer) = self.suite.peer {
            job.env.extend(oci::environment(peer, Path::new(PEERS)));
        }
        let verdict = Machine {
            name: self.suite.name.to_owned(),
            kernel: self.kernel.clone(),
            append: self.suite.append.to_owned(),
            memory_mib: MEMORY_MIB,
            payload: Some(payload.path().to_owned()),
            root: None,
            job,
            show: Show::Named(self.name()),
        }
        .run()?;
        verdict.print(&format!("{} | ", self.name()));
        match self.suite.complaint(&verdict) {
            None => Ok(verdict.output),
            Some(what) => Err(Failed {
                what,
                output: verdict.output,
            }
            .into()),
        }
    }
}

impl Suite {
    /// Whether it runs on this kernel.
    fn is_for(&self, kernel: &Kernel) -> bool {
        self.only.is_none_or(|version| version == kernel.version())
    }

    /// Arguments for its runner.
    fn arguments(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let some = wanted.suite.is_none() && wanted.runner.is_empty() && oci::unable().is_none();
        let modules = if some { self.after_native } else { &[] };
        let modules = modules.iter().map(|module| (*module).to_owned());
        modules.chain(wanted.runner.iter().cloned()).collect()
    }

    /// What is wrong with a run, if anything.
    fn complaint(&self, verdict: &Verdict) -> Option<String> {
        let output = &verdict.output;
        if let Ending::Job(Outcome::Exit(status)) = verdict.ending {
            if status != 0 {
                let failed = first_failure(output);
                return Some(failed.unwrap_or_else(|| format!("the suite exited with {status}")));
            }
            if results(output).is_empty() {
                return Some("the suite gave no result".to_owned());
            }
            if let Some(ignored) = self.unlisted_ignore(output) {
                return Some(format!("`{ignored}` is ignored and not listed"));
            }
            return oci::unlisted_skip(output);
        }
        let during = output.lines().rev().find_map(unfinished);
        let during = during.map_or(String::new(), |test| format!(" during `{test}`"));
        Some(format!("{}{during}", verdict.ending))
    }

    /// A test that the suite left out without leave.
    fn unlisted_ignore<'a>(&self, output: &'a str) -> Option<&'a str> {
        output.lines().find_map(|line| {
            let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
            (result.starts_with("ignored") && !self.may_ignore.contains(&name)).then_some(name)
        })
    }
}

/// The test of a line that has no result yet.
fn unfinished(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... ")
}

/// The first failed test, for the summary.
fn first_failure(output: &str) -> Option<String> {
    let failed = |line: &&str| line.starts_with("test ") && line.ends_with("FAILED");
    let mut lines = output.lines().filter(failed);
    let first = lines.next()?;
    Some(match lines.count() {
        0 => first.to_owned(),
        more => format!("{first} (and {more} more)"),
    })
}

#[cfg(test)]
mod tests {
    use super::{SUITES, first_failure, unfinished};

    #[test]
    fn an_unlisted_ignore_is_found() {
        let output = "test a::b ... ok\ntest c::d ... ignored, needs a disk\n";
        assert_eq!(SUITES[0].unlisted_ignore(output), Some("c::d"));
        assert_eq!(SUITES[0].unlisted_ignore("test a::b ... ok\n"), None);
    }

    #[test]
    fn the_test_that_hung_is_named() {
        assert_eq!(unfinished("test a::b ... "), Some("a::b"));
        assert_eq!(unfinished("test a::b ... ok"), None);
    }

    #[test]
    fn failures_are_named_and_counted() {
        let output = "test a ... FAILED\ntest b ... ok\ntest c ... FAILED\n";
        assert_eq!(
            first_failure(output).as_deref(),
            Some("test a ... FAILED (and 1 more)")
        );
        assert_eq!(first_failure("test b ... ok\n"), None);
    }
}
