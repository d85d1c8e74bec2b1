//! Processes that come into a container later, and entry processes that are started later: under
//! the policy from their first instruction, like the entry process of `reeve run`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use libc::EACCES;
use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Container, PolicyText, Running, tools};

use crate::support::{Grounds, keep_loaded, prepared};

/// `reeve` with these words, to its end.
fn reeve(words: &[&str]) -> Output {
    let mut command = tools::reeve().expect("reeve");
    command.args(words).stdin(Stdio::null());
    command.output().expect("run reeve")
}

/// A container whose policy lets it read `open` and nothing else.
fn reader(open: &Path) -> Running {
    let policy = PolicyText::new("reader").file(open, "read");
    let container = prepared(Config::default(), policy);
    let mut running = container.start().expect("start it");
    running.attempt("pid").expect("its answer");
    running
}

fn exits_with(output: &Output, code: i32, what: &str) {
    assert_eq!(output.status.code(), Some(code), "{what}: {output:?}");
}

#[test]
fn exec_is_under_the_policy() {
    let grounds = Grounds::new();
    let (open, closed) = (grounds.plot("open"), grounds.plot("closed"));
    let closed_file = closed.join("file");
    let (readable, canary) = (in_container(&open.join("file")), in_container(&closed_file));
    let running = reader(&open);
    let id = running.id().to_owned();
    let id = id.as_str();
    exits_with(
        &reeve(&["exec", id, "/probe", "read", &readable]),
        0,
        "granted",
    );
    for options in [
        &[][..],
        &["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_DAC_OVERRIDE"],
        &["--user", "0:0", "--cwd", "/"],
    ] {
        for way in [&[][..], &["fork"], &["daemon"], &["unshare", "user"]] {
            let words = [
                &["exec"],
                options,
                &[id, "/probe"],
                way,
                &["write", &canary, "changed"],
            ];
            let output = reeve(&words.concat());
            exits_with(&output, EACCES, "hook `bprm_committing_creds`, exec");
        }
    }
    running.finish().expect("finish");
    assert_eq!(
        fs::read_to_string(closed_file).expect("read the canary"),
        "content of file\n"
    );
}

/// What holds the policy is the kernel, not a `reeve` that stays with the container.
#[test]
fn exec_is_under_the_policy_when_no_reeve_is_left() {
    let grounds = Grounds::new();
    let (open, closed) = (grounds.plot("open"), grounds.plot("closed"));
    let config = Config {
        args: ["/bin/busybox", "sleep", "1000"]
            .map(str::to_owned)
            .to_vec(),
        ..Config::default()
    };
    let policy = PolicyText::new("alone").file(&open, "read");
    let container = prepared(config, policy);
    assert!(create(&container).status().expect("create").success());
    let id = container.id();
    exits_with(&reeve(&["start", id]), 0, "start");
    let (readable, canary) = (
        in_container(&open.join("file")),
        in_container(&closed.join("file")),
    );
    exits_with(
        &reeve(&["exec", id, "/probe", "read", &readable]),
        0,
        "granted",
    );
    let output = reeve(&["exec", id, "/probe", "write", &canary, "changed"]);
    exits_with(&output, EACCES, "exec without a `reeve`");
    exits_with(&reeve(&["delete", "--force", id]), 0, "delete");
}

/// A process given as JSON is as much of the container as one of the command line.
#[test]
fn exec_of_a_file_is_under_the_policy() {
    let grounds = Grounds::new();
    let canary = in_container(&grounds.plot("closed").join("file"));
    let running = reader(&grounds.plot("open"));
    let file = running.container().directory().join("process.json");
    let all = ["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"];
    let process = serde_json::json!({
        "user": { "uid": 0, "gid": 0 },
        "args": ["/probe", "write", canary, "changed"],
        "env": ["PATH=/"],
        "cwd": "/",
        "capabilities": { "bounding": all, "permitted": all, "effective": all },
    });
    fs::write(&file, process.to_string()).expect("write the process");
    let file = file.to_str().expect("a path of text");
    let output = reeve(&["exec", "--process", file, running.id()]);
    exits_with(&output, EACCES, "exec --process");
    running.finish().expect("finish");
}

/// `reeve create` and `reeve start`, twenty times, with the forbidden deed as the first.
#[test]
fn a_created_container_starts_under_its_policy() {
    const STARTS: usize = 20;
    let grounds = Grounds::new();
    let closed = grounds.plot("closed").join("file");
    let args = ["/probe", "write", &in_container(&closed), "changed"];
    let config = Config {
        args: args.map(str::to_owned).to_vec(),
        usual_mounts: false,
        ..Config::default()
    };
    let container = prepared(config, PolicyText::new("created"));
    for start in 0..STARTS {
        let output = create_start_delete(&container);
        assert!(
            output.contains("errno=13"),
            "hook `bprm_committing_creds`, start {start}: {output:?}"
        );
    }
    assert_eq!(
        fs::read_to_string(closed).expect("read the canary"),
        "content of file\n"
    );
}

/// What the entry process printed.
fn create_start_delete(container: &Container) -> String {
    let directory = container.directory();
    let out = directory.join("stdout");
    let mut create = create(container);
    create.stdout(fs::File::create(&out).expect("create a file"));
    let status = create.status().expect("reeve create");
    assert!(status.success(), "reeve create: {status}");
    let state = reeve(&["state", container.id()]);
    let state = String::from_utf8_lossy(&state.stdout).into_owned();
    assert!(state.contains("\"created\""), "{state}");
    exits_with(&reeve(&["start", container.id()]), 0, "start");
    let text = reeve_tests::host::wait_until(
        "the entry process",
        std::time::Duration::from_secs(30),
        || {
            fs::read_to_string(&out)
                .ok()
                .filter(|text| text.contains('\n'))
        },
    );
    let deleted = reeve_tests::host::wait_until(
        "the container's end",
        std::time::Duration::from_secs(30),
        || {
            reeve(&["delete", container.id()])
                .status
                .success()
                .then_some(())
        },
    );
    deleted.expect("delete it");
    text.expect("its output")
}

fn create(container: &Container) -> Command {
    let mut command = tools::reeve().expect("reeve");
    command
        .arg("create")
        .arg("--bundle")
        .arg(container.directory());
    let policy = container.policy_path().expect("a policy");
    command.arg("--policy").arg(policy).arg(container.id());
    command.stdin(Stdio::null());
    command
}

/// Whatever kept the set-up waiting, nothing of the container runs before `reeve start`, and who is
/// killed while it waits leaves nothing.
#[test]
fn a_created_container_does_nothing() {
    let grounds = Grounds::new();
    let open = grounds.plot("open");
    keep_loaded();
    let made = in_container(&open.join("made"));
    let config = Config {
        args: ["/probe", "open", "create", &made]
            .map(str::to_owned)
            .to_vec(),
        ..Config::default()
    };
    let policy = PolicyText::new("waits").file(&open, "read, create, write");
    let container = prepared(config, policy);
    assert!(create(&container).status().expect("create").success());
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!open.join("made").exists(), "it ran before its start");
    exits_with(&reeve(&["delete", container.id()]), 0, "delete");
    assert!(!open.join("made").exists());
    let state = reeve(&["state", container.id()]);
    assert!(!state.status.success(), "{state:?}");
}
