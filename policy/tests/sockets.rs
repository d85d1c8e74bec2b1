//! Answers about sockets: which line decides, with which errno, and the line that would allow it.

use policy::{Answer, Facts, Question};

const POLICY: &str = "\
reeve: v1
name: agent
sockets:
  - { tcp: { to: [10.0.0.0/8], ports: [80, \"8000-8100\"] }, allow: [connect] }
  - { tcp: { on: [127.0.0.1] }, allow: [bind, listen] }
  - { udp: { ports: [53] }, allow: [connect] }
  - { unix: /run/qemu, allow: [connect] }
  - { abstract: bus, allow: [connect] }
  - { netlink: [route] }
  - { vsock: { cid: [2] }, allow: [connect, listen] }
";

fn ask(question: &str) -> Answer {
    let policy = policy::parse("p.yaml", POLICY).unwrap_or_else(|found| panic!("{found}"));
    let question: Question = question.parse().unwrap_or_else(|error| panic!("{error}"));
    let paths = question.paths();
    let facts = Facts::lexical(&policy, paths.iter().map(String::as_str));
    let compiled = policy::compile(&policy, &facts).unwrap_or_else(|found| panic!("{found}"));
    policy::explain(&policy, &compiled, &facts, &question)
}

#[test]
fn allowed_actions_name_their_line() {
    for (question, line) in [
        ("connect tcp 10.1.2.3:80", 4),
        ("connect tcp [::ffff:10.1.2.3]:8050", 4),
        ("listen tcp 127.0.0.1:9", 5),
        ("connect udp [fd00::1]:53", 6),
        ("connect unix /run/qemu/a.qmp", 7),
        ("connect abstract bus", 8),
        ("create-socket netlink route", 9),
        ("connect vsock 2:1", 10),
        ("listen vsock 3:1", 10),
        ("create-socket tcp", 4),
    ] {
        let answer = ask(question);
        assert!(answer.allowed, "{question}: {answer}");
        assert_eq!(answer.by.map(|by| by.line), Some(line), "{question}");
    }
}

#[test]
fn refused_actions_carry_an_errno_and_a_remedy() {
    for (question, errno, remedy) in [
        (
            "connect tcp 11.0.0.1:80",
            "EPERM",
            "sockets: - { tcp: { to: [11.0.0.1], ports: [80] }, allow: [connect] }",
        ),
        (
            "connect tcp 10.0.0.1:81",
            "EPERM",
            "sockets: - { tcp: { to: [10.0.0.1], ports: [81] }, allow: [connect] }",
        ),
        (
            "bind tcp [::1]:80",
            "EACCES",
            "sockets: - { tcp: { on: [\"::1\"], ports: [80] }, allow: [bind] }",
        ),
        (
            "send udp 10.0.0.1:53",
            "EPERM",
            "sockets: - { udp: { to: [10.0.0.1], ports: [53] }, allow: [send] }",
        ),
        (
            "connect unix /run/docker.sock",
            "EACCES",
            "sockets: - { unix: /run/docker.sock, allow: [connect] }",
        ),
        (
            "bind abstract bus",
            "EACCES",
            "sockets: - { abstract: bus, allow: [bind] }",
        ),
        (
            "create-socket netlink generic",
            "EACCES",
            "sockets: - { netlink: [generic], allow: [create] }",
        ),
        ("create-socket raw", "EPERM", "sockets: - { raw: true }"),
        (
            "create-socket sctp",
            "EACCES",
            "sockets: - { sctp: any, allow: [connect] }",
        ),
        (
            "connect vsock 3:1",
            "EPERM",
            "sockets: - { vsock: { cid: [3], ports: [1] }, allow: [connect] }",
        ),
    ] {
        let answer = ask(question);
        assert!(!answer.allowed, "{question}");
        assert_eq!(answer.errno, Some(errno), "{question}");
        assert_eq!(answer.to_allow.as_deref(), Some(remedy), "{question}");
    }
}

#[test]
fn many_ranges_for_one_address_are_an_error_when_the_policy_is_compiled() {
    let ports: Vec<_> = (1..=17).map(|port| port.to_string()).collect();
    let ports = ports.join(", ");
    let text = format!(
        "reeve: v1\nname: a\nsockets:\n  - {{ tcp: {{ ports: [{ports}] }}, allow: [connect] }}\n"
    );
    let policy = policy::parse("p.yaml", &text).unwrap_or_else(|found| panic!("{found}"));
    let found = policy::compile(&policy, &Facts::lexical(&policy, [])).expect_err("too many");
    assert!(found.to_string().contains("at most 16 ranges"), "{found}");
}
