//! `linux.seccomp`: actions, flags, architectures, listeners.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;

use serde_json::{Value, json};

use crate::support::console::Receiver;
use crate::support::{Bundle, Ended, Need, Seen, covers};

/// `umask`, a call that nothing but the tests makes; `getpriority` another one.
const UMASK: &str = "syscall 95 18";
const GETPRIORITY: &str = "syscall 140 0 0";

fn rule(names: &[&str], action: &str) -> Value {
    json!({ "names": names, "action": action })
}

fn filtered(rules: &[Value]) -> Bundle {
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    Bundle::new().set("linux.seccomp", seccomp)
}

/// What `run` comes to for a call with this action; `fork` so that the first process, which some
/// signals do not reach, only tells of it.
fn with_action(action: &str) -> Ended {
    filtered(&[rule(&["umask"], action)])
        .actions(&[&format!("fork {UMASK}"), "see"])
        .run()
}

#[test]
fn an_allowed_call() {
    covers(&[
        "linux.seccomp.syscalls[].action: SCMP_ACT_ALLOW",
        "linux.seccomp.syscalls[].names",
    ])
    .run(|| {
        let ended = with_action("SCMP_ACT_ALLOW").succeeded();
        assert!(ended.outcomes()[0].is_done(), "{}", ended.story());
        assert_eq!(Seen::of(&ended).status("Seccomp"), "2");
    });
}

#[test]
fn a_refused_call() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_ERRNO"]).run(|| {
        let ended = with_action("SCMP_ACT_ERRNO").succeeded();
        assert_eq!(ended.outcomes()[0].errno(), Some(libc::EPERM));
    });
}

#[test]
fn the_number_of_the_refusal() {
    covers(&["linux.seccomp.syscalls[].errnoRet"]).run(|| {
        let mut refuse = rule(&["umask"], "SCMP_ACT_ERRNO");
        refuse["errnoRet"] = json!(77);
        let mut other = rule(&["getpriority"], "SCMP_ACT_ERRNO");
        other["errnoRet"] = json!(88);
        let outcomes = filtered(&[refuse, other]).attempt(&[UMASK, GETPRIORITY]);
        assert_eq!(outcomes[0].errno(), Some(77));
        assert_eq!(outcomes[1].errno(), Some(88));
    });
}

#[track_caller]
fn killed_by_sigsys(action: &str) {
    let ended = with_action(action).succeeded();
    let first = &ended.outcomes()[0];
    assert_eq!(
        *first,
        reeve_tests::Outcome::Killed(libc::SIGSYS),
        "{}",
        ended.story()
    );
}

#[test]
fn a_thread_is_killed() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_KILL, SCMP_ACT_KILL_THREAD"]).run(|| {
        killed_by_sigsys("SCMP_ACT_KILL");
        killed_by_sigsys("SCMP_ACT_KILL_THREAD");
    });
}

#[test]
fn a_process_is_killed() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_KILL_PROCESS"])
        .run(|| killed_by_sigsys("SCMP_ACT_KILL_PROCESS"));
}

#[test]
fn the_entry_process_is_killed() {
    covers(&[
        "linux.seccomp.syscalls[].action: SCMP_ACT_KILL_PROCESS",
        "run: exit status",
    ])
    .run(|| {
        let bundle = filtered(&[rule(&["umask"], "SCMP_ACT_KILL_PROCESS")]).actions(&[UMASK]);
        let ended = bundle.run().with_status(128 + libc::SIGSYS);
        assert_eq!(ended.status.signal(), None);
    });
}

#[test]
fn a_call_that_traps() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_TRAP"])
        .run(|| killed_by_sigsys("SCMP_ACT_TRAP"));
}

#[test]
fn a_call_that_is_traced_by_nobody() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_TRACE"]).run(|| {
        let ended = with_action("SCMP_ACT_TRACE").succeeded();
        assert_eq!(ended.outcomes()[0].errno(), Some(libc::ENOSYS));
    });
}

#[test]
fn a_call_that_is_logged() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_LOG"]).run(|| {
        let ended = with_action("SCMP_ACT_LOG").succeeded();
        assert!(ended.outcomes()[0].is_done(), "{}", ended.story());
    });
}

#[test]
fn several_actions() {
    covers(&["linux.seccomp: several actions in one profile"]).run(|| {
        let mut nosys = rule(&["getpriority"], "SCMP_ACT_ERRNO");
        nosys["errnoRet"] = json!(libc::ENOSYS);
        let rules = [
            rule(&["umask"], "SCMP_ACT_ERRNO"),
            nosys,
            rule(&["sethostname"], "SCMP_ACT_TRAP"),
            rule(&["setdomainname"], "SCMP_ACT_LOG"),
        ];
        let outcomes = filtered(&rules).attempt(&[UMASK, GETPRIORITY, "fork sethostname a", "pid"]);
        assert_eq!(outcomes[0].errno(), Some(libc::EPERM));
        assert_eq!(outcomes[1].errno(), Some(libc::ENOSYS));
        assert_eq!(outcomes[2], reeve_tests::Outcome::Killed(libc::SIGSYS));
        assert!(outcomes[3].is_done());
    });
}

/// Every call that a static program makes, and those of the tests.
const ALLOWED: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clone",
    "clone3",
    "close",
    "dup",
    "dup2",
    "execve",
    "execveat",
    "faccessat",
    "faccessat2",
    "fchdir",
    "exit",
    "exit_group",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "ioctl",
    "lseek",
    "lstat",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "stat",
    "statx",
    "tgkill",
    "uname",
    "wait4",
    "write",
    "writev",
    "chdir",
    "capget",
    "capset",
    "setuid",
    "setgid",
    "setgroups",
    "epoll_pwait",
    "epoll_ctl",
    "epoll_create1",
    "eventfd2",
    "nanosleep",
    "clock_nanosleep",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "close_range",
    "setresuid",
    "setresgid",
    "kill",
    "getpriority",
];

#[test]
fn what_is_not_listed() {
    covers(&["linux.seccomp.defaultAction"]).run(|| {
        let seccomp = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [rule(ALLOWED, "SCMP_ACT_ALLOW")],
        });
        let bundle = Bundle::new().set("linux.seccomp", seccomp);
        let outcomes = bundle.attempt(&[UMASK, GETPRIORITY]);
        assert_eq!(outcomes[0].errno(), Some(libc::EPERM));
        assert!(outcomes[1].is_done(), "{}", outcomes[1]);
    });
}

#[test]
fn the_number_for_what_is_not_listed() {
    covers(&["linux.seccomp.defaultErrnoRet"]).run(|| {
        let seccomp = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": libc::ENOSYS,
            "syscalls": [rule(ALLOWED, "SCMP_ACT_ALLOW")],
        });
        let outcome = Bundle::new()
            .set("linux.seccomp", seccomp)
            .attempt_one(UMASK);
        assert_eq!(outcome.errno(), Some(libc::ENOSYS));
    });
}

#[test]
fn calls_that_do_not_exist_are_passed_over() {
    covers(&["linux.seccomp.syscalls[].names"]).run(|| {
        let names = ["no_such_call", "umask"];
        let outcome = filtered(&[rule(&names, "SCMP_ACT_ERRNO")]).attempt_one(UMASK);
        assert_eq!(outcome.errno(), Some(libc::EPERM));
    });
}

#[test]
fn another_architecture() {
    covers(&["linux.seccomp.architectures"]).run(|| {
        let attempt = |architectures: Value| {
            let seccomp = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": architectures,
                "syscalls": [rule(&["mount"], "SCMP_ACT_ERRNO")],
            });
            let mut seccomp = seccomp;
            seccomp["syscalls"][0]["errnoRet"] = json!(99);
            let bundle = Bundle::new().set("linux.seccomp", seccomp);
            bundle.attempt(&["mount-tmpfs /own", "fork compat-mount /own"])
        };
        let both = attempt(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
        assert_eq!((both[0].errno(), both[1].errno()), (Some(99), Some(99)));
        // A call of an architecture that is not listed is not let through.
        let one = attempt(json!(["SCMP_ARCH_X86_64"]));
        assert_eq!(one[0].errno(), Some(99));
        assert!(
            !one[1].is_done() && one[1].errno() != Some(99),
            "{}",
            one[1]
        );
    });
}

#[test]
fn filters_come_before_and_after_no_new_privileges() {
    covers(&["linux.seccomp: before and after no_new_privs"]).run(|| {
        for value in [true, false] {
            let bundle = filtered(&[rule(&["umask"], "SCMP_ACT_ERRNO")]);
            let bundle = bundle.set("process.noNewPrivileges", json!(value));
            let user = json!({ "uid": 1000, "gid": 1000 });
            let seen = bundle.set("process.user", user).see();
            assert_eq!(seen.status("Seccomp"), "2");
            assert_eq!(seen.status("NoNewPrivs"), if value { "1" } else { "0" });
        }
    });
}

#[track_caller]
fn with_flags(flags: &[&str]) {
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": flags,
        "syscalls": [rule(&["umask"], "SCMP_ACT_ERRNO")],
    });
    let outcome = Bundle::new()
        .set("linux.seccomp", seccomp)
        .attempt_one(UMASK);
    assert_eq!(outcome.errno(), Some(libc::EPERM), "{flags:?}");
}

#[test]
fn flags() {
    covers(&[
        "linux.seccomp.flags: SECCOMP_FILTER_FLAG_TSYNC",
        "linux.seccomp.flags: SECCOMP_FILTER_FLAG_LOG",
        "linux.seccomp.flags: SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    ])
    .known("runc", "1.1.5 takes no flags")
    .run(|| {
        with_flags(&["SECCOMP_FILTER_FLAG_TSYNC"]);
        with_flags(&["SECCOMP_FILTER_FLAG_LOG"]);
        with_flags(&["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
        with_flags(&["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    });
}

#[test]
fn an_unknown_flag_is_refused() {
    covers(&["linux.seccomp.flags: an unknown one is refused"]).run(|| {
        let seccomp = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_NOSUCH"],
            "syscalls": [rule(&["umask"], "SCMP_ACT_ERRNO")],
        });
        let bundle = Bundle::new().set("linux.seccomp", seccomp);
        bundle
            .run_refused()
            .refused_naming(&["SECCOMP_FILTER_FLAG_NOSUCH", "flag"]);
    });
}

#[test]
fn an_unknown_action_is_refused() {
    covers(&["linux.seccomp: an unknown action is refused"]).run(|| {
        filtered(&[rule(&["umask"], "SCMP_ACT_NOSUCH")]).run_refused();
        let seccomp = json!({ "defaultAction": "SCMP_ACT_NOSUCH" });
        Bundle::new().set("linux.seccomp", seccomp).run_refused();
    });
}

/// A listener gets the filter's descriptor with the container's state; once nobody listens, the
/// call does not exist.
fn notified(flags: &[&str]) {
    let bundle = filtered(&[rule(&["umask"], "SCMP_ACT_NOTIFY")]).actions(&["answer", UMASK]);
    let socket = bundle.at("seccomp.sock");
    let receiver = Receiver::at(&socket);
    let mut bundle = bundle
        .set("linux.seccomp.listenerPath", json!(socket))
        .set("linux.seccomp.listenerMetadata", json!("some=metadata"));
    if !flags.is_empty() {
        bundle.change("linux.seccomp.flags", json!(flags));
    }
    let mut started = bundle.run_begun(&[]);
    let (message, filter) = receiver.receive_from(&mut started);
    drop(filter);
    let state: Value = serde_json::from_slice(&message).expect("a state");
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    assert_eq!(state["metadata"], "some=metadata");
    assert!(state["pid"].as_u64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(state["state"]["id"], json!(bundle.id));
    let ended = started.wait().succeeded();
    assert_eq!(
        ended.outcomes()[1].errno(),
        Some(libc::ENOSYS),
        "{}",
        ended.story()
    );
}

#[test]
fn a_listener() {
    covers(&[
        "linux.seccomp.syscalls[].action: SCMP_ACT_NOTIFY",
        "linux.seccomp.listenerPath",
        "linux.seccomp.listenerMetadata",
    ])
    .run(|| notified(&[]));
}

#[test]
fn a_listener_that_is_waited_for() {
    covers(&["linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
        .known("runc", "1.1.5 does not know the flag")
        .needs(Need::Kernel(5, 19))
        .run(|| notified(&["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
}

#[test]
fn a_listener_that_is_not_there_is_an_error() {
    covers(&["linux.seccomp.listenerPath"]).run(|| {
        let bundle = filtered(&[rule(&["umask"], "SCMP_ACT_NOTIFY")]);
        let bundle = bundle.set("linux.seccomp.listenerPath", json!("/no/such/socket"));
        bundle.run_refused();
    });
}

#[test]
fn a_big_profile() {
    covers(&["linux.seccomp: several actions in one profile"]).run(|| {
        let numbers: Vec<Value> = (0..60)
            .map(|value| {
                let condition = json!({ "index": 1, "value": 1000 + value, "op": "SCMP_CMP_EQ" });
                let mut rule = rule(&["lseek"], "SCMP_ACT_ERRNO");
                rule["errnoRet"] = json!(60 + value);
                rule["args"] = json!([condition]);
                rule
            })
            .collect();
        let outcomes =
            filtered(&numbers).attempt(&["syscall 8 9999 1000 0", "syscall 8 9999 1059 0"]);
        assert_eq!(outcomes[0].errno(), Some(60));
        assert_eq!(outcomes[1].errno(), Some(119));
    });
}

#[test]
fn the_filter_does_not_reach_the_runtime() {
    covers(&["linux.seccomp.syscalls[].action: SCMP_ACT_KILL_PROCESS"]).run(|| {
        // Calls that setting up takes and the program does not.
        let names = [
            "mount",
            "pivot_root",
            "unshare",
            "setns",
            "umount2",
            "sethostname",
        ];
        let ended = filtered(&[rule(&names, "SCMP_ACT_KILL_PROCESS")])
            .run()
            .succeeded();
        let mut text = String::new();
        std::fs::File::open(&ended.output)
            .and_then(|mut file| file.read_to_string(&mut text))
            .ok();
        assert_eq!(ended.stdout, "pid ok 1\n");
    });
}
