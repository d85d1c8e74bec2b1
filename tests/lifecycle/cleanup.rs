//! Nothing is left behind by a failure: no cgroup, no mount, no state, no process.

use std::fs;
use std::process::{Command, Stdio};

use reeve_tests::bundle::Config;
use reeve_tests::{PolicyText, host};

use crate::support::{contained, free, keep_loaded, nothing_left, run, shell, waiting};

/// With background processes still running.
#[test]
fn after_an_entry_process_that_leaves_children() {
    let mut config = shell("sleep 1000 & (sleep 1000 &) ; exit 4");
    for host_pid in [false, true] {
        config.host_pid = host_pid;
        let container = contained(config.clone());
        assert_eq!(run(&container).status.code(), Some(4));
        nothing_left(&container, "an exit with children");
    }
}

/// Each failure, and a word that its message has to have.
#[test]
fn after_failures() {
    let entry = |program: &str| {
        let mut config = shell("true");
        config.args = vec![program.to_owned()];
        config
    };
    let mut no_limit = shell("true");
    no_limit.rlimits = vec![("RLIMIT_NONSENSE".to_owned(), 1, 1)];
    let failures: [(&str, Config); 3] = [
        ("/no/such/program", entry("/no/such/program")),
        ("/etc", entry("/etc")),
        ("RLIMIT_NONSENSE", no_limit),
    ];
    for (word, config) in failures {
        for container in [free(config.clone()), contained(config.clone())] {
            let finished = run(&container);
            assert!(!finished.status.success(), "{word}");
            assert!(
                finished.stderr.contains(word),
                "`{word}` is not named: {}",
                finished.stderr
            );
            nothing_left(&container, word);
        }
    }
}

/// Policies that cannot be had.
#[test]
fn after_a_bad_policy() {
    let container = contained(shell("true"));
    fs::write(
        container.policy_path().expect("a policy"),
        "reeve: v1\nname: [\n",
    )
    .expect("write");
    assert!(!run(&container).status.success());
    nothing_left(&container, "a policy that is no YAML");
    fs::remove_file(container.policy_path().expect("a policy")).expect("unlink");
    let finished = run(&container);
    assert!(!finished.status.success());
    assert!(
        finished.stderr.contains("policy.yaml"),
        "{}",
        finished.stderr
    );
    nothing_left(&container, "a policy that is not there");
    let text = PolicyText::new("missing").file("/no/such/path", "read");
    let container = free(shell("true"))
        .with_policy(text)
        .expect("write a policy");
    let finished = run(&container);
    assert!(!finished.status.success());
    assert!(
        finished.stderr.contains("/no/such/path"),
        "{}",
        finished.stderr
    );
    nothing_left(&container, "a policy with a path that is not there");
}

/// Bundles that cannot be run.
#[test]
fn after_a_bad_bundle() {
    for broken in [
        "{",
        "{}",
        "{ \"ociVersion\": \"1.2.0\", \"root\": { \"path\": \"nowhere\" } }",
    ] {
        let container = contained(shell("true"));
        fs::write(container.directory().join("config.json"), broken).expect("write");
        let finished = run(&container);
        assert!(!finished.status.success(), "{broken}");
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        nothing_left(&container, broken);
    }
    let container = contained(shell("true"));
    let mut json = container.config().to_json();
    json["mounts"][0]["source"] = "/no/such/source".into();
    json["mounts"][0]["type"] = "bind".into();
    json["mounts"][0]["options"] = serde_json::json!(["bind"]);
    fs::write(container.directory().join("config.json"), json.to_string()).expect("write");
    let finished = run(&container);
    assert!(!finished.status.success());
    assert!(
        finished.stderr.contains("/no/such/source"),
        "{}",
        finished.stderr
    );
    nothing_left(&container, "a mount whose source is not there");
}

/// `reeve run` asked to end while the container ignores the signal, then killed for good by a
/// second one.
#[test]
fn after_a_signal() {
    let container = contained(shell(
        "trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done",
    ));
    let mut child = container
        .command()
        .expect("reeve")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("reeve run");
    let mut ready = [0u8; 6];
    let stdout = child.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut ready).expect("read");
    let target = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &target])
            .status()
            .expect("kill")
            .success()
    );
    assert_eq!(child.wait().expect("wait").code(), Some(6));
    nothing_left(&container, "a signal");
}

/// An id that is taken is refused, and whose it is goes on.
#[test]
fn an_id_twice() {
    keep_loaded();
    let mut running = waiting("twice");
    let mut again = running.container().command().expect("reeve");
    let output = again.stdin(Stdio::null()).output().expect("reeve run");
    assert!(!output.status.success(), "the same id ran twice");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(running.id()), "the id is not named: {text}");
    running.attempt("pid").expect("it still runs");
    let id = running.id().to_owned();
    assert!(running.finish().expect("finish").status.success());
    let left = host::leftovers(&id);
    assert!(left.is_empty(), "{left:#?}");
}
