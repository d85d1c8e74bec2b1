//! `ctr run`: what goes in and comes out.

use super::{ctr, ctr_in_terminal, run, run_args};
use crate::machine::{self, IMAGE};
use crate::said;

#[test]
fn output_and_status() {
    let script = "echo to-out; echo to-err >&2; echo $A; pwd; exit 7";
    run(&["--env=A=b", "--cwd=/tmp"], script)
        .exits(7)
        .prints(&["to-out", "b", "/tmp"])
        .complains(&["to-err"]);
}

/// A program that is not there is an error that names it, and leaves nothing.
#[test]
fn no_such_program() {
    let name = machine::unique("task");
    let args = run_args(&name, &["--rm"], &["/no/such/program"]);
    ctr(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .fails()
        .complains(&["/no/such/program"]);
    machine::nothing_left(&name);
    ctr(&["tasks", "list"])
        .ok()
        .shows("no such task", |out| !out.contains(&name));
}

#[test]
fn terminal() {
    let name = machine::unique("task");
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; \
        i=0; while [ \"$(stty size)\" != '33 99' ] && [ $i -lt 100 ]; do sleep 0.1; \
        i=$((i + 1)); done; stty size; exit 5";
    let args = run_args(&name, &["--rm", "--tty"], &["sh", "-c", script]);
    ctr_in_terminal(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .exits(5)
        .mentions("/dev/pts/0")
        .mentions("33 99");
}

/// An image that Podman has made, unpacked to layers of an overlay.
#[test]
fn from_an_image() {
    let archive = machine::directory().join("image.tar");
    let archive = archive.to_string_lossy();
    let save = [
        "save",
        "--quiet",
        "--format=oci-archive",
        "--output",
        &archive,
    ];
    crate::podman::podman(&[&save[..], &[IMAGE]].concat()).ok();
    ctr(&["images", "import", &archive]).ok();
    let runtime = machine::runtime().to_string_lossy().into_owned();
    let image = format!("{IMAGE}:latest");
    let name = machine::unique("task");
    let args = ["run", "--rm", "--runc-binary", &runtime, "--read-only"];
    let script = "grep -c '^overlay / overlay ro' /proc/mounts; touch /new 2>&1";
    let said = ctr(&[&args[..], &[&image, &name, "/bin/sh", "-c", script]].concat());
    said.exits(1)
        .prints(&["1", "touch: /new: Read-only file system"]);
    let mut find = std::process::Command::new("find");
    find.args(["/run/engines-containerd", "-name", &name]);
    said::run(&find).ok().prints(&[]);
    machine::nothing_left(&name);
}
