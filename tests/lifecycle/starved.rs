//! What keeps a start or an end from doing its work: a link that is gone, descriptors that run out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::host::{self, STATE_DIR};
use reeve_tests::{Fixture, container, tools};

use crate::support::{alone, contained, keep_loaded, nothing_left, run, shell};

/// The pinned link of a hook.
fn link(hook: &str) -> PathBuf {
    let end = Path::new("links").join(hook);
    let pins = host::pins();
    let found = pins.into_iter().find(|pin| pin.ends_with(&end));
    found.unwrap_or_else(|| panic!("the link of `{hook}` is not pinned"))
}

/// Without one of its links Reeve would enforce the rest only: no container starts.
#[test]
fn a_lost_link_is_noticed_at_the_next_start() {
    keep_loaded();
    let link = link("task_kill");
    let away = link.with_file_name("away");
    fs::rename(&link, &away).expect("rename a pin");
    let container = alone(shell("true"));
    let finished = run(&container);
    fs::rename(&away, &link).expect("rename it back");
    assert!(!finished.status.success(), "it started without a link");
    let named = finished.stderr.contains("links/task_kill");
    assert!(named, "the link is not named: {}", finished.stderr);
    nothing_left(&container, "a lost link");
    assert!(run(&container).status.success(), "nothing is missing now");
}

/// A root file system that holds Reeve's state would make it the container's own.
#[test]
fn a_root_that_holds_the_state() {
    let container = contained(shell("true"));
    let roots = [
        ("/", "is the root of the host"),
        ("/run", STATE_DIR),
        (STATE_DIR, STATE_DIR),
    ];
    for (root, why) in roots {
        let mut json = container.config().to_json();
        json["root"]["path"] = root.into();
        fs::write(container.directory().join("config.json"), json.to_string()).expect("write");
        let finished = run(&container);
        assert!(!finished.status.success(), "`{root}` was taken as a root");
        let named = finished.stderr.contains(why);
        assert!(named, "`{root}`, but not `{why}`: {}", finished.stderr);
        nothing_left(&container, "a root that holds the state");
    }
}

/// With no descriptor to spare, `reeve run` cannot end what the container left. That is under its
/// policy for as long as it lives.
#[test]
fn an_end_without_descriptors() {
    let fixture = Fixture::new().expect("make a directory");
    let canary = fixture.at("canary");
    fs::write(&canary, "as it was").expect("write the canary");
    let script = format!(
        "/probe repeat write {} changed & sleep 3",
        in_container(&canary)
    );
    let config = Config {
        host: true,
        host_pid: true,
        ..shell(&script)
    };
    let container = alone(config);
    let mut child = container
        .command()
        .expect("reeve")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("reeve run");
    let marker = container::marker(container.id());
    let left = || host::processes_with_variable(&marker);
    host::wait_until("the container", Duration::from_secs(60), || {
        (left().len() > 1).then_some(())
    })
    .expect("it starts");
    let target = child.id().to_string();
    let starved = Command::new("prlimit")
        .args(["--pid", &target, "--nofile=3:3"])
        .status();
    assert!(starved.expect("prlimit").success());
    child.wait().expect("wait");
    std::thread::sleep(Duration::from_secs(1));
    let content = fs::read_to_string(&canary).expect("read the canary");
    assert_eq!(content, "as it was", "what was left ran free");
    left().into_iter().for_each(host::kill);
    let mut delete = tools::reeve().expect("reeve");
    // It may be gone already, or need the help.
    let done = delete.args(["delete", "--force", container.id()]).output();
    let stderr = String::from_utf8_lossy(&done.expect("reeve delete").stderr).into_owned();
    nothing_left(
        &container,
        &format!("an end without descriptors, and {stderr}"),
    );
}
