//! Running cases: the parent's side and the child's.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use runtime::spec::{Seccomp, Spec};
use serde_json::{Value, json};

use crate::agent;
use crate::cases::{self, Case, End};
use crate::sys;

/// First argument of a child.
pub(crate) const CHILD: &str = "--in-child";

/// Only argument of a child that finds out whether programs of i386 run.
pub(crate) const PROBE: &str = "--in-probe";

/// What `linux.seccomp` becomes in a configuration.
fn compiled(seccomp: Value) -> Seccomp {
    let config = json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"], "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [{ "type": "mount" }], "seccomp": seccomp }
    });
    let raw = serde_json::from_value(config).expect("a configuration");
    let spec = Spec::check(&raw, Path::new("/b")).expect("a valid configuration");
    spec.seccomp.expect("a filter")
}

fn case(name: &str) -> Case {
    let mut all = cases::all().into_iter();
    all.find(|case| case.name == name).expect("a case")
}

fn finish(result: Result<(), String>) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(text) => {
            eprintln!("{text}");
            1
        }
    };
    sys::exit(code)
}

/// Puts itself under the filter of a case and does what it does.
pub(crate) fn child(name: &str) -> ! {
    let case = case(name);
    let seccomp = compiled((case.seccomp)());
    rustix::thread::set_no_new_privs(true).expect("prctl(PR_SET_NO_NEW_PRIVS)");
    let listener = seccomp
        .filter
        .install()
        .expect("a filter that the kernel takes");
    assert!(listener.is_none(), "a listener that nobody asked for");
    finish((case.act)())
}

/// The same with an agent that listens at a path.
pub(crate) fn child_with_agent(name: &str, path: &str) -> ! {
    let case = case(name);
    let seccomp = compiled((case.seccomp)());
    rustix::thread::set_no_new_privs(true).expect("prctl(PR_SET_NO_NEW_PRIVS)");
    let listener = seccomp
        .filter
        .install()
        .expect("a filter that the kernel takes");
    finish(agent::hand_over(Path::new(path), listener).and_then(|()| (case.act)()))
}

/// Makes a call of i386 without a filter; a kernel without them answers with SIGSEGV.
pub(crate) fn probe() -> ! {
    #[cfg(target_arch = "x86_64")]
    let _ = sys::call_i386(cases::GETPPID_I386, 0);
    sys::exit(0)
}

fn runs_i386() -> bool {
    let program = std::env::current_exe();
    let probed = program.and_then(|program| Command::new(program).arg(PROBE).status());
    probed.is_ok_and(|status| status.success())
}

/// Runs every case whose name contains one of `wanted`.
pub(crate) fn all(wanted: &[String]) -> ExitCode {
    // What a test harness would take.
    let mut words = wanted
        .iter()
        .filter(|word| !word.starts_with('-'))
        .peekable();
    let named = words.peek().is_some();
    let words: Vec<&String> = words.collect();
    let mut failed = 0;
    let i386 = runs_i386();
    for case in cases::all() {
        if named && !words.iter().any(|word| case.name.contains(*word)) {
            continue;
        }
        if case.i386 && !i386 {
            println!(
                "test {} ... ignored, this kernel runs no i386 programs",
                case.name
            );
            continue;
        }
        match outcome(&case) {
            Ok(()) => println!("test {} ... ok", case.name),
            Err(text) => {
                failed += 1;
                println!("test {} ... FAILED\n{text}", case.name);
            }
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

fn outcome(case: &Case) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args([CHILD, case.name]);
    let output = if case.end == End::AgentAsked {
        agent::serve(&mut command)?
    } else {
        command.output().map_err(|error| error.to_string())?
    };
    judge(case, &output)
}

fn judge(case: &Case, output: &Output) -> Result<(), String> {
    let status = output.status;
    let right = match case.end {
        End::Exit | End::AgentAsked => status.success(),
        End::Killed => status.signal() == Some(libc::SIGSYS),
    };
    if right {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{status}, {:?} expected: {text}", case.end))
}
