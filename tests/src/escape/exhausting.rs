//! Exhausting the enforcer: to do the forbidden thing where something ran out.

use libc::EACCES;

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "exhausting",
    about: "Exhausting the enforcer: to do the forbidden thing when something has run out.",
    attempts: ATTEMPTS,
};

const OPEN: &[&str] = &["open w {plot}/file"];

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("flood", "fill the record of refusals, and go on",
        &["flood 5000 open w {plot}/file"], "file_open", EACCES),
    attempt("flood_of_children", "have sixty children at once",
        OPEN, "file_open", EACCES).within("storm 60"),
    attempt("flood_of_threads", "have sixty threads at once",
        OPEN, "file_open", EACCES).within("threads 60"),
    attempt("no_descriptors", "with no descriptors left but three",
        &["use-up-descriptors", "open w {plot}/file"], "file_open", EACCES),
    attempt("few_processes", "with a limit of processes that is reached",
        &["call prlimit64 0 6 [8:1,8:1] 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("small_stack", "with a small stack",
        &["call prlimit64 0 3 [8:65536,8:65536] 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("no_locked_memory", "with no memory to lock",
        &["call prlimit64 0 8 [8:0,8:0] 0", "open w {plot}/file"], "file_open", EACCES),
    attempt("little_memory", "with little address space",
        &["call prlimit64 0 9 [8:0x4000000,8:0x4000000] 0", "open w {plot}/file"],
        "file_open", EACCES),
    attempt("deep_directory", "deeper than the walk goes, below a grant",
        &["create file"], "path_mkdir", EACCES).within("call-chdir {rw} deep 80"),
    attempt("deep_own_directory", "from deep below in its own root",
        OPEN, "file_open", EACCES).within("call-chdir {own} deep 40"),
    attempt("many_links", "behind thirty symbolic links",
        &["chain-links {own} 30 {plot}/file", "open w {own}/30"], "file_open", EACCES),
    attempt("long_path", "by a path of four thousand bytes",
        &["long-path 4000 open w {plot}/file"], "file_open", EACCES),
    attempt("many_user_namespaces", "in a user namespace in a user namespace in …",
        &["open w {plot}/open"], "file_open", EACCES)
        .within("mapped user mapped user mapped user mapped user mapped user mapped user")
        .differs(0, "the file's mode is open to everyone"),
    attempt("many_capability_uses", "ask for capabilities five thousand times",
        &["flood 5000 sethostname reeve-guest"], "capable", libc::EPERM),
    attempt("many_mounts", "after two thousand mounts, where mounting is granted",
        &["stack-mounts /mnt 2000", "open w {plot}/file"], "file_open", EACCES),
];
