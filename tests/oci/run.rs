//! `run`: exit statuses, signals, streams, options.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::support::leftovers::{nothing_since, of};
use crate::support::{Bundle, command, covers};

#[test]
fn the_status_is_that_of_the_program() {
    covers(&["run: exit status"]).run(|| {
        for status in [0, 1, 42, 127, 255] {
            let bundle = Bundle::doing(&[&format!("exit {status}")]);
            let before = of(&bundle);
            bundle.run().with_status(status);
            nothing_since(&bundle, &before);
        }
    });
}

#[test]
fn a_signal_is_told_as_shells_do() {
    covers(&["run: exit status"]).run(|| {
        for signal in [9, 15] {
            let bundle = Bundle::doing(&[&format!("raise {signal}")]).without_namespace("pid");
            bundle.run().with_status(128 + signal);
        }
    });
}

#[test]
fn signals_reach_the_program() {
    covers(&["run: signals are forwarded"]).run(|| {
        for signal in [1, 2, 10, 15] {
            let until = [
                format!("block {signal}"),
                format!("until {signal}"),
                "exit 7".into(),
            ];
            let bundle = Bundle::doing(&until.each_ref().map(String::as_str));
            let started = bundle.run_begun(&[]);
            started.lines(1);
            let own = rustix::process::Pid::from_child(&started.child);
            let signal = rustix::process::Signal::from_named_raw(signal).unwrap();
            rustix::process::kill_process(own, signal).unwrap();
            started.wait().with_status(7);
        }
    });
}

#[test]
fn the_streams_are_the_callers() {
    covers(&["run: standard streams"]).run(|| {
        let bundle = Bundle::doing(&["answer", "write-fd 2 complaint"]);
        bundle.write();
        let mut run = bundle.command("run", &["--bundle", &bundle.at("")], &[]);
        let mut started = command::start(run.stdin(Stdio::piped()), &bundle.directory);
        let mut input = started.child.stdin.take().unwrap();
        input.write_all(b"some words\n").unwrap();
        drop(input);
        let ended = started.wait().succeeded();
        assert!(
            ended.stdout.starts_with("answer ok some words\n"),
            "{}",
            ended.story()
        );
        assert!(ended.stderr.contains("complaint"), "{}", ended.story());
    });
}

#[test]
fn detached() {
    covers(&["run --detach"]).run(|| {
        let bundle = Bundle::waiting();
        let ended = bundle.run_with(&["--detach"]).succeeded();
        command::lines(&ended.output, 1);
        assert_eq!(bundle.status(), "running");
        bundle.call("kill", &[], &["TERM"]).succeeded();
        bundle.wait_for("stopped");
        bundle.call("delete", &[], &[]).succeeded();
    });
}

#[test]
fn kept() {
    covers(&["run --keep"])
        .known("crun", "1.8 has no such option")
        .run(|| {
            let bundle = Bundle::doing(&["exit 3"]);
            bundle.run_with(&["--keep"]).with_status(3);
            assert_eq!(bundle.status(), "stopped");
            bundle.call("delete", &[], &[]).succeeded();
        });
}

#[test]
fn the_pid_in_a_file() {
    covers(&["run --pid-file", "create --pid-file"]).run(|| {
        let bundle = Bundle::waiting();
        let path = bundle.at("pid");
        bundle.create_with(&["--pid-file", &path]).succeeded();
        let pid = || std::fs::read_to_string(&path).expect("the file of the pid");
        assert_eq!(pid(), bundle.pid().to_string());
        bundle.call("delete", &["--force"], &[]).succeeded();
        bundle
            .run_with(&["--detach", "--pid-file", &path])
            .succeeded();
        assert_eq!(pid(), bundle.pid().to_string());
    });
}

#[test]
fn another_directory_than_the_bundle() {
    covers(&["create --bundle"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.write();
        let mut create = bundle.command("create", &["-b", &bundle.at("")], &[]);
        command::run(create.current_dir("/"), &bundle.directory).succeeded();
        assert_eq!(bundle.status(), "created");
    });
}

#[test]
fn the_bundle_is_where_the_caller_is() {
    covers(&["create --bundle"]).run(|| {
        let bundle = Bundle::waiting();
        bundle.write();
        bundle.call("create", &[], &[]).succeeded();
        assert_eq!(bundle.status(), "created");
    });
}

#[test]
fn without_pivot_root() {
    covers(&["create --no-pivot"]).run(|| {
        let bundle = Bundle::doing(&["see", "look /probe", "look /config.json"]);
        let ended = bundle.run_with(&["--no-pivot"]).succeeded();
        let outcomes = ended.outcomes();
        assert!(outcomes[1].is_done());
        assert_eq!(outcomes[2].errno(), Some(libc::ENOENT));
    });
}

#[test]
fn a_session_keyring_of_its_own() {
    covers(&["session keyring: a new one", "create --no-new-keyring"]).run(|| {
        let keyring = |flags: &[&str]| {
            let bundle = Bundle::doing(&["see"]);
            let ended = bundle.run_with(flags).succeeded();
            crate::support::Seen::of(&ended).0["session_keyring"].as_i64()
        };
        let own = keyring(&["--no-new-keyring"]);
        assert_eq!(own, keyring(&["--no-new-keyring"]));
        let new = keyring(&[]);
        assert!(new.is_some());
        assert_ne!(own, new);
    });
}

#[test]
fn many_short_ones_at_once_all_end() {
    covers(&["run: exit status"]).run(|| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let bundle = Bundle::new().set("process.args", json!(["/probe", "pid"]));
                        assert_eq!(bundle.run().succeeded().stdout, "pid ok 1\n");
                    }
                });
            }
        });
    });
}
