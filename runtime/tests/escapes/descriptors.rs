//! Descriptors of the host that reach a container, and working directories through them
//! (CVE-2016-9962, CVE-2024-21626).

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::common::Scene;

/// Numbers that a descriptor of the host could have.
const NUMBERS: std::ops::Range<u32> = 3..20;

/// Descriptors of the caller that no `execve` closes: a directory, a file and the root.
const LEAKED: &str = "exec 7< $DIR 8< $MARK 9< /\n";

/// Prints the descriptors of a shell, one a line.
const OPEN: &str = "ls /proc/$$/fd; true";

#[test]
fn no_descriptor_of_the_host_is_inherited() {
    let mut scene = Scene::new();
    scene.shell(&format!("{OPEN}; touch /ran; [ -e /stay ] && sleep 100"));
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("exec > /hook; {OPEN}")] });
    scene.config["hooks"] = json!({ "startContainer": [hook] });
    let found = scene.said(&format!(
        "{LEAKED} $R run -b $B $ID < /dev/null; cat $B/rootfs/hook
         touch $B/rootfs/stay; rm $B/rootfs/ran
         $R create -b $B $ID < /dev/null && $R start $ID; cat $B/rootfs/hook
         while [ ! -e $B/rootfs/ran ]; do sleep 0.1; done
         $R exec $ID sh -c '{OPEN}' < /dev/null"
    ));
    // Of the entry process and its hook, of both once more, and of the process of exec.
    assert_eq!(found, "0\n1\n2\n".repeat(5), "{found}");
}

#[test]
fn what_is_preserved_is_what_was_asked_for() {
    let mut scene = Scene::new();
    scene.shell(&format!("{OPEN}; cat <&3"));
    let found = scene.said(&format!(
        "{LEAKED} exec 3< $MARK; $R run --preserve-fds 1 -b $B $ID < /dev/null
         $R run --preserve-fds 2 -b $B $ID < /dev/null 2>&1 | head -n 1"
    ));
    let refused = "error: descriptor 4 is to be preserved, and is not open";
    assert_eq!(found, format!("0\n1\n2\n3\nof the host\n{refused}\n"));
}

#[test]
fn no_descriptor_is_a_working_directory() {
    let mut scene = Scene::new();
    scene.shell("echo it runs in $(pwd -P); cat $MARK ../../../../..$MARK");
    for place in NUMBERS
        .map(|number| format!("fd/{number}"))
        .chain(["cwd".into(), "root".into()])
    {
        let path = format!("/proc/self/{place}");
        let link = scene.rootfs("link");
        let _ = std::fs::remove_file(&link);
        symlink(&path, &link).unwrap();
        for cwd in [path.as_str(), "/link"] {
            scene.config["process"]["cwd"] = json!(cwd);
            let output = scene.script(&format!("{LEAKED} exec $R run -b $B $ID < /dev/null"));
            assert_eq!(output.status.code(), Some(1), "{path} as {cwd}");
            assert!(output.stdout.is_empty(), "{path} as {cwd}: {output:?}");
        }
    }
}

#[test]
fn no_descriptor_is_the_working_directory_of_an_exec() {
    let mut scene = Scene::new();
    scene.shell("sleep 100");
    for number in NUMBERS {
        let target = format!("/proc/self/fd/{number}");
        symlink(target, scene.rootfs(&format!("link{number}"))).unwrap();
    }
    symlink("/proc/self/root", scene.rootfs("link-root")).unwrap();
    let output = scene.script(&format!(
        "{LEAKED} $R run -d -b $B $ID < /dev/null || exit
         for n in $(seq {} {}); do
             for cwd in /proc/self/fd/$n /link$n /proc/1/fd/$n /proc/1/cwd /link-root; do
                 $R exec --cwd $cwd $ID sh -c 'echo it runs in; pwd -P; cat $MARK' < /dev/null
                 echo $?
             done
         done",
        NUMBERS.start,
        NUMBERS.end - 1,
    ));
    let found = String::from_utf8(output.stdout).unwrap();
    assert_eq!(found, "255\n".repeat(5 * NUMBERS.count()), "{found}");
}
