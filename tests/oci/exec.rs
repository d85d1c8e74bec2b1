//! `exec`: another process in a running container.

use std::fs;

use serde_json::json;

use crate::support::cgroup::directory;
use crate::support::console::{Receiver, Terminal};
use crate::support::seen::own_namespace;
use crate::support::{Bundle, Cgroups, command, covers};

fn running() -> Bundle {
    let bundle = Bundle::waiting();
    bundle.launch();
    bundle
}

#[test]
fn a_process_in_the_container() {
    covers(&["exec: args", "exec: in the namespaces and the cgroup"]).run(|| {
        let bundle = running();
        let seen = bundle.exec_see(&[]);
        let pid = bundle.pid();
        for name in ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"] {
            let wanted = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            assert_eq!(seen.namespace(name), wanted.to_str().unwrap(), "{name}");
        }
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(seen.file("cgroup"), cgroup);
        assert_ne!(seen.namespace("pid"), own_namespace("pid"));
        assert_eq!(seen.0["cwd"], "/");
        assert_eq!(seen.capabilities("CapBnd"), 1 << 5 | 1 << 10 | 1 << 29);
        assert_eq!(seen.capabilities("CapInh"), 0);
        assert_eq!(seen.status("SigBlk"), "0000000000000000");
    });
}

#[test]
fn in_a_group_below() {
    covers(&["exec: --cgroup"])
        .known("crun", "has it for version 2 alone")
        .run(|| {
            let bundle = running();
            fs::create_dir(directory(&bundle, "pids").join("below")).unwrap();
            let option = match Cgroups::of_host() {
                Cgroups::Version1 => "pids:/below",
                Cgroups::Version2 => "below",
            };
            let seen = bundle.exec_see(&["--cgroup", option]);
            let groups = seen.file("cgroup");
            let line = |line: &&str| line.starts_with("0::") || line.contains(":pids:");
            let below = groups.lines().filter(line);
            assert!(
                below.clone().any(|line| line.ends_with("/below")),
                "{groups}"
            );
            let ended = bundle.call("exec", &["--cgroup", "../.."], &["/own"]);
            ended.refused();
        });
}

#[test]
fn only_the_standard_streams() {
    covers(&["exec: args", "descriptors: only the standard streams"]).run(|| {
        let seen = running().exec_see(&[]);
        let numbers: Vec<u32> = seen.descriptors().into_keys().collect();
        assert_eq!(numbers, [0, 1, 2], "{:?}", seen.descriptors());
    });
}

#[test]
fn the_status_of_the_process() {
    covers(&["exec: exit status"]).run(|| {
        let bundle = running();
        for status in [0, 1, 42, 255] {
            bundle
                .exec(&[], &[&format!("exit {status}")])
                .with_status(status);
        }
        bundle.exec(&[], &["raise 9"]).with_status(137);
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn a_process_that_cannot_start() {
    covers(&["exec: 255 if it cannot start"]).run(|| {
        let bundle = running();
        let ended = bundle.call("exec", &[], &["/no/such"]);
        ended.refused_naming(&["/no/such"]).with_status(255);
    });
}

#[test]
fn a_process_that_cannot_start_is_an_error() {
    covers(&["exec: 255 if it cannot start"]).run(|| {
        let bundle = running();
        bundle.call("exec", &[], &["/no/such"]).refused();
        bundle.call("exec", &[], &["/own"]).refused();
        assert_eq!(bundle.status(), "running");
    });
}

#[test]
fn its_environment() {
    covers(&["exec --env"]).run(|| {
        let seen = running().exec_see(&["--env", "ONE=1", "--env", "TWO=two words"]);
        assert!(seen.env().contains(&"ONE=1"));
        assert!(seen.env().contains(&"TWO=two words"));
    });
}

#[test]
fn the_environment_of_the_container() {
    covers(&["exec --env"])
        .known("crun", "1.8 takes nothing else with the option")
        .run(|| {
            let seen = running().exec_see(&["--env", "ONE=1"]);
            assert!(
                seen.env().contains(&"PATH=/usr/bin:/bin"),
                "{:?}",
                seen.env()
            );
        });
}

#[test]
fn its_directory() {
    covers(&["exec --cwd"]).run(|| {
        let bundle = running();
        assert_eq!(bundle.exec_see(&["--cwd", "/own"]).0["cwd"], "/own");
    });
}

#[test]
fn its_user() {
    covers(&["exec --user"]).run(|| {
        let bundle = running();
        let seen = bundle.exec_see(&["--user", "1000:2000"]);
        assert_eq!(seen.ids("Uid"), [1000; 4]);
        assert_eq!(seen.ids("Gid"), [2000; 4]);
        assert_eq!(bundle.exec_see(&["-u", "7"]).ids("Uid"), [7; 4]);
    });
}

#[test]
fn a_user_that_is_none() {
    covers(&["exec --user"])
        .known("crun", "1.8 takes the digits before other characters")
        .known("runc", "1.1.5 cuts numbers to 32 bits")
        .run(|| {
            let bundle = running();
            for user in ["x", "1000:x", "12ab", "-1", "99999999999", ""] {
                let flag = format!("--user={user}");
                let ended = bundle.exec(&[&flag], &["pid"]);
                assert!(!ended.status.success(), "{user:?}: {}", ended.story());
            }
        });
}

#[test]
fn its_groups() {
    covers(&["exec --additional-gids"])
        .known("crun", "1.8 has no such option")
        .run(|| {
            let flags = ["--additional-gids", "77", "--additional-gids", "88"];
            let groups = running().exec_see(&flags).ids("Groups");
            assert!(groups.contains(&77) && groups.contains(&88), "{groups:?}");
        });
}

#[test]
fn its_capabilities() {
    covers(&["exec --cap"]).run(|| {
        let bundle = running();
        let seen = bundle.exec_see(&["--cap", "CAP_NET_RAW"]);
        assert_ne!(seen.capabilities("CapEff") & 1 << 13, 0);
        assert_ne!(seen.capabilities("CapBnd") & 1 << 13, 0);
        assert_eq!(bundle.exec_see(&[]).capabilities("CapEff") & 1 << 13, 0);
    });
}

#[test]
fn no_new_privileges() {
    covers(&["exec --no-new-privs"]).run(|| {
        let bundle = running();
        assert_eq!(bundle.exec_see(&[]).status("NoNewPrivs"), "0");
        assert_eq!(
            bundle.exec_see(&["--no-new-privs"]).status("NoNewPrivs"),
            "1"
        );
    });
}

#[test]
fn a_process_from_a_file() {
    covers(&["exec --process"]).run(|| {
        let bundle = running();
        let capabilities = json!(["CAP_CHOWN"]);
        let process = json!({
            "user": { "uid": 12, "gid": 34, "additionalGids": [56] },
            "args": ["/probe", "script", "--", "see"],
            "env": ["ONLY=this"],
            "cwd": "/own",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": capabilities, "ambient": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_MSGQUEUE", "soft": 64, "hard": 65 }],
            "noNewPrivileges": true,
        });
        bundle.file("process.json", &process.to_string());
        let path = bundle.at("process.json");
        let ended = bundle.call("exec", &["--process", &path], &[]).succeeded();
        let seen = crate::support::Seen::of(&ended);
        assert_eq!(
            (seen.ids("Uid"), seen.ids("Gid")),
            (vec![12; 4], vec![34; 4])
        );
        assert!(seen.ids("Groups").contains(&56));
        assert!(seen.env().contains(&"ONLY=this"));
        assert!(
            !seen
                .env()
                .iter()
                .any(|variable| variable.starts_with("PATH="))
        );
        assert_eq!(seen.0["cwd"], "/own");
        assert_eq!(seen.capabilities("CapEff"), 1);
        assert_eq!(seen.capabilities("CapAmb"), 1);
        assert_eq!(
            seen.limit("Max msgqueue size"),
            ("64".to_owned(), "65".to_owned())
        );
        assert_eq!(seen.status("NoNewPrivs"), "1");
    });
}

/// What a process with this key changed, told by a file, finds itself to be.
fn with_key(key: &str, value: serde_json::Value) -> crate::support::Seen {
    let bundle = running();
    let mut process = json!({
        "user": { "uid": 0, "gid": 0 },
        "args": ["/probe", "script", "--", "see"],
        "cwd": "/",
    });
    match key.split_once('.') {
        Some((above, key)) => process[above][key] = value,
        None => process[key] = value,
    }
    bundle.file("process.json", &process.to_string());
    let path = bundle.at("process.json");
    let ended = bundle.call("exec", &["--process", &path], &[]).succeeded();
    crate::support::Seen::of(&ended)
}

#[test]
fn the_mask_from_a_file() {
    covers(&["exec --process", "process.user.umask"])
        .known("runc", "1.1.5 keeps the container's")
        .run(|| {
            assert_eq!(with_key("user.umask", json!(0o77)).status("Umask"), "0077");
        });
}

#[test]
fn the_oom_score_from_a_file() {
    covers(&["exec --process", "process.oomScoreAdj"])
        .known("runc", "1.1.5 passes over it")
        .known("crun", "1.8 passes over it")
        .run(|| {
            let seen = with_key("oomScoreAdj", json!(77));
            assert_eq!(seen.file("oom_score_adj").trim(), "77");
        });
}

#[test]
fn detached_with_its_pid_in_a_file() {
    covers(&["exec --detach", "exec --pid-file"]).run(|| {
        let bundle = running();
        let path = bundle.at("exec.pid");
        let actions = ["sleep 600000"];
        bundle
            .exec(&["--detach", "--pid-file", &path], &actions)
            .succeeded();
        let pid: u32 = fs::read_to_string(&path)
            .expect("the file")
            .trim()
            .parse()
            .unwrap();
        let inside = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
        assert_eq!(
            inside,
            fs::read_link(format!("/proc/{}/ns/pid", bundle.pid())).unwrap()
        );
        assert_ne!(pid, bundle.pid());
    });
}

#[test]
fn a_terminal_over_a_socket() {
    covers(&["exec --tty", "exec --console-socket"]).run(|| {
        let bundle = running();
        let socket = bundle.at("exec.sock");
        let receiver = Receiver::at(&socket);
        let flags = ["--tty", "--detach", "--console-socket", &socket];
        bundle
            .exec(&flags, &["see", "answer", "sleep 600000"])
            .succeeded();
        let (_, master) = receiver.receive();
        let mut terminal = Terminal::new(master);
        let line = terminal.line("see ok ");
        let seen = crate::support::Seen::in_text(&line).expect("it saw");
        assert_eq!(seen.0["terminals"], json!([true, true, true]));
        terminal.write("typed\n");
        assert_eq!(terminal.line("answer "), "answer ok typed");
    });
}

/// Numbers of the descriptors in a process that `command` starts with one more, number 3.
fn descriptors_of(bundle: &Bundle, command: &std::process::Command) -> Vec<u32> {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 3</etc/passwd; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .current_dir(&bundle.directory)
        .stdin(std::process::Stdio::null());
    let ended = command::run(&mut shell, &bundle.directory).succeeded();
    crate::support::Seen::of(&ended)
        .descriptors()
        .into_keys()
        .collect()
}

#[test]
fn a_descriptor_is_kept_on_request() {
    covers(&["exec --preserve-fds"]).run(|| {
        let bundle = running();
        let words = ["/probe", "script", "--", "see"];
        let exec = bundle.command("exec", &["--preserve-fds", "1"], &words);
        assert_eq!(descriptors_of(&bundle, &exec), [0, 1, 2, 3]);
    });
}

#[test]
fn a_descriptor_is_kept_for_the_entry_process() {
    covers(&["create --preserve-fds"]).run(|| {
        let bundle = Bundle::doing(&["see"]);
        bundle.write();
        let run = bundle.command("run", &["--preserve-fds", "1"], &[]);
        assert_eq!(descriptors_of(&bundle, &run), [0, 1, 2, 3]);
    });
}

#[test]
fn a_stopped_container_takes_no_process() {
    covers(&["exec: a container that does not run is an error"]).run(|| {
        let bundle = Bundle::doing(&["pid"]);
        bundle.create();
        bundle.start();
        bundle.wait_for("stopped");
        bundle.exec(&[], &["pid"]).refused();
    });
}

#[test]
fn a_paused_container_takes_no_process() {
    covers(&["exec: a paused container is an error"]).run(|| {
        let bundle = running();
        bundle.call("pause", &[], &[]).succeeded();
        bundle.exec(&[], &["pid"]).refused_naming(&["paused"]);
        bundle.call("resume", &[], &[]).succeeded();
        bundle.exec(&[], &["pid"]).succeeded();
    });
}

#[test]
fn a_paused_container_takes_a_process_on_request() {
    covers(&["exec --ignore-paused"])
        .known("crun", "1.8 has no such option")
        .run(|| {
            let bundle = running();
            bundle.call("pause", &[], &[]).succeeded();
            let mut exec = bundle.command(
                "exec",
                &["--ignore-paused"],
                &["/probe", "script", "--", "pid"],
            );
            let started = command::start(&mut exec, &bundle.directory);
            bundle.call("resume", &[], &[]).succeeded();
            started.wait().succeeded();
        });
}

#[test]
fn the_filter_of_the_container() {
    covers(&["exec: the seccomp profile"]).run(|| {
        let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" });
        let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        let bundle = Bundle::waiting().set("linux.seccomp", seccomp);
        bundle.launch();
        let ended = bundle.exec(&[], &["mkdir /own/a", "see"]);
        assert_eq!(ended.outcomes()[0].errno(), Some(libc::EPERM));
        assert_eq!(crate::support::Seen::of(&ended).status("Seccomp"), "2");
    });
}
