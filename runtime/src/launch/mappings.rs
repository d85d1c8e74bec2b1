//! Id mappings of a new user namespace.

use std::fs;
use std::process::Command;

use rustix::io::Errno;

use crate::failure::{Called, Failure};
use crate::plan::Birth;
use crate::spec::IdMapping;

/// Writes both mappings of a process that waits. Where the kernel does not let this user write them
/// (user_namespaces(7)), the set-user-id programs newuidmap and newgidmap do, which allow what
/// `/etc/subuid` and `/etc/subgid` grant.
pub(super) fn write(pid: i32, birth: &Birth) -> Result<(), Failure> {
    write_one(pid, "uid_map", &birth.uid_mappings, "newuidmap")?;
    write_one(pid, "gid_map", &birth.gid_mappings, "newgidmap")
}

fn write_one(
    pid: i32,
    file: &str,
    mappings: &[IdMapping],
    helper: &'static str,
) -> Result<(), Failure> {
    if mappings.is_empty() {
        return Ok(());
    }
    let lines = mappings.iter();
    let lines = lines.map(|map| format!("{} {} {}\n", map.container, map.host, map.size));
    let text: String = lines.collect();
    match write_proc(pid, file, &text) {
        Err(failure) if failure.is(Errno::PERM) => {}
        result => return result,
    }
    // One's own group alone may be mapped once no group can be given up any more.
    if let [only] = mappings
        && only.size == 1
        && file == "gid_map"
        && only.host == rustix::process::getegid().as_raw()
    {
        write_proc(pid, "setgroups", "deny")?;
        return write_proc(pid, file, &text);
    }
    run_helper(helper, pid, mappings)
}

fn run_helper(helper: &'static str, pid: i32, mappings: &[IdMapping]) -> Result<(), Failure> {
    let numbers = mappings
        .iter()
        .flat_map(|map| [map.container, map.host, map.size])
        .map(|number| number.to_string());
    let mut command = Command::new(helper);
    command.arg(pid.to_string()).args(numbers);
    let call = || format!("{command:?}");
    let call = call();
    let output = command.output().called(|| call.clone())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let call = format!("{call} [{}]", said.trim().escape_debug());
    Err(Failure::new(call, Errno::PERM))
}

pub(super) fn write_proc(pid: i32, file: &str, text: &str) -> Result<(), Failure> {
    let path = format!("/proc/{pid}/{file}");
    fs::write(&path, text).called(|| format!("write(\"{path}\", {text:?})"))
}
