//! Reaching into host processes: the ways to trace told apart, namespaces, limits; and what may be
//! executed.

use std::fs::File;
use std::path::Path;

use libc::{EACCES, EPERM};
use reeve_tests::bundle::Config;
use reeve_tests::host::Bystander;
use reeve_tests::{PolicyText, rootfs};

use crate::support::{Contained, Grounds, opened, prepared};

fn bystander(grounds: &Grounds, name: &str) -> Bystander {
    Bystander::start(grounds.fixture().at(name)).expect("start a bystander")
}

/// Each system call with the word that grants it. Reading at an address where nothing is comes to
/// `EFAULT`, past every check.
const WAYS: [(&str, &str, i32); 4] = [
    ("process_vm_readv", "process-vm-read PID 4096", libc::EFAULT),
    (
        "process_vm_writev",
        "process-vm-write PID 4096",
        libc::EFAULT,
    ),
    ("pidfd_getfd", "pidfd-getfd PID 0", 0),
    ("kcmp", "kcmp PID", 0),
];

#[test]
fn ways_to_trace() {
    let grounds = Grounds::new();
    let target = bystander(&grounds, "target");
    let hook = "ptrace_access_check";
    for (word, ..) in WAYS {
        let policy = PolicyText::new("ways").ptrace(target.exe(), word);
        let mut contained = Contained::among_host_processes(policy);
        for (other, action, errno) in WAYS {
            let action = action.replace("PID", &target.pid().to_string());
            match other == word {
                true => {
                    let outcome = contained.attempt(&action);
                    assert_eq!(
                        outcome.errno(),
                        Some(errno),
                        "hook `{hook}`, `{action}`: {outcome}"
                    );
                }
                false => contained.refused(hook, EPERM, action),
            }
        }
        contained.refused(hook, EPERM, format!("ptrace-attach {}", target.pid()));
        contained.end();
    }
}

#[test]
fn setns_by_type_and_executable() {
    let grounds = Grounds::new();
    let (named, other) = (bystander(&grounds, "named"), bystander(&grounds, "other"));
    let line = format!("{{ exe: {}, types: [net, uts] }}", named.exe().display());
    let policy = PolicyText::new("setns").process_line("setns", line);
    let mut contained = Contained::among_host_processes(policy);
    let (named, other) = (named.pid(), other.pid());
    contained.allowed("ptrace_access_check", format!("setns-of {named} net pid"));
    contained.allowed("capable", format!("setns-of {named} net,uts pid"));
    let hook = "ptrace_access_check";
    contained.refused(hook, EPERM, format!("setns-of {named} mount pid"));
    contained.refused(hook, EPERM, format!("setns-of {named} net,mount pid"));
    contained.refused(hook, EPERM, format!("setns-of {other} net pid"));
    // Looking into the process is something else, and a namespace file says no type.
    let outcome = contained.attempt(format!("setns /proc/{named}/ns/net pid"));
    assert!(
        !outcome.is_done(),
        "hook `{hook}` let a namespace be opened: {outcome}"
    );
    contained.refused("capable", EPERM, "setns /proc/self/ns/net pid");
    contained.end();
}

#[test]
fn limits_of_named_processes() {
    const ACTIONS: [(&str, &str, &str); 4] = [
        ("nice", "task_setnice", "set-nice"),
        ("io-priority", "task_setioprio", "set-io-priority"),
        ("scheduler", "task_setscheduler", "set-affinity"),
        ("resources", "task_setrlimit", "set-limit"),
    ];
    let grounds = Grounds::new();
    let (named, other) = (bystander(&grounds, "named"), bystander(&grounds, "other"));
    for (word, ..) in ACTIONS {
        let line = format!("{{ exe: {}, allow: [{word}] }}", named.exe().display());
        let policy = PolicyText::new("limits").process_line("limits", line);
        let mut contained = Contained::among_host_processes(policy);
        for (another, hook, action) in ACTIONS {
            let on_named = format!("{action} {}", named.pid());
            match another == word {
                true => drop(contained.allowed(hook, on_named)),
                false => contained.refused(hook, EPERM, on_named),
            }
            contained.refused(hook, EPERM, format!("{action} {}", other.pid()));
        }
        contained.end();
    }
}

/// What procfs lets root write of a process.
#[test]
fn settings_of_host_processes() {
    let grounds = Grounds::new();
    let target = bystander(&grounds, "target");
    let policy = PolicyText::new("settings").ptrace(target.exe(), "attach");
    let mut contained = Contained::among_host_processes(policy);
    let own = contained.allowed("task_kill", "pid");
    contained.allowed("file_open", format!("open w /proc/{own}/oom_score_adj"));
    for entry in [
        "oom_score_adj",
        "mem",
        "clear_refs",
        "coredump_filter",
        "comm",
        "uid_map",
    ] {
        for proc in ["/proc", "/host/proc"] {
            let action = format!("open w {proc}/{}/{entry}", target.pid());
            let outcome = contained.attempt(&action);
            assert!(
                !outcome.is_done(),
                "hook `file_open` let `{action}` through"
            );
        }
    }
    contained.end();
}

/// A terminal of the host's signals its foreground processes, who are not asked.
#[test]
fn signals_of_inherited_terminals() {
    let terminal = ["/dev/tty1", "/dev/null"].map(Path::new);
    let terminal = terminal.into_iter().find(|path| path.exists());
    let inherited: File = opened(terminal.expect("a character device"));
    let mut contained = Contained::with_descriptor(&inherited, PolicyText::new("terminal"));
    contained.refused("file_fcntl", EPERM, "set-async 2");
    contained.refused("file_fcntl", EPERM, "set-signal 2");
    contained.refused("file_ioctl", EPERM, "ioctl-async 2");
    // A pipe has nobody else to signal.
    contained.allowed("file_fcntl", "set-async 0");
    contained.allowed("file_fcntl", "set-signal 0");
    contained.end();
}

/// With a list, what is not on it is not executed, files of the container's own included.
#[test]
fn exec_list() {
    let container = prepared(Config::default(), PolicyText::new("exec"));
    let root = container.root();
    let policy =
        PolicyText::new("exec").process_line("exec", root.join("probe").display().to_string());
    let container = container.with_policy(policy).expect("write its policy");
    rootfs::copy_program(&root.join("probe"), &root.join("other")).expect("copy it");
    let mut contained = Contained::of(container);
    contained.allowed("bprm_check_security", "exec /probe pid");
    contained.refused("bprm_check_security", EACCES, "exec /other pid");
    contained.refused("bprm_check_security", EACCES, "exec-memfd pid");
    contained.end();
}
