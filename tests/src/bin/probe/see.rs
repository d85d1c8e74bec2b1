//! What a process finds itself to be: identity, limits, namespaces, mounts, descriptors.
//!
//! Files of `/proc` are told as they are; whoever asked takes them apart.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::act::{Action, Done, Failure, action};
use crate::sys::{Arg, call};

pub(crate) const ACTIONS: &[Action] = &[
    action("see", "", see),
    action("look", "PATH", look),
    action("text", "PATH", text),
];

/// Files below `/proc/self`, told under these names.
const FILES: [&str; 15] = [
    "mountinfo",
    "limits",
    "cgroup",
    "uid_map",
    "gid_map",
    "setgroups",
    "oom_score_adj",
    "personality",
    "timens_offsets",
    "attr/current",
    "attr/apparmor/current",
    "net/dev",
    "net/fib_trie",
    "stat",
    "sessionid",
];

/// Everything at once, as JSON in a line.
fn see(words: &[&str]) -> Done {
    let [] = words else {
        return Err(Failure::Usage);
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let status: BTreeMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let files: BTreeMap<&str, String> = FILES
        .iter()
        .filter_map(|name| Some((*name, fs::read_to_string(self_file(name)).ok()?)))
        .collect();
    let seen = json!({
        "status": status,
        "files": files,
        "hostname": read_line("/proc/sys/kernel/hostname"),
        "domainname": read_line("/proc/sys/kernel/domainname"),
        "namespaces": links("/proc/self/ns"),
        "descriptors": links("/proc/self/fd"),
        "terminals": [is_terminal(0), is_terminal(1), is_terminal(2)],
        "window": window(),
        "args": strings(std::env::args_os()),
        "env": strings(std::env::vars_os().map(|(name, value)| {
            [name.as_os_str(), value.as_os_str()].join("=".as_ref())
        })),
        "cwd": fs::read_link("/proc/self/cwd").ok(),
        "scheduler": scheduler(),
        "io_priority": io_priority(),
        "memory_policy": memory_policy(),
        "session_keyring": session_keyring(),
        "boot_time": clock(libc::CLOCK_BOOTTIME),
        "monotonic_time": clock(libc::CLOCK_MONOTONIC),
    });
    Ok(seen.to_string())
}

fn self_file(name: &str) -> String {
    format!("/proc/self/{name}")
}

fn read_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

fn strings(words: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The symbolic links of a directory; the one to the directory itself is left out.
fn links(directory: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let to = fs::read_link(entry.path()).ok()?;
            let to = to.to_string_lossy().into_owned();
            // The descriptor that the directory is read through.
            (!(to.starts_with("/proc/") && to.ends_with("/fd"))).then_some((name, to))
        })
        .collect()
}

fn is_terminal(descriptor: i64) -> bool {
    let mut attributes = [0u8; 64];
    let arguments = [
        Arg::Int(descriptor),
        Arg::Int(libc::TCGETS as i64),
        Arg::Out(&mut attributes),
    ];
    call("ioctl", libc::SYS_ioctl, arguments).is_ok()
}

/// Rows and columns of the terminal at descriptor 0.
fn window() -> Option<(u16, u16)> {
    let mut size = [0u8; 8];
    let arguments = [
        Arg::Int(0),
        Arg::Int(libc::TIOCGWINSZ as i64),
        Arg::Out(&mut size),
    ];
    call("ioctl", libc::SYS_ioctl, arguments).ok()?;
    let number = |at: usize| u16::from_ne_bytes([size[at], size[at + 1]]);
    Some((number(0), number(2)))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(four)
}

fn double_word(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(eight)
}

/// `struct sched_attr` (`include/uapi/linux/sched/types.h`).
fn scheduler() -> Option<Value> {
    let mut attributes = [0u8; 56];
    let length = attributes.len() as i64;
    let arguments = [
        Arg::Int(0),
        Arg::Out(&mut attributes),
        Arg::Int(length),
        Arg::Int(0),
    ];
    call("sched_getattr", libc::SYS_sched_getattr, arguments).ok()?;
    Some(json!({
        "policy": word(&attributes, 4),
        "flags": double_word(&attributes, 8),
        "nice": word(&attributes, 16) as i32,
        "priority": word(&attributes, 20),
        "runtime": double_word(&attributes, 24),
        "deadline": double_word(&attributes, 32),
        "period": double_word(&attributes, 40),
    }))
}

/// Class and level, as `ioprio_get(2)` tells them.
fn io_priority() -> Option<(i64, i64)> {
    const IOPRIO_WHO_PROCESS: i64 = 1;
    let arguments = [Arg::Int(IOPRIO_WHO_PROCESS), Arg::Int(0)];
    let both = call("ioprio_get", libc::SYS_ioprio_get, arguments).ok()?;
    Some((both >> 13, both & 0x1fff))
}

/// Mode with its flags, and the nodes up to number 63.
fn memory_policy() -> Option<(u32, u64)> {
    let (mut mode, mut nodes) = ([0u8; 4], [0u8; 128]);
    let bits = Arg::Int(8 * nodes.len() as i64);
    let arguments = [
        Arg::Out(&mut mode),
        Arg::Out(&mut nodes),
        bits,
        Arg::Int(0),
        Arg::Int(0),
    ];
    call("get_mempolicy", libc::SYS_get_mempolicy, arguments).ok()?;
    Some((u32::from_ne_bytes(mode), double_word(&nodes, 0)))
}

fn session_keyring() -> Option<i64> {
    const KEYCTL_GET_KEYRING_ID: i64 = 0;
    const KEY_SPEC_SESSION_KEYRING: i64 = -3;
    let arguments = [
        Arg::Int(KEYCTL_GET_KEYRING_ID),
        Arg::Int(KEY_SPEC_SESSION_KEYRING),
        Arg::Int(0),
    ];
    call("keyctl", libc::SYS_keyctl, arguments).ok()
}

/// Seconds of a clock.
fn clock(clock: i32) -> Option<u64> {
    let mut time = [0u8; 16];
    let arguments = [Arg::Int(clock.into()), Arg::Out(&mut time)];
    call("clock_gettime", libc::SYS_clock_gettime, arguments).ok()?;
    Some(double_word(&time, 0))
}

/// What is at a path, itself rather than where it leads; as JSON in a line.
fn look(words: &[&str]) -> Done {
    let [path] = words else {
        return Err(Failure::Usage);
    };
    let found = fs::symlink_metadata(path).map_err(|error| Failure::from_io("lstat", &error))?;
    let kind = found.file_type();
    let kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    let entries = fs::read_dir(path).map(Iterator::count).ok();
    Ok(json!({
        "kind": kind,
        "mode": found.mode() & 0o7777,
        "uid": found.uid(),
        "gid": found.gid(),
        "size": found.size(),
        "major": libc::major(found.rdev()),
        "minor": libc::minor(found.rdev()),
        "target": fs::read_link(path).ok(),
        "entries": entries,
        "device": found.dev(),
        "inode": found.ino(),
    })
    .to_string())
}

/// The text of a file as a JSON string.
fn text(words: &[&str]) -> Done {
    let [path] = words else {
        return Err(Failure::Usage);
    };
    let content = fs::read(Path::new(path)).map_err(|error| Failure::from_io("read", &error))?;
    Ok(Value::String(String::from_utf8_lossy(&content).into_owned()).to_string())
}
