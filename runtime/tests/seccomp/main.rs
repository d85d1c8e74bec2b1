//! Compiled filters, installed and tried on the running kernel.
//!
//! Each case runs in a process of its own with one thread, which is why this has no test harness:
//! the program executes itself with the name of the case. No privileges are needed. An argument
//! picks the cases whose names contain it.

mod agent;
mod cases;
mod run;
#[allow(unsafe_code, reason = "the one place for raw system calls")]
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [run::PROBE] => run::probe(),
        [run::CHILD, name] => run::child(name),
        [run::CHILD, name, agent] => run::child_with_agent(name, agent),
        _ => run::all(&args),
    }
}
