//! `podman run`: what goes in and comes out.

use std::fs;

use super::{Container, podman, podman_in_terminal, run};
use crate::machine::{self, IMAGE};
use crate::said;

/// Output, messages and exit status arrive unmixed, and nothing is left.
#[test]
fn output_and_status() {
    let file = machine::directory().join("id");
    let cidfile = format!("--cidfile={}", file.display());
    let said = run(&[&cidfile], "echo to-out; echo to-err >&2; exit 7");
    said.exits(7).prints(&["to-out"]).complains(&["to-err"]);
    let id = fs::read_to_string(&file).expect("the container's id");
    machine::nothing_left(&id);
    // What Podman does not know any more the runtime has to have forgotten, too.
    let mut state = std::process::Command::new(machine::runtime());
    said::run(state.args(["state", &id])).fails();
}

/// The process is given what was asked for: environment, directory, user, groups, name, mask.
#[test]
fn environment_directory_and_user() {
    let options = [
        "--env=GREETING=hello world",
        "--workdir=/tmp",
        "--user=alice",
        "--group-add=55",
        "--hostname=a-name",
        "--umask=0027",
    ];
    let script = "echo $GREETING; pwd; id -u; id -G; hostname; umask; echo $HOME; \
        readlink /proc/self/fd/0; exec ls /proc/self/fd";
    run(&options, script).ok().prints(&[
        "hello world",
        "/tmp",
        "1000",
        "1000 55",
        "a-name",
        "0027",
        "/home",
        "/dev/null",
        // Nothing is open but the three standard ones, and the directory that is listed.
        "0",
        "1",
        "2",
        "3",
    ]);
}

/// A program that cannot be executed: the two statuses that shells have for it, too.
#[test]
fn no_such_program() {
    let not_found = ["run", "--rm", "--network=none", IMAGE, "/no/such/program"];
    podman(&not_found).exits(127).complains(&["no such file"]);
    let no_program = ["run", "--rm", "--network=none", IMAGE, "/etc/passwd"];
    podman(&no_program)
        .exits(126)
        .complains(&["permission denied"]);
}

/// A terminal of the container's own, with the size of the caller's.
#[test]
fn terminal() {
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; \
        i=0; while [ \"$(stty size)\" != '33 99' ] && [ $i -lt 100 ]; do sleep 0.1; \
        i=$((i + 1)); done; stty size; ls -l /dev/console >/dev/null && echo console; exit 5";
    let args = [
        "run",
        "--rm",
        "--network=none",
        "-it",
        IMAGE,
        "sh",
        "-c",
        script,
    ];
    podman_in_terminal(&args)
        .exits(5)
        .mentions("/dev/pts/0")
        .mentions("33 99")
        .mentions("console");
}

/// In the background: its log, its status, what is known of it afterwards.
#[test]
fn detached() {
    let box_ = Container::start(&["--init"], "ps -o pid,args; echo done; exit 3");
    box_.podman(&["wait"], &[]).ok().prints(&["3"]);
    box_.podman(&["logs"], &[])
        .ok()
        .mentions("podman-init")
        .mentions("done");
    let known = box_.inspect("{{.State.Status}} {{.State.ExitCode}} {{.OCIRuntime}}");
    assert_eq!(known, "exited 3 tested");
    // A container can be started again after its end.
    box_.podman(&["start", "--attach"], &[]).exits(3);
}

/// `--runtime PATH`, without a word of the runtime in any configuration.
#[test]
fn by_path() {
    let runtime = machine::runtime().to_string_lossy().into_owned();
    let args = [
        "--runtime",
        &runtime,
        "run",
        "--rm",
        "--network=none",
        IMAGE,
        "echo",
        "hello",
    ];
    podman(&args).ok().prints(&["hello"]);
    // Its version is asked for and shown.
    let info = ["--runtime", &runtime, "info", "--format"];
    let name = machine::runtime();
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    podman(&[&info[..], &["{{.Host.OCIRuntime.Version}}"]].concat())
        .ok()
        .mentions(&format!("{name} version"));
}
