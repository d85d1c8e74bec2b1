//! `reeve run` killed at random moments of a start: never does a process run on with the
//! container's capabilities and without its policy.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Container, Fixture, PolicyText, container, host, tools};

use crate::support::{keep_loaded, nothing_left, waiting};

/// Kills.
const KILLS: u32 = 20;
/// After a kill, how long until nothing of the start may be left but what runs under the policy.
const SETTLE: Duration = Duration::from_secs(10);

/// A container that tries, ten times a second for ever, to write a file of the host's that it was
/// not granted.
fn writer(canary: &str, host_pid: bool) -> Container {
    let words = format!("/probe repeat write {canary} changed");
    let args = words.split(' ').map(str::to_owned).collect();
    let config = Config {
        args,
        host_pid,
        ..Config::default()
    };
    let container = Container::new("killed", config).expect("make a bundle");
    container
        .with_policy(PolicyText::new("killed"))
        .expect("write its policy")
}

/// Processes of the start that are not the container's own: the runtime and its children before
/// their exec.
fn of_the_runtime(id: &str) -> Vec<u32> {
    let container = host::processes_with_variable(&container::marker(id));
    let all = host::processes_with_argument(id);
    all.into_iter()
        .filter(|pid| !container.contains(pid))
        .collect()
}

/// How long a start takes, until the entry process runs.
pub(crate) fn time_of_a_start(canary: &str) -> Duration {
    let container = writer(canary, false);
    let start = Instant::now();
    let mut command = container.command().expect("reeve");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("reeve run");
    let variable = container::marker(container.id());
    let entry = host::wait_until("the entry process", Duration::from_secs(60), || {
        host::processes_with_variable(&variable).first().copied()
    });
    let took = start.elapsed();
    host::kill(entry.expect("the container starts"));
    child.wait().expect("wait");
    took
}

#[test]
fn sigkill_at_random_moments_of_a_start() {
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "untouched\n").expect("a canary");
    let inside = in_container(&canary);
    keep_loaded();
    let start = time_of_a_start(&inside);
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut random = clock.subsec_nanos() | 1;
    for kill in 0..KILLS {
        // An xorshift generator: any even spread over the start will do.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let delay = start.mul_f64(f64::from(random) / f64::from(u32::MAX) * 1.1);
        let moment = format!("kill {kill}, after {delay:?} of {start:?}");
        one_kill(
            &inside,
            &Start {
                delay,
                host_pid: kill % 2 == 1,
                moment: &moment,
            },
        );
        let text = fs::read_to_string(&canary).expect("read the canary");
        assert_eq!(
            text, "untouched\n",
            "{moment}: something ran without its policy"
        );
    }
}

/// A start that is to be killed.
pub(crate) struct Start<'a> {
    /// When.
    pub(crate) delay: Duration,
    /// In the host's pid namespace, where nothing ends with the namespace's first process.
    pub(crate) host_pid: bool,
    /// The same in words, for a failure.
    pub(crate) moment: &'a str,
}

/// Starts a container, kills `reeve`, and looks at what is left; then has `reeve delete` take that
/// away.
pub(crate) fn one_kill(canary: &str, start: &Start<'_>) {
    let container = writer(canary, start.host_pid);
    let mut command = container.command().expect("reeve");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("reeve run");
    std::thread::sleep(start.delay);
    child.kill().expect("kill");
    child.wait().expect("wait");
    let alone = host::wait_until("the end of what was half started", SETTLE, || {
        of_the_runtime(container.id()).is_empty().then_some(())
    });
    if alone.is_err() {
        let left: Vec<_> = of_the_runtime(container.id())
            .into_iter()
            .map(about)
            .collect();
        panic!("{}: {left:#?}", start.moment);
    }
    // Whatever runs on has the policy: its writes are refused, again and again.
    std::thread::sleep(Duration::from_millis(500));
    let mut delete = tools::reeve().expect("reeve");
    let deleted = tools::output(delete.args(["delete", "--force", container.id()]));
    deleted.unwrap_or_else(|error| panic!("{}: {error}", start.moment));
    nothing_left(&container, start.moment);
}

/// A process as the failure's message shows it.
fn about(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caps = status
        .lines()
        .find(|line| line.starts_with("CapEff"))
        .unwrap_or_default();
    let words = host::process_strings(pid, "cmdline").join(" ");
    format!("{pid} {caps} {words}")
}

/// After all that the next container starts as if nothing had been.
#[test]
fn the_next_one_starts() {
    keep_loaded();
    assert!(waiting("next").finish().expect("finish").status.success());
    tools::output(tools::reeve().expect("reeve").arg("doctor")).expect("the doctor finds nothing");
}
