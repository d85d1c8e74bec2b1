//! `reeve policy update`: the old policy or the new one, at every moment and whoever is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use libc::EACCES;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Container, Fixture, PolicyText, Running, audit, tools};

use crate::support::{keep_loaded, shell};

/// A running container that sees the host, under this policy.
fn under(policy: PolicyText) -> Running {
    keep_loaded();
    let container = Container::new("replace", Config::default()).expect("make a bundle");
    let container = container.with_policy(policy).expect("write its policy");
    let mut running = container.start().expect("start it");
    running.attempt("pid").expect("it runs");
    running
}

/// `reeve policy update` with this policy.
fn update(id: &str, file: &Path, policy: &PolicyText) -> Output {
    fs::write(file, policy.to_string()).expect("write the policy");
    let mut reeve = tools::reeve().expect("reeve");
    let command = reeve.args(["policy", "update", id]).arg(file);
    command.output().expect("run reeve policy update")
}

fn updated(id: &str, file: &Path, policy: &PolicyText) {
    let output = update(id, file, policy);
    assert!(output.status.success(), "{output:?}");
}

/// Numbers under which policies of the container are registered.
fn registered(id: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/run/reeve/.policies").expect("the register");
    let paths = entries.flatten().map(|entry| entry.path());
    let known = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(id));
    paths.filter(known).collect()
}

#[test]
fn update_gives_and_takes() {
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let file = fixture.path().join("next.yaml");
    let open = format!("open r {}", in_container(&canary));
    let mut running = under(PolicyText::new("first"));
    let id = running.id().to_owned();
    let refused = |running: &mut Running| {
        let outcome = running.attempt(&open).expect("an answer");
        assert_eq!(outcome.errno(), Some(EACCES), "{outcome}");
    };
    refused(&mut running);
    updated(&id, &file, &PolicyText::new("second").file(&canary, "read"));
    assert!(running.attempt(&open).expect("an answer").is_done());
    let write = format!("open w {}", in_container(&canary));
    assert!(!running.attempt(&write).expect("an answer").is_done());
    let mut reeve = tools::reeve().expect("reeve");
    let state = tools::output(reeve.args(["state", &id])).expect("reeve state");
    assert!(state.contains("\"second\""), "{state}");
    updated(&id, &file, &PolicyText::new("third"));
    refused(&mut running);
    assert_eq!(registered(&id).len(), 1);
    // Each entry is named by the policy that decided.
    let events = audit::events(&id).expect("the audit");
    let names: Vec<_> = events.iter().map(|event| event.text("policy")).collect();
    assert_eq!(names, ["first", "second", "third"], "{events:#?}");
    assert!(
        events[1].0["rule"]["text"]
            .as_str()
            .is_some_and(|text| text.contains("read"))
    );
    // What comes later is under it, too.
    let mut exec = tools::reeve().expect("reeve");
    let words = format!("exec {id} /probe {open}");
    let output = exec.args(words.split(' ')).output().expect("reeve exec");
    assert_eq!(output.status.code(), Some(EACCES), "{output:?}");
    let finished = running.finish().expect("finish");
    assert!(finished.status.success(), "{finished:?}");
}

/// Variables and includes are those of the file, as for `reeve run`.
#[test]
fn update_reads_what_run_reads() {
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let part = "files:\n  - { path: '${at}', allow: [read] }\n";
    fixture.file("part.yaml", part).expect("an include");
    let text = "reeve: v1\nname: next\nvars: { at: /etc/hostname }\ninclude: [part.yaml]\n";
    let file = fixture.file("next.yaml", text).expect("a policy");
    let open = format!("open r {}", in_container(&canary));
    let mut running = under(PolicyText::new("first"));
    let id = running.id().to_owned();
    for (given, opens) in [
        (None, false),
        (Some(format!("at={}", canary.display())), true),
    ] {
        let mut reeve = tools::reeve().expect("reeve");
        reeve.args(["policy", "update", &id]).arg(&file);
        reeve.args(given.iter().flat_map(|given| ["--var", given]));
        tools::output(&mut reeve).expect("reeve policy update");
        let outcome = running.attempt(&open).expect("an answer");
        assert_eq!(outcome.is_done(), opens, "{outcome}");
    }
    assert!(running.finish().expect("finish").status.success());
}

/// What is not good, or not for this container, changes nothing.
#[test]
fn update_that_fails_leaves_the_old() {
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let file = fixture.path().join("next.yaml");
    let open = format!("open r {}", in_container(&canary));
    let mut running = under(PolicyText::new("first").file(&canary, "read"));
    assert!(running.attempt(&open).expect("an answer").is_done());
    let missing = PolicyText::new("missing").file("/no/such/path", "read");
    let output = update(running.id(), &file, &missing);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/no/such/path"), "{said}");
    assert!(
        !update("no-such-container", &file, &PolicyText::new("x"))
            .status
            .success()
    );
    assert!(running.attempt(&open).expect("an answer").is_done());
    assert_eq!(registered(running.id()).len(), 1);

    let free = Container::new("replace-free", Config::default()).expect("make a bundle");
    let mut free = free.start().expect("start it");
    free.attempt("pid").expect("it runs");
    let output = update(free.id(), &file, &PolicyText::new("x"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("runs without a policy"), "{said}");
    for running in [running, free] {
        assert!(running.finish().expect("finish").status.success());
    }
}

/// Three policies give the same by different means: by a directory, by the file, by audit mode. An
/// answer from a mix of two could be a refusal, and ends a loop.
#[test]
fn update_under_load() {
    const UPDATES: usize = 60;
    keep_loaded();
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let file = fixture.path().join("next.yaml");
    let inside = in_container(&canary);
    let script = format!(
        "for n in 1 2 3; do (while true < {inside}; do :; done; echo refused) & done; wait"
    );
    let mut config = shell(&script);
    config.host = true;
    let policies = [
        PolicyText::new("directory").file(fixture.path(), "read"),
        PolicyText::new("file").file(&canary, "read"),
        PolicyText::new("audit").audit(),
    ];
    let container = Container::new("replace-load", config).expect("make a bundle");
    let container = container
        .with_policy(&policies[0])
        .expect("write its policy");
    let running = container.start().expect("start it");
    running.entry_pid().expect("it runs");
    for number in 1..=UPDATES {
        updated(running.id(), &file, &policies[number % policies.len()]);
    }
    let processes =
        reeve_tests::host::processes_with_variable(&reeve_tests::container::marker(running.id()));
    assert_eq!(
        processes.len(),
        4,
        "a loop was refused: {}",
        running.messages()
    );
    updated(running.id(), &file, &PolicyText::new("nothing"));
    let finished = running.finish().expect("finish");
    assert_eq!(
        finished.stdout.matches("refused").count(),
        3,
        "{finished:?}"
    );
}

#[test]
fn update_killed_at_random_moments() {
    const KILLS: u32 = 20;
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "content\n").expect("a file");
    let open = format!("open r {}", in_container(&canary));
    let (open_file, closed_file) = (fixture.path().join("open"), fixture.path().join("closed"));
    let (opened, closed) = (
        PolicyText::new("open").file(&canary, "read"),
        PolicyText::new("closed"),
    );
    let mut running = under(closed.clone());
    let id = running.id().to_owned();
    let start = Instant::now();
    updated(&id, &open_file, &opened);
    updated(&id, &closed_file, &closed);
    let took = start.elapsed() / 2;
    for kill in 0..KILLS {
        let file = if kill % 2 == 0 {
            &open_file
        } else {
            &closed_file
        };
        let mut reeve = tools::reeve().expect("reeve");
        let command = reeve.args(["policy", "update", &id]).arg(file);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("run reeve");
        std::thread::sleep(took.mul_f64(1.1 * f64::from(kill) / f64::from(KILLS)));
        // It may have ended.
        let _ = child.kill();
        child.wait().expect("wait");
        // The one or the other, and that for as long as nobody changes it.
        let first = running.attempt(&open).expect("an answer");
        assert!(first.is_done() || first.errno() == Some(EACCES), "{first}");
        for _ in 0..5 {
            let again = running.attempt(&open).expect("an answer");
            assert_eq!(again.is_done(), first.is_done(), "kill {kill}");
        }
        let known = registered(&id).len();
        assert!((1..=3).contains(&known), "kill {kill}: {known} policies");
    }
    updated(&id, &open_file, &opened);
    assert!(running.attempt(&open).expect("an answer").is_done());
    assert_eq!(registered(&id).len(), 1, "the next update clears away");
    // Killed once more, and left to the end of the container.
    let mut reeve = tools::reeve().expect("reeve");
    let mut child = reeve
        .args(["policy", "update", &id])
        .arg(&closed_file)
        .spawn();
    std::thread::sleep(took / 2);
    let child = child.as_mut().expect("run reeve");
    let _ = child.kill();
    child.wait().expect("wait");
    let container = running.container().directory().to_owned();
    assert!(container.exists());
    assert!(running.finish().expect("finish").status.success());
    let left = Instant::now() + Duration::from_secs(5);
    while !registered(&id).is_empty() {
        assert!(Instant::now() < left, "a policy is left over");
    }
    nothing_left_of(&id);
}

fn nothing_left_of(id: &str) {
    let left = reeve_tests::host::leftovers(id);
    assert!(left.is_empty(), "{left:#?}");
}
