//! Every hook that Reeve attaches, allowing and refusing, and every way out of a container that we
//! could think of.
//!
//! Runs as root in a machine to throw away, one test at a time. The tests of each hook are named in
//! `ebpf_common::hooks::HOOKS`; the last test here says if one is missing.

mod aliases;
mod audit;
mod budget;
mod capabilities;
mod core;
mod descriptors;
mod executing;
mod files;
mod foreign;
mod identity;
mod ipc;
mod kernel;
mod keys;
mod later;
mod learn;
mod limits;
mod mapping;
mod mount_lines;
mod mounts;
mod moving;
mod names;
mod overlay;
mod processes;
mod races;
mod reaching;
mod signal_owner;
mod sockets;
mod sockets_sctp;
mod sockets_unix;
mod start;
mod subject;
mod support;
mod switches;
mod sysctl;
mod tutorial;

use std::collections::BTreeSet;
use std::process::Command;

use ebpf_common::hooks::HOOKS;

/// The names in the table of hooks are those of tests, so that the documentation made from it is
/// true.
#[test]
fn every_hook_has_its_tests() {
    let exe = std::env::current_exe().expect("the path of this program");
    let listing = Command::new(exe)
        .arg("--list")
        .output()
        .expect("list the tests");
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let tests: BTreeSet<&str> = listing
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(|path| path.rsplit("::").next().unwrap_or(path))
        .collect();
    let named = HOOKS
        .iter()
        .flat_map(|hook| [hook.allow_test, hook.deny_test]);
    let missing: Vec<_> = named.filter(|name| !tests.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "tests named in HOOKS and not here: {missing:?}"
    );
}
