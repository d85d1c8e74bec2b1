//! `probe ACTION ARGS…`: tries one thing that a process may do to its host and prints what came of
//! it, as `ACTION ok` or `ACTION errno=13 EACCES openat`; the exit code is the errno.
//! `probe script` reads actions, one a line, or takes them from `-- ACTION …` words. The table of
//! actions is in [`act`].

mod act;
mod attributes;
mod bpf;
mod capabilities;
mod compat;
mod descriptors;
mod detours;
mod entry;
mod files;
mod ipc;
mod kernel;
mod limits;
mod mapping;
mod mounts;
mod names;
mod owner;
mod processes;
mod script;
mod see;
mod sockets;
mod storm;
mod sys;
mod wrap;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["script"] => script::from_stdin(),
        ["script", "--", rest @ ..] => script::from_words(rest),
        _ => script::one(&words),
    }
}
