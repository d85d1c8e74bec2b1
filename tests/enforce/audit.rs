//! What is recorded of a refusal, and of what audit mode lets through.

use libc::EACCES;
use reeve_tests::fixture::in_container;
use reeve_tests::{PolicyText, audit};

use crate::support::{Contained, Grounds};

#[test]
fn a_refusal_says_what_and_why() {
    let grounds = Grounds::new();
    let plot = grounds.plot("reads");
    let mut contained = Contained::start(PolicyText::new("reader").file(&plot, "read"));
    let file = plot.join("file");
    contained.refused(
        "file_open",
        EACCES,
        format!("open w {}", in_container(&file)),
    );
    let events = audit::events(contained.running().id()).expect("the audit");
    let event = events
        .iter()
        .find(|event| event.refused())
        .expect("a refusal");
    let shown = format!("{event:?}");
    let file = file.to_str().expect("a path");
    assert!(event.text("object").ends_with(file), "the path: {shown}");
    assert_eq!(event.text("action"), "write", "{shown}");
    assert_eq!(event.text("errno"), "EACCES", "{shown}");
    assert_eq!(event.text("comm"), "probe", "{shown}");
    let rule = event.0["rule"]["text"].as_str().unwrap_or_default();
    assert!(
        rule.contains("allow: [read]"),
        "the line that decided: {shown}"
    );
    let remedy = event.text("allow");
    assert!(
        remedy.contains(file) && remedy.contains("write"),
        "the remedy: {shown}"
    );
    contained.end();
}

#[test]
fn audit_mode_lets_through_and_records() {
    let grounds = Grounds::new();
    let plot = grounds.plot("watched");
    let mut contained = Contained::start(PolicyText::new("watched").audit());
    contained.allowed(
        "file_open",
        format!("write {} changed", in_container(plot.join("file"))),
    );
    contained.allowed("path_mkdir", format!("mkdir {}/new", in_container(&plot)));
    contained.allowed("capable", "setdomainname watched");
    let events = audit::events(contained.running().id()).expect("the audit");
    for hook in ["file_open", "path_mkdir", "capable"] {
        let found = events.iter().find(|event| event.hook() == hook);
        let event = found.unwrap_or_else(|| panic!("hook `{hook}` is not recorded: {events:#?}"));
        assert!(
            !event.refused(),
            "hook `{hook}` says that it refused: {event:?}"
        );
    }
    contained.end();
}

/// The line for people names the path and the way out.
#[test]
fn the_line_for_people() {
    let grounds = Grounds::new();
    let plot = grounds.plot("closed");
    let mut contained = Contained::start(PolicyText::new("people"));
    contained.refused(
        "file_open",
        EACCES,
        format!("open r {}/file", in_container(&plot)),
    );
    let id = contained.running().id().to_owned();
    let mut command = reeve_tests::tools::reeve().expect("reeve");
    let text = reeve_tests::tools::output(command.args(["audit", &id])).expect("reeve audit");
    assert!(text.contains("refused"), "{text}");
    assert!(
        text.contains(plot.join("file").to_str().expect("a path")),
        "{text}"
    );
    assert!(
        text.contains("EACCES") && text.contains("to allow:"),
        "{text}"
    );
    contained.end();
}

/// What is known by a name or class of its own is named so, with the line that would allow it.
#[test]
fn settings_ipc_and_parts_are_named() {
    let mut contained = Contained::start(PolicyText::new("named"));
    contained.refused("file_open", EACCES, "open w /proc/sys/net/ipv4/ip_forward");
    contained.refused("key_permission", libc::ENOKEY, "key-read -4");
    contained.refused("uring_sqpoll", libc::EPERM, "uring-polled [1:0]");
    contained.refused("capable", libc::EPERM, "sethostname named");
    let events = audit::events(contained.running().id()).expect("the audit");
    for (object, remedy) in [
        (
            "sysctl net.ipv4.ip_forward",
            "kernel: { sysctl: { write: [net.ipv4.ip_forward] } }",
        ),
        ("keys", "ipc: { keys: [search] }"),
        ("io_uring.sqpoll", "kernel: { io_uring: [sqpoll] }"),
        ("SYS_ADMIN in sethostname", "kernel: { hostname: true }"),
    ] {
        let found = events
            .iter()
            .any(|event| event.text("object") == object && event.text("allow") == remedy);
        assert!(found, "`{object}` with `{remedy}`: {events:#?}");
    }
    contained.end();
}
