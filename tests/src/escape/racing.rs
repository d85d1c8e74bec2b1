//! Racing the enforcer.

use libc::EACCES;

use super::{Attempt, Class, attempt};

pub(super) const CLASS: Class = Class {
    name: "racing",
    about: "Racing the enforcer: to change what is looked at between the look and the deed.",
    attempts: ATTEMPTS,
};

#[rustfmt::skip]
const ATTEMPTS: &[Attempt] = &[
    attempt("exchanged_link", "open a name that is now its own file, now a link to the host's",
        &["create {own}/a", "symlink {plot}/file {own}/b",
          "during-exchange {own}/a {own}/b 3000 open-same rw {own}/a {plot}/file"],
        "file_open", EACCES),
    attempt("exchanged_directory", "open below a name that is now its own directory, now a link",
        &["mkdir {own}/a", "create {own}/a/file", "symlink {plot} {own}/b",
          "during-exchange {own}/a {own}/b 3000 open-same rw {own}/a/file {plot}/file"],
        "file_open", EACCES),
    attempt("exchanged_granted", "the same in a directory that is granted",
        &["symlink {plot}/file {rw}/b",
          "during-exchange {rw}/file {rw}/b 3000 open-same rw {rw}/file {plot}/file"],
        "file_open", EACCES),
    attempt("retargeted_link", "open a link that leads elsewhere from moment to moment",
        &["create {own}/file", "symlink file {own}/link",
          "during-retarget {own}/link {plot}/file 3000 open-same rw {own}/link {plot}/file"],
        "file_open", EACCES),
    attempt("changed_directory", "open relative to a working directory that another changes",
        &["create {own}/file",
          "during-chdir {own} {plot} 3000 open-same rw file {plot}/file"],
        "file_open", EACCES),
    attempt("changed_descriptor", "open through a descriptor that another replaces",
        &["create {own}/file",
          "during-dup {own}/file {plot}/file 3000 open-same rw /proc/self/fd/99 {plot}/file"],
        "file_open", EACCES),
    attempt("changed_text", "open a path that another changes in memory meanwhile",
        &["create {own}/file", "race-text 20000 {own}/file {plot}/file"], "file_open", EACCES),
    attempt("moved_while_widened", "move a file to where it gains rights while that place moves",
        &["mkdir {rw}/a", "mkdir {rw}/b",
          "during-exchange {rw}/a {rw}/b 2000 rename {ro}/file {rw}/a/file"],
        "path_rename", EACCES),
    attempt("linked_while_widened", "link a file to where it gains rights while that place moves",
        &["mkdir {rw}/a", "mkdir {rw}/b",
          "during-exchange {rw}/a {rw}/b 2000 link {ro}/file {rw}/a/link"],
        "path_link", EACCES),
    attempt("clone_storm", "be born and open at once, three hundred times",
        &["flood 300 fork open w {plot}/file"], "file_open", EACCES),
    attempt("clone_storm_at_once", "be born a hundred at once and open at once",
        &["storm 100 open w {plot}/file"], "file_open", EACCES),
    attempt("exec_storm", "execute and open at once, forty times",
        &["flood 40 self-exec open w {plot}/file"], "file_open", EACCES),
    attempt("namespace_storm", "make a user namespace and open at once, a hundred times",
        &["flood 100 mapped mount open w {plot}/open"], "file_open", EACCES)
        .differs(0, "the file's mode is open to everyone"),
    attempt("thread_storm", "start forty threads in forty children that open at once",
        &["storm 40 threads 10 open w {plot}/file"], "file_open", EACCES),
    attempt("ring_storm", "open through two hundred rings",
        &["flood 200 uring-open w {plot}/file"], "file_open", EACCES),
];
