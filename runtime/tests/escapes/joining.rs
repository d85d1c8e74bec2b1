//! Processes of the runtime among those of a container, which look into them (CVE-2016-9962).
//!
//! Whoever may read a process's links in `/proc` may read its memory and take its descriptors with
//! `pidfd_getfd`: both are the same permission, and tracing asks for more.

use std::os::unix::fs::chown;

use serde_json::json;

use crate::common::Scene;

/// Looks without pause through every other process of the namespace for a way to the host, in a
/// shell that executes nothing. Ends when `/stop` appears, and says how often it has looked.
const LOOK: &str = r#"
n=0
: > /ready
while [ ! -e /stop ]; do
    n=$((n + 1))
    for p in /proc/[2-9] /proc/[0-9][0-9]*; do
        [ -e $p/root$MARK ] && echo "$p/root is the host"
        [ -e $p/cwd$MARK ] && echo "$p/cwd is the host"
        for f in 3 4 5 6 7 8 9 10 11 12; do
            [ -e $p/fd/$f$MARK ] && echo "$p/fd/$f is the host"
        done
    done
done
echo looked $n
"#;

/// Waits until the container has something in a file.
const READY: &str = "until [ -e $B/rootfs/ready ]; do sleep 0.02; done\n";

/// Ends the container and prints what it found.
const END: &str = "touch $B/rootfs/stop; wait $container; cat $DIR/found\n";

fn check(found: &str) {
    let rounds = found
        .strip_prefix("looked ")
        .map(|rounds| rounds.trim().parse::<u32>());
    assert!(matches!(rounds, Some(Ok(10..))), "{found}");
}

#[test]
fn a_process_of_exec_cannot_be_looked_into() {
    for user in [false, true] {
        let mut scene = Scene::new();
        scene.shell(LOOK);
        if user {
            scene.user_namespace();
            // All of them, over what is its own.
            scene.capabilities(&["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
        }
        let found = scene.said(&format!(
            "exec 7< /; $R run -b $B $ID < /dev/null > $DIR/found & container=$!
             {READY} for n in $(seq 40); do $R exec $ID true < /dev/null; done; {END}"
        ));
        check(&found);
    }
}

#[test]
fn the_first_process_of_a_container_beside_cannot_be_looked_into() {
    let mut scene = Scene::new();
    let mut beside = Scene::new();
    scene.shell(LOOK);
    scene.user_namespace();
    scene.capabilities(&["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    // As containers of one pod that share a user and a pid namespace; the script says which.
    for kind in ["user", "pid"] {
        beside.namespace(json!({ "type": kind, "path": format!("/proc/PID/ns/{kind}") }));
    }
    beside.shell("true");
    chown(beside.rootfs(""), Some(100_000), Some(100_000)).unwrap();
    beside.save();
    let found = scene.said(&format!(
        "exec 7< /; $R run --pid-file $DIR/pid -b $B $ID < /dev/null > $DIR/found & container=$!
         {READY} sed -i s,/proc/PID/,/proc/$(cat $DIR/pid)/,g {other}/config.json
         for n in $(seq 40); do $R run -b {other} beside < /dev/null || exit; done; {END}",
        other = beside.path("bundle").display(),
    ));
    check(&found);
}
