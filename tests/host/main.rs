//! The probe on any host, by its own binary: its wrappers fork, which a test process with threads
//! must not.

use std::process::Command;

use reeve_tests::outcome::{Outcome, Report};

fn probe(words: &[&str]) -> (Vec<Report>, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(words)
        .output()
        .expect("run the probe");
    let text = String::from_utf8(output.stdout).expect("read its lines");
    let lines = text
        .lines()
        .map(|line| Report::parse(line).expect(line))
        .collect();
    (lines, output.status.code())
}

fn one(words: &[&str]) -> Outcome {
    let (mut reports, _) = probe(words);
    assert_eq!(reports.len(), 1, "{words:?}");
    reports.remove(0).outcome
}

#[test]
fn the_exit_code_is_the_errno() {
    let (reports, code) = probe(&["open", "r", "/no/such"]);
    assert_eq!(reports[0].outcome, Outcome::failed("openat", libc::ENOENT));
    assert_eq!(code, Some(libc::ENOENT));
    assert_eq!(probe(&["open", "r", "/dev/null"]).1, Some(0));
    assert_eq!(probe(&["open", "r"]).1, Some(64));
}

#[test]
fn a_script_prints_a_line_for_each_action() {
    let (reports, code) = probe(&["script", "--", "open", "r", "/no/such", "--", "pid"]);
    assert_eq!(code, Some(0));
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0].outcome.errno(), Some(libc::ENOENT));
    assert!(reports[1].outcome.detail().parse::<u32>().is_ok());
}

#[test]
fn every_way_to_a_child_tells_its_outcome() {
    let ways: &[&[&str]] = &[
        &["fork"],
        &["fork-deep", "3"],
        &["thread"],
        &["daemon"],
        &["self-exec"],
        &["exec-memfd"],
    ];
    for way in ways {
        let failing = [way, ["open", "r", "/no/such"].as_slice()].concat();
        assert_eq!(
            one(&failing),
            Outcome::failed("openat", libc::ENOENT),
            "{way:?}"
        );
        let passing = [way, ["open", "r", "/dev/null"].as_slice()].concat();
        assert_eq!(one(&passing), Outcome::Done(String::new()), "{way:?}");
    }
}

#[test]
fn files_are_made_changed_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (file, other, inner) = (at("file"), at("other"), at("inner"));
    let steps: &[&[&str]] = &[
        &["create", &file],
        &["write", &file, "text"],
        &["read", &file],
        &["truncate", &file, "2"],
        &["ftruncate", &file, "1"],
        &["chmod", &file, "0600"],
        &["fchmod", &file, "0644"],
        &["link", &file, &other],
        &["rename", &file, &other, "exchange"],
        &["rename", &other, &inner, "noreplace"],
        &["symlink", &file, &other],
        &["open", "rw", &other],
        &["reopen", "w", &file],
        &["mmap-shared-write", &file],
        &["mprotect-write", &file],
        &["mmap-exec", "/proc/self/exe"],
        &["mprotect-exec", "/proc/self/exe"],
        &["unlink", &other],
        &["mkdir", &other],
        &["mknod", &at("fifo"), "fifo"],
        &["rmdir", &other],
        &["stat", &file],
        &["list", directory.path().to_str().unwrap()],
    ];
    for step in steps {
        let outcome = one(step);
        assert!(outcome.is_done(), "{step:?}: {outcome}");
    }
}

#[test]
fn io_uring_opens_a_file() {
    let outcome = one(&["uring-open", "r", "/no/such"]);
    // A host may have switched io_uring off.
    let expected = [libc::ENOENT, libc::EPERM, libc::ENOSYS].map(Some);
    assert!(expected.contains(&outcome.errno()), "{outcome}");
    if outcome.errno() == Some(libc::ENOENT) {
        assert!(one(&["uring-open", "r", "/dev/null"]).is_done());
        assert!(one(&["uring-open-inline", "r", "/dev/null"]).is_done());
    }
}

#[test]
fn an_unprivileged_child_is_refused_what_root_may() {
    let Outcome::Done(_) = one(&["as", "65534", "pid"]) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    assert!(one(&["fork", "open", "w", path]).is_done());
    let refused = one(&["as", "65534", "open", "w", path]);
    assert_eq!(refused.errno(), Some(libc::EACCES), "{refused}");
    assert_eq!(
        one(&["as", "65534", "sethostname", "x"]).errno(),
        Some(libc::EPERM)
    );
    assert_eq!(
        one(&["as", "65534", "chroot", "/"]).errno(),
        Some(libc::EPERM)
    );
}
