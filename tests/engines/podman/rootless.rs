//! Podman as an ordinary user, who has nothing but a range of ids.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::configuration;
use crate::machine::{self, IMAGE};
use crate::said::{self, Said};

const UID: u32 = 1234;

/// A user of the machine with everything that a login would make.
struct User;

impl User {
    fn new() -> Self {
        let name = "bob";
        let uid = UID.to_string();
        let mut useradd = Command::new("useradd");
        said::run(useradd.args(["--create-home", "--uid", &uid, name])).ok();
        for file in ["/etc/subuid", "/etc/subgid"] {
            fs::write(file, "bob:100000:65536\n").expect("give a range of ids");
        }
        let run = format!("/run/user/{UID}");
        fs::create_dir_all(&run).expect("mkdir");
        chown(&run, Some(UID), Some(UID)).expect("chown");
        let readable = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        readable(machine::directory(), 0o755);
        readable(machine::archive(), 0o644);
        readable(&configuration(), 0o644);
        User
    }

    fn command(&self, args: &[&str]) -> Command {
        let uid = UID.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--"])
            .args(["env", "--chdir=/home/bob", "podman"])
            .args(args)
            .env("HOME", "/home/bob")
            .env("USER", "bob")
            .env("XDG_RUNTIME_DIR", format!("/run/user/{UID}"))
            .env("CONTAINERS_CONF", configuration());
        command
    }

    fn podman(&self, args: &[&str]) -> Said {
        said::run(&self.command(args))
    }

    fn run(&self, options: &[&str], script: &str) -> Said {
        let mut args = vec!["run", "--rm", "--network=none"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script]);
        self.podman(&args)
    }
}

#[test]
fn as_an_ordinary_user() {
    let user = User::new();
    let archive = machine::archive().to_string_lossy().into_owned();
    user.podman(&["import", "--quiet", &archive, IMAGE]).ok();
    let map = "tr -s ' ' </proc/self/uid_map";
    let script = format!("{map}; id -u; ls /sys >/dev/null && touch /tmp/f && echo files; exit 7");
    user.run(&[], &script)
        .exits(7)
        .prints(&["0 1234 1", "1 100000 65536", "0", "files"]);
    // With the ids of the caller inside.
    user.run(
        &["--userns=keep-id", "--read-only"],
        "id -u; touch /new 2>&1",
    )
    .exits(1)
    .prints(&["1234", "touch: /new: Read-only file system"]);
    let start = ["run", "--detach", "--name=box", "--network=none", IMAGE];
    user.podman(&[&start[..], &["sleep", "1000"]].concat()).ok();
    user.podman(&["exec", "box", "sh", "-c", "id -u; exit 9"])
        .exits(9)
        .prints(&["0"]);
    let exec = user.command(&["exec", "-it", "box", "tty"]);
    said::run_in_terminal(&exec, String::new)
        .ok()
        .mentions("/dev/pts/0");
    user.podman(&["kill", "box"]).ok();
    user.podman(&["wait", "box"]).ok().prints(&["137"]);
    user.podman(&["rm", "box"]).ok();
}
