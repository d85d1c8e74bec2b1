//! Users and capabilities that a process must not come by.

use serde_json::{Value, json};

use crate::common::Scene;

/// Prints the capability sets of a shell: inheritable, permitted, effective, bounding, ambient.
const SETS: &str = "echo $(grep ^Cap /proc/self/status | cut -f 2)";

/// `CAP_KILL` and `CAP_CHOWN`, as `/proc/PID/status` prints them.
const KILL: &str = "0000000000000020";
const CHOWN: &str = "0000000000000001";
const BOTH: &str = "0000000000000021";
const NONE: &str = "0000000000000000";

#[test]
fn nothing_becomes_inheritable_that_was_not_configured() {
    for (inheritable, inherited) in [(json!([]), NONE), (json!(["CAP_CHOWN"]), CHOWN)] {
        let mut scene = Scene::new();
        scene.capabilities(&["CAP_KILL", "CAP_CHOWN"]);
        scene.config["process"]["capabilities"]["permitted"] = json!(["CAP_KILL", "CAP_CHOWN"]);
        scene.config["process"]["capabilities"]["inheritable"] = inheritable;
        scene.shell(&format!("{SETS}; [ ! -e /stay ] || sleep 100"));
        let found = scene.said(&format!(
            "$R run -b $B $ID < /dev/null; touch $B/rootfs/stay
             $R run -d -b $B $ID < /dev/null
             $R exec $ID sh -c '{SETS}' < /dev/null
             $R exec --cap CAP_NET_RAW $ID sh -c '{SETS}' < /dev/null
             $R exec --user 1000 $ID sh -c '{SETS}' < /dev/null"
        ));
        let mut lines = found.lines();
        let plain = format!("{inherited} {BOTH} {BOTH} {BOTH} {NONE}");
        for _ in 0..3 {
            assert_eq!(lines.next(), Some(plain.as_str()), "{found}");
        }
        let added = "0000000000002021";
        let added = format!("{inherited} {added} {added} {added} {NONE}");
        assert_eq!(lines.next(), Some(added.as_str()), "{found}");
        // Who is not root has what is ambient, and that is nothing.
        let user = format!("{inherited} {NONE} {NONE} {BOTH} {NONE}");
        assert_eq!(lines.next(), Some(user.as_str()), "{found}");
    }
}

#[test]
fn an_added_capability_of_a_user_is_ambient_and_not_inherited_further() {
    let mut scene = Scene::new();
    scene.capabilities(&[]);
    scene.shell("sleep 100");
    let found = scene.said(&format!(
        "$R run -d -b $B $ID < /dev/null
         $R exec --user 1000 --cap CAP_KILL $ID sh -c '{SETS}' < /dev/null"
    ));
    let sets: Vec<&str> = found.split_whitespace().collect();
    assert_eq!(sets[0], NONE, "inheritable: {found}");
    assert_eq!(sets[3], KILL, "bounding: {found}");
}

#[test]
fn a_user_that_cannot_be_read_runs_nothing() {
    let mut scene = Scene::new();
    scene.shell("sleep 100");
    let bad = [
        "root",
        "",
        ":",
        "0:",
        ":0",
        "+1",
        "-1",
        "0x3e8",
        "1 ",
        " 1",
        "1:2:3",
        "1,2",
        "1e3",
        "4294967295",
        "4294967296",
        "1:4294967295",
        "99999999999999999999",
        "1:root",
    ];
    let mut script = "$R run -d -b $B $ID < /dev/null || exit\n".to_owned();
    for user in bad {
        script += &format!("$R exec --user='{user}' $ID id < /dev/null; echo $?\n");
    }
    for group in ["root", "-1", "4294967295"] {
        script += &format!("$R exec -g {group} $ID id < /dev/null; echo $?\n");
    }
    script += "$R exec --user=1000:7 $ID sh -c 'id -u; id -g; id -G' < /dev/null";
    let output = scene.script(&script);
    let found = String::from_utf8(output.stdout).unwrap();
    let refused = "1\n".repeat(bad.len() + 3);
    assert_eq!(found, format!("{refused}1000\n7\n7\n"), "{found}");
}

#[test]
fn a_host_device_or_parameter_is_not_the_containers() {
    let cases: [(&str, &str, Value); 3] = [
        (
            "/linux/sysctl",
            "linux.sysctl[kernel.core_pattern]",
            json!({ "kernel.core_pattern": "x" }),
        ),
        (
            "/linux/sysctl",
            "linux.sysctl",
            json!({ "../kernel/core_pattern": "x" }),
        ),
        (
            "/linux/sysctl",
            "linux.sysctl",
            json!({ "net.ipv4..core": "x" }),
        ),
    ];
    for (pointer, key, value) in cases {
        let mut scene = Scene::new();
        scene.config["linux"][pointer.trim_start_matches("/linux/")] = value;
        scene.shell("echo it runs");
        let error = scene.refused();
        assert!(error.contains(key), "{key}: {error}");
    }
}
