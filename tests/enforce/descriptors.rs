//! What open descriptors may be used for: adding, `ioctl`, leases, times; and descriptors from
//! elsewhere.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use libc::{EACCES, EPERM};
use reeve_tests::fixture::in_container;
use reeve_tests::{PolicyText, host, tools};

use crate::support::{Contained, Grounds, granted, kernel, refused};

#[test]
fn append_only() {
    let grounds = Grounds::new();
    let plot = grounds.plot("log");
    let (file, at) = (plot.join("file"), in_container(&plot));
    let mut contained = Contained::start(PolicyText::new("append").file(&plot, "read, append"));
    contained.allowed("file_open", format!("append {at}/file more"));
    for mode in ["w", "rw"] {
        contained.refused("file_open", EACCES, format!("open {mode} {at}/file"));
    }
    contained.refused("file_open", EACCES, format!("open trunc {at}/file"));
    contained.refused("file_fcntl", EACCES, format!("end-append {at}/file"));
    // No hook sees these: the filter of such a container does.
    for (action, errno) in [
        ("overwrite-appending", libc::EOPNOTSUPP),
        ("punch-appending", EPERM),
    ] {
        let outcome = contained.attempt(format!("{action} {at}/file"));
        assert_eq!(outcome.errno(), Some(errno), "{action}: {outcome}");
    }
    let outcome = contained.attempt("ring");
    assert_eq!(outcome.errno(), Some(libc::ENOSYS), "{outcome}");
    contained.end();
    let text = std::fs::read_to_string(&file).expect("read the file");
    assert_eq!(text, "content of file\nmore");
}

#[test]
fn append_ends_for_writers() {
    granted("file_fcntl", &["append {}/file more", "end-append {}/file"]);
    granted("file_open", &["punch-appending {}/file", "ring"]);
    granted("file_fcntl", &["lease r {}/file", "lease w {}/file"]);
}

#[test]
fn leases_refused() {
    let grounds = Grounds::new();
    let plot = grounds.plot("leases");
    let at = in_container(&plot);
    let mut contained = Contained::start(PolicyText::new("lease").file(&plot, "read"));
    contained.refused("file_fcntl", EACCES, format!("lease r {at}/file"));
    contained.end();
}

#[test]
fn times_granted() {
    granted("inode_setattr", &["touch {}/file", "set-times {}/file"]);
    // Who writes changes times by that.
    let grounds = Grounds::new();
    let plot = grounds.plot("written");
    let mut contained = Contained::start(PolicyText::new("times").file(&plot, "write"));
    let at = in_container(&plot);
    contained.allowed("inode_setattr", format!("touch {at}/file"));
    contained.allowed("inode_setattr", format!("truncate {at}/file 3"));
    contained.refused("inode_setattr", EPERM, format!("set-times {at}/file"));
    contained.end();
}

#[test]
fn times_refused() {
    refused(
        "inode_setattr",
        EPERM,
        &["times"],
        &["set-times {}/file", "set-times {}/directory"],
    );
    let grounds = Grounds::new();
    let plot = grounds.plot("touched");
    let mut contained = Contained::start(PolicyText::new("times").file(&plot, "read"));
    let action = format!("touch {}/file", in_container(&plot));
    contained.refused("inode_setattr", EACCES, action);
    contained.end();
}

#[test]
fn flags_granted() {
    granted("inode_file_setattr", &["set-flags {}/file"]);
    if kernel() >= (6, 17) {
        granted("inode_file_setattr", &["file-setattr {}/file"]);
    }
}

#[test]
fn flags_refused() {
    let grounds = Grounds::new();
    let plot = grounds.plot("flags");
    let at = in_container(&plot);
    let mut contained = Contained::start(PolicyText::new("flags").file(&plot, "read, ioctl"));
    contained.refused("file_ioctl", EPERM, format!("set-flags {at}/file"));
    if kernel() >= (6, 17) {
        let action = format!("file-setattr {at}/file");
        contained.refused("inode_file_setattr", EPERM, action);
    }
    contained.end();
}

/// `FS_IOC_SETVERSION` with a value that the file system takes.
const SET_VERSION: &str = "0x40087602";
/// `FS_IOC_GETFLAGS`, which only tells.
const GET_FLAGS: &str = "0x80086601";

#[test]
fn commands_by_line() {
    let grounds = Grounds::new();
    let (named, all, none) = (
        grounds.plot("named"),
        grounds.plot("all"),
        grounds.plot("none"),
    );
    let line = format!(
        "{{ path: {}, allow: [read], ioctl: [FS_IOC_SETVERSION] }}",
        named.display()
    );
    let policy = PolicyText::new("ioctl")
        .line("files", &line)
        .file(&all, "read, ioctl")
        .file(&none, "read, write");
    let mut contained = Contained::start(policy);
    for plot in [&named, &all] {
        let file = in_container(plot.join("file"));
        contained.allowed("file_ioctl", format!("ioctl r {file} {GET_FLAGS}"));
        let outcome = contained.attempt(format!("ioctl r {file} {SET_VERSION}"));
        assert_ne!(outcome.errno(), Some(EPERM), "hook `file_ioctl`: {outcome}");
    }
    let file = in_container(none.join("file"));
    contained.allowed("file_ioctl", format!("ioctl r {file} {GET_FLAGS}"));
    contained.refused("file_ioctl", EPERM, format!("ioctl r {file} {SET_VERSION}"));
    contained.end();
}

#[test]
fn commands_of_devices() {
    let (major, minor) = host::device_number("/dev/vdc").expect("the scratch disk");
    let (size, flush) = ("0x80081272", "0x1261");
    let line = |ioctl| format!("{{ block: \"{major}:{minor}\", allow: [read]{ioctl} }}");
    let mut contained = Contained::start(PolicyText::new("device").line("devices", &line("")));
    contained.allowed("file_ioctl", format!("ioctl r /host/dev/vdc {size}"));
    contained.refused(
        "file_ioctl",
        EPERM,
        format!("ioctl r /host/dev/vdc {flush}"),
    );
    contained.end();
    let policy = PolicyText::new("device")
        .capability("SYS_ADMIN", "ioctl")
        .line("devices", &line(", ioctl: [BLKFLSBUF]"));
    let mut contained = Contained::start(policy);
    contained.allowed("file_ioctl", format!("ioctl r /host/dev/vdc {flush}"));
    contained.end();
}

/// A process of the host that hands out a descriptor.
pub(crate) struct Sender(Child);

impl Sender {
    pub(crate) fn start(socket: &Path, mode: &str, file: &Path) -> Self {
        let probe = tools::find("probe").expect("the probe");
        let mut child = Command::new(probe)
            .arg("send")
            .arg(socket)
            .arg(mode)
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the sender");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its line");
        assert_eq!(line, "listening\n");
        Self(child)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What comes over a socket of `named` when `mode` of `file` is sent, under `rights` over `named`.
fn received(rights: &str, mode: &str, file: &str, allowed: bool) {
    let grounds = Grounds::new();
    let (named, _other) = (grounds.plot("named"), grounds.plot("other"));
    let meeting = grounds.plot("meeting");
    let socket = meeting.join("socket");
    let file = grounds.fixture().at(file);
    let _sender = Sender::start(&socket, mode, &file);
    let policy = PolicyText::new("receive")
        .file(&named, rights)
        .socket(&format!("unix: {}, allow: [connect]", meeting.display()));
    let mut contained = Contained::start(policy);
    let action = format!("receive {}", in_container(&socket));
    if allowed {
        contained.allowed("file_receive", action);
    } else {
        contained.refused("file_receive", EACCES, action);
    }
    contained.end();
}

#[test]
fn receive_granted() {
    received("read", "r", "named/file", true);
    received("read, write", "rw", "named/file", true);
    received("append", "append", "named/file", true);
    // Names a file and opens nothing.
    received("read", "path", "other/file", true);
}

#[test]
fn receive_refused() {
    received("read", "rw", "named/file", false);
    received("read", "append", "named/file", false);
    received("read, write", "r", "other/file", false);
}

#[test]
fn received_device_refused() {
    received("read", "r", "/dev/vdc", false);
    received("read", "rw", "/dev/null", true);
}
