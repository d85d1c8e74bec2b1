//! The programs themselves: loaded by the first container that needs them, gone with the last,
//! whatever happened.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reeve_tests::bundle::Config;
use reeve_tests::fixture::in_container;
use reeve_tests::{Fixture, host, tools};

use crate::killed::{self, Start};
use crate::support::{alone, free, nothing_left, run, shell, waiting};

/// These tests are about the first and the last container.
fn needs_an_untouched_machine() {
    let pins = host::pins();
    assert!(
        pins.is_empty(),
        "a container with a policy runs, or one has left its pins: {pins:#?}"
    );
}

/// Without a policy nothing is loaded in the first place.
#[test]
fn no_policy_no_pins() {
    needs_an_untouched_machine();
    let container = free(shell("ls /sys/fs/bpf"));
    assert!(run(&container).status.success());
    nothing_left(&container, "success");
    needs_an_untouched_machine();
}

#[test]
fn failure_leaves_no_pins() {
    needs_an_untouched_machine();
    let args = vec!["/no/such/program".to_owned()];
    let container = alone(Config {
        args,
        ..shell("true")
    });
    assert!(!run(&container).status.success());
    nothing_left(&container, "failure");
    needs_an_untouched_machine();
}

/// The programs stay while any container needs them, and go with the last.
#[test]
fn the_last_one_unloads() {
    needs_an_untouched_machine();
    let (one, two) = (waiting("first"), waiting("second"));
    assert!(
        !host::pins().is_empty(),
        "nothing is pinned while two containers run"
    );
    one.finish().expect("finish");
    assert!(
        !host::pins().is_empty(),
        "nothing is pinned while a container runs"
    );
    two.finish().expect("finish");
    needs_an_untouched_machine();
}

/// Killed while the programs are being loaded: the next start is not led astray by half a set.
#[test]
fn killed_while_loading() {
    const KILLS: u32 = 2;
    needs_an_untouched_machine();
    let fixture = Fixture::new().expect("a directory");
    let canary = fixture.file("canary", "untouched\n").expect("a canary");
    let inside = in_container(&canary);
    let start = killed::time_of_a_start(&inside);
    for kill in 1..=KILLS {
        let delay = start.mul_f64(f64::from(kill) / f64::from(KILLS + 1));
        let moment = format!("kill {kill}, after {delay:?} of {start:?}");
        killed::one_kill(
            &inside,
            &Start {
                delay,
                host_pid: false,
                moment: &moment,
            },
        );
    }
    waiting("after-kills").finish().expect("finish");
    assert_eq!(
        fs::read_to_string(&canary).expect("read the canary"),
        "untouched\n"
    );
    let gone = host::wait_until("the programs' end", Duration::from_secs(10), || {
        host::pins().is_empty().then_some(())
    });
    gone.expect("the last container leaves no pins");
}

/// A container that was created under a policy does not start without it, also when root itself has
/// taken the programs away meanwhile.
#[test]
fn no_start_without_the_programs() {
    needs_an_untouched_machine();
    let fixture = Fixture::new().expect("a directory");
    let made = fixture.path().join("made");
    let mut config = shell(&format!("touch {}", in_container(&made)));
    config.host = true;
    let container = alone(config);
    let reeve = |words: &[&str]| {
        let mut command = tools::reeve().expect("reeve");
        command.args(words).stdin(Stdio::null());
        command.output().expect("run reeve")
    };
    let (bundle, policy) = (container.directory(), container.policy_path());
    let text = |path: &Path| path.to_str().expect("a path of text").to_owned();
    let (bundle, policy) = (text(bundle), text(policy.expect("a policy")));
    let id = container.id();
    let mut create = tools::reeve().expect("reeve");
    create.args(["create", "--bundle", &bundle, "--policy", &policy, id]);
    create.stdin(Stdio::null()).stdout(Stdio::null());
    assert!(create.status().expect("create").success());
    fs::remove_dir_all("/sys/fs/bpf/reeve").expect("take the programs away");
    let output = reeve(&["start", id]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!made.exists(), "it ran without its policy");
    assert!(reeve(&["delete", "--force", id]).status.success());
    nothing_left(&container, "no programs");
    needs_an_untouched_machine();
}

/// Programs that are loaded and do not run, or are not linked any more, are noticed by the next
/// start, although others run.
#[test]
fn switched_off_is_noticed() {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    needs_an_untouched_machine();
    let first = waiting("first");
    let refused = |why: &str| {
        let container = alone(shell("echo it runs"));
        let finished = run(&container);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(!finished.stdout.contains("it runs"), "{finished:?}");
        assert!(finished.stderr.contains(why), "{finished:?}");
        nothing_left(&container, why);
    };
    // From 7.0 on the kernel itself does not let it happen.
    if fs::write(SWITCH, "0").is_ok() {
        refused("a refusal was tried and did not happen");
        fs::write(SWITCH, "1").expect("switch tracing on");
    }
    assert!(run(&alone(shell("true"))).status.success());
    let mut pins = host::pins().into_iter();
    let link = pins.find(|pin| pin.ends_with("links/settime"));
    fs::remove_file(link.expect("the link")).expect("take a link away");
    refused("links/settime");
    first.finish().expect("finish");
    needs_an_untouched_machine();
}
