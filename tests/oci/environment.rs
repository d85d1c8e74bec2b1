//! What a process finds: descriptors, signals, devices, session.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bundle, Seen, command, covers};

#[test]
fn only_the_standard_streams() {
    covers(&["descriptors: only the standard streams"]).run(|| {
        let bundle = Bundle::doing(&["see"]);
        bundle.write();
        // The caller leaks descriptors 5 and 9 into the runtime.
        let run = bundle.command("run", &[], &[]);
        let mut shell = Command::new("sh");
        let script = "exec 5</ 9</etc/passwd; exec \"$@\"";
        shell
            .args(["-c", script, "run"])
            .arg(run.get_program())
            .args(run.get_args());
        shell
            .current_dir(&bundle.directory)
            .stdin(std::process::Stdio::null());
        let seen = Seen::of(&command::run(&mut shell, &bundle.directory).succeeded());
        let numbers: Vec<u32> = seen.descriptors().into_keys().collect();
        assert_eq!(numbers, [0, 1, 2], "{:?}", seen.descriptors());
    });
}

#[test]
fn sockets_that_are_handed_on() {
    covers(&["descriptors: LISTEN_FDS"])
        .known("crun", "1.8 hands the descriptors on without the variable")
        .run(|| {
            let bundle = Bundle::doing(&["see"]);
            bundle.write();
            let run = bundle.command("run", &[], &[]);
            let mut shell = Command::new("sh");
            let script =
                "exec 3</etc/passwd 4</etc/group 5</; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
            shell
                .args(["-c", script, "run"])
                .arg(run.get_program())
                .args(run.get_args());
            shell
                .current_dir(&bundle.directory)
                .stdin(std::process::Stdio::null());
            let seen = Seen::of(&command::run(&mut shell, &bundle.directory).succeeded());
            let numbers: Vec<u32> = seen.descriptors().into_keys().collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4], "{:?}", seen.descriptors());
            assert!(seen.env().contains(&"LISTEN_FDS=2"), "{:?}", seen.env());
        });
}

#[test]
fn no_signal_is_blocked_or_ignored() {
    covers(&["signals: none is blocked or ignored"]).run(|| {
        let seen = Bundle::new().see();
        assert_eq!(seen.status("SigBlk"), "0000000000000000");
        // The probe's own runtime ignores SIGPIPE; what the caller ignores is inherited.
        let set = |text: &str| u64::from_str_radix(text.trim(), 16).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let others = set(seen.status("SigIgn")) & !set(own.unwrap());
        assert_eq!(others & !(1 << (libc::SIGPIPE - 1)), 0);
    });
}

#[test]
fn the_leader_of_its_session() {
    covers(&["process: leader of its session"]).run(|| {
        let seen = Bundle::new().see();
        // Parent, group, session (proc(5)).
        assert_eq!((seen.stat(4), seen.stat(5), seen.stat(6)), (0, 1, 1));
    });
}

fn look(outcome: &reeve_tests::Outcome) -> Value {
    serde_json::from_str(outcome.detail()).unwrap_or_else(|_| panic!("{outcome}"))
}

#[test]
fn links_to_the_descriptors() {
    covers(&["dev: fd, stdin, stdout and stderr are links"]).run(|| {
        let links = [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ];
        let actions = links.map(|(path, _)| format!("look {path}"));
        let outcomes = Bundle::new().attempt(&actions.each_ref().map(String::as_str));
        for ((path, target), outcome) in links.iter().zip(&outcomes) {
            assert_eq!(look(outcome)["target"], *target, "{path}");
        }
    });
}

#[test]
fn the_usual_devices() {
    covers(&["dev: null, zero, full, random, urandom and tty"]).run(|| {
        let devices = [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
        ];
        let actions = devices.map(|(name, ..)| format!("look /dev/{name}"));
        let mut actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        actions.extend([
            "open rw /dev/null",
            "open r /dev/urandom",
            "open rw /dev/zero",
        ]);
        let outcomes = Bundle::new().attempt(&actions);
        for ((name, major, minor), outcome) in devices.iter().zip(&outcomes) {
            let found = look(outcome);
            assert_eq!(found["kind"], "char", "{name}");
            assert_eq!(
                (&found["major"], &found["minor"]),
                (&json!(major), &json!(minor))
            );
            assert_eq!(found["mode"], json!(0o666), "{name}");
        }
        assert!(
            outcomes[devices.len()..]
                .iter()
                .all(reeve_tests::Outcome::is_done)
        );
    });
}

#[test]
fn new_terminals_are_the_containers() {
    covers(&["dev: ptmx"]).run(|| {
        let outcomes = Bundle::new().attempt(&["look /dev/ptmx", "open rw /dev/ptmx"]);
        let target = look(&outcomes[0])["target"].clone();
        assert!(
            target == "pts/ptmx" || target == "/dev/pts/ptmx",
            "{target}"
        );
        assert!(outcomes[1].is_done(), "{}", outcomes[1]);
    });
}
