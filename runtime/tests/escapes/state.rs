//! Names, numbers and files of containers that lead to something else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::common::Scene;

#[test]
fn no_name_of_a_container_leads_out_of_the_state() {
    let mut scene = Scene::new();
    scene.shell("echo it runs");
    fs::create_dir_all(scene.path("state")).unwrap();
    let victim = scene.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("state.json"), "{}").unwrap();
    let names = [
        "../victim",
        "..",
        ".",
        "./a",
        "a/../../victim",
        "/",
        "a/",
        ".victim",
        "a b",
    ];
    let mut script = String::new();
    for name in names {
        for command in [
            "run -b $B NAME",
            "create -b $B NAME",
            "state NAME",
            "start NAME",
            "delete -f NAME",
            "kill NAME KILL",
            "exec NAME true",
            "ps NAME",
            "pause NAME",
            "update --pids-limit 9 NAME",
        ] {
            let command = command.replace("NAME", &format!("'{name}'"));
            script += &format!("$R {command} < /dev/null; echo $?\n");
        }
    }
    let output = scene.script(&script);
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(found, "1\n".repeat(names.len() * 10), "{found}");
    assert!(victim.join("state.json").exists());
    assert_eq!(fs::read_dir(scene.path("state")).unwrap().count(), 0);
}

#[test]
fn what_is_remembered_is_roots_alone() {
    let mut scene = Scene::new();
    scene.shell("true");
    let found = scene.said(
        "umask 000; $R create -b $B $ID < /dev/null
         stat -c %a:%u $DIR/state $DIR/state/$ID; ls $DIR/state/$ID | sort",
    );
    let mut lines = found.lines();
    assert_eq!(lines.next(), Some("700:0"), "{found}");
    assert_eq!(lines.next(), Some("700:0"), "{found}");
    // Whoever cannot enter the directory connects to nothing in it: not to start, above all.
    assert!(lines.next().is_some(), "{found}");
    let mode = fs::metadata(scene.path("state"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let output = scene.script(
        "umask 000; $R create -b $B other < /dev/null
         setpriv --reuid 65534 --regid 65534 --clear-groups $R start other && echo started
         $R state other | grep -o '\"status\": \"[a-z]*\"'",
    );
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(found, "\"status\": \"created\"\n", "{output:?}");
}

/// The number of a container's process is given to another one, which no command may reach.
#[test]
fn a_number_that_was_given_away_is_nobodys() {
    let scene = Scene::new();
    let dir = scene.path("state").join(scene.name());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), scene.config.to_string()).unwrap();
    let state = json!({
        "version": 2, "id": scene.name(), "process": { "pid": 4242, "start_ticks": 12345 },
        "creator": { "pid": 4242, "start_ticks": 12345 }, "bundle": scene.path("bundle"),
        "created_ms": 0, "cgroups": { "v2": null, "v1": [], "roots": [] }, "policy": null,
    });
    fs::write(dir.join("recycled"), state.to_string()).unwrap();
    let output = scene.script(
        "sleep 100 & S=$DIR/state/$ID
         recycle() { sed s/4242/$!/g $S/recycled > $S/state.json; }
         recycle; $R state $ID | grep -o 'stopped'
         $R kill $ID KILL; echo $?; $R kill --all $ID KILL; echo $?
         $R exec $ID true; echo $?; $R start $ID; echo $?; $R pause $ID; echo $?
         $R delete --force $ID; echo $?; kill -0 $! && echo alive",
    );
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(found, "stopped\n1\n0\n255\n1\n1\n0\nalive\n", "{output:?}");
}
