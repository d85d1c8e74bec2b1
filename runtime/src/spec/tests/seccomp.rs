//! What `linux.seccomp` may say.

use serde_json::{Value, json};

use super::{check, message, with};
use crate::spec::Seccomp;

fn config(seccomp: Value) -> Value {
    with("/linux/seccomp", seccomp)
}

fn accepted(seccomp: Value) -> Seccomp {
    check(config(seccomp)).unwrap().seccomp.unwrap()
}

fn with_syscall(syscall: Value) -> Value {
    config(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["read"], "action": "SCMP_ACT_LOG" }, syscall
    ] }))
}

#[test]
fn every_word_of_the_specification_is_read() {
    let architectures = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ]
    .map(|name| format!("SCMP_ARCH_{name}"));
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"]
        .map(|name| format!("SECCOMP_FILTER_FLAG_{name}"));
    let actions = [
        "KILL",
        "KILL_PROCESS",
        "KILL_THREAD",
        "TRAP",
        "ERRNO",
        "TRACE",
        "ALLOW",
        "LOG",
        "NOTIFY",
    ];
    let mut syscalls: Vec<Value> = actions
        .map(|name| json!({ "names": ["getppid"], "action": format!("SCMP_ACT_{name}") }))
        .into();
    syscalls.push(json!({ "names": ["sendmsg"], "action": "SCMP_ACT_ALLOW" }));
    syscalls.extend(
        ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map(|name| {
            let arg = json!({ "index": 5, "value": u64::MAX, "op": format!("SCMP_CMP_{name}") });
            json!({ "names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 9, "args": [arg] })
        }),
    );
    let seccomp = accepted(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": architectures,
        "flags": flags, "syscalls": syscalls, "listenerPath": "/run/agent.sock",
        "listenerMetadata": "for the agent",
    }));
    assert!(seccomp.filter.notifies());
    let listener = seccomp.listener.unwrap();
    assert_eq!(listener.path.to_str(), Some("/run/agent.sock"));
    assert_eq!(listener.metadata.as_deref(), Some("for the agent"));
    let text = seccomp.filter.to_string();
    let said = ", tsync, log, spec-allow, wait-killable, notifies an agent";
    assert!(text.ends_with(said), "{text}");
}

#[test]
fn flags_that_are_left_out_are_those_of_other_runtimes() {
    let printed = |seccomp| accepted(seccomp).filter.to_string();
    let left_out = printed(json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
    assert!(left_out.ends_with("spec-allow"), "{left_out}");
    let none = printed(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": [] }));
    assert!(none.ends_with("instructions"), "{none}");
}

#[test]
fn wrong_entries_are_named() {
    let arg = |index: u64| json!([ { "index": index, "value": 0, "op": "SCMP_CMP_EQ" } ]);
    for (syscall, expected) in [
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": arg(6) }),
            "syscalls[1].args[0].index`: 6 is out of range",
        ),
        (
            json!({ "names": [], "action": "SCMP_ACT_ERRNO" }),
            "syscalls[1].names`: missing",
        ),
        (
            json!({ "names": ["read", ""], "action": "SCMP_ACT_ERRNO" }),
            "syscalls[1].names[1]`: missing",
        ),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }),
            "syscalls[1].errnoRet`: 4096 is out of range",
        ),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1 }),
            "syscalls[1].errnoRet`: `SCMP_ACT_KILL` has no errno",
        ),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_NOTIFY" }),
            "listenerPath`: missing, and there is SCMP_ACT_NOTIFY",
        ),
        (
            json!({ "names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY" }),
            "syscalls`: with SCMP_ACT_NOTIFY, `sendmsg` must be allowed: the listener is handed \
             over by it",
        ),
    ] {
        let text = message(with_syscall(syscall));
        assert_eq!(text, format!("config.json: `linux.seccomp.{expected}"));
    }
}

#[test]
fn wrong_defaults_and_listeners_are_named() {
    let many: Vec<Value> = (0..5000u64)
        .map(|value| {
            let arg = json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
            json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [arg] })
        })
        .collect();
    for (seccomp, expected) in [
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
            "defaultErrnoRet`: `SCMP_ACT_ALLOW` has no errno",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent.sock" }),
            "syscalls`: with SCMP_ACT_NOTIFY, `sendmsg` must be allowed: the listener is handed \
             over by it",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
            "listenerMetadata`: needs `linux.seccomp.listenerPath`",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": many }),
            "syscalls`: the filter has ",
        ),
    ] {
        let text = message(config(seccomp));
        let expected = format!("config.json: `linux.seccomp.{expected}");
        assert!(text.starts_with(&expected), "{text}");
    }
    // Without anything to notify of, an agent is ignored.
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "anywhere" });
    assert_eq!(accepted(seccomp).listener, None);
}

#[test]
fn conditions_that_name_an_argument_twice_are_alternatives() {
    let arg =
        |index: u8, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let length = |args: Vec<Value>| {
        let rule = json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": args });
        let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        accepted(seccomp).filter
    };
    let apart = |args: &[Value]| {
        let rules = args
            .iter()
            .map(|arg| json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [arg] }));
        let rules: Vec<Value> = rules.collect();
        accepted(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })).filter
    };
    let twice = vec![arg(0, 1), arg(1, 2), arg(0, 3)];
    assert_eq!(length(twice.clone()), apart(&twice));
    let once = vec![arg(0, 1), arg(1, 2)];
    assert_ne!(length(once.clone()), apart(&once));
}
