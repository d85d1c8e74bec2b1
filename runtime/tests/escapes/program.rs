//! The program of the runtime, within reach of a container (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::common::Scene;

/// Finds a way to write the program of process `$1`. One line for each way that failed as it should
/// and any other line for what is amiss.
const ATTACK: &str = r#"#!/bin/sh
exe=/proc/$1/exe
fails() { grep -q -e 'Read-only file system' -e 'Text file busy' && echo safe || echo "$1"; }
(printf x >> $exe) 2>&1 | fails "appended to"
(printf x 1<> $exe) 2>&1 | fails "written at its beginning"
(printf x > $exe) 2>&1 | fails "written anew"
exec 9< $exe || echo "not readable"
(printf x >> /proc/self/fd/9) 2>&1 | fails "written through a descriptor"
touch -c $exe 2>&1 | fails "its times were set"
chmod 777 $exe 2>&1 | fails "its mode was set"
mount -i -n -c -o remount,bind,rw none $exe 2> /dev/null && echo "mounted anew"
mount -i -n -c -o bind $exe /tmp/own 2> /dev/null && echo "bound"
[ $1 = 1 ] || { kill -9 $1; while [ -e $exe ]; do sleep 0.05; done; }
(printf x > /proc/self/fd/9) 2>&1 | fails "written when nobody runs it"
"#;

/// What [`ATTACK`] says of a program that is safe.
fn safe() -> String {
    "safe\n".repeat(7)
}

/// A container that is root with whatever could help.
fn scene() -> Scene {
    let mut scene = Scene::new();
    let all = [
        "CAP_SYS_ADMIN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SYS_PTRACE",
    ];
    scene.capabilities(&all);
    fs::create_dir(scene.rootfs("tmp")).unwrap();
    fs::write(scene.rootfs("tmp/own"), "").unwrap();
    for (name, text) in [("attack", ATTACK), ("evil", "#!/proc/self/exe --log\n")] {
        fs::write(scene.rootfs(name), text).unwrap();
        fs::set_permissions(scene.rootfs(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    scene
}

/// Makes two pipes for whose reader a `reeve` in the container waits, so that it stays.
const PIPES: &str = "mkfifo $B/rootfs/one $B/rootfs/two\n";

#[test]
fn the_program_cannot_be_written_through_the_entry_process() {
    for entry in [
        &["/proc/self/exe", "audit", "--append", "/one"][..],
        &["/evil", "audit", "--append", "/one"],
    ] {
        let mut scene = scene();
        scene.config["process"]["args"] = json!(entry);
        let found = scene.said(&format!(
            "{PIPES} $R run -d -b $B $ID < /dev/null && $R exec $ID /attack 1"
        ));
        assert_eq!(found, safe(), "{entry:?}");
    }
}

#[test]
fn the_program_cannot_be_written_through_an_exec() {
    for program in ["/proc/self/exe", "/evil"] {
        let mut scene = scene();
        scene.shell("sleep 100");
        let found = scene.said(&format!(
            "{PIPES} $R run -d -b $B $ID < /dev/null
             $R exec -d $ID {program} audit --append /two < /dev/null
             $R exec $ID sh -c '
                 for dir in /proc/[0-9]*; do
                     grep -q audit $dir/cmdline 2> /dev/null && grep -vq sh.-c $dir/cmdline &&
                     exec /attack ${{dir#/proc/}}
                 done; echo not found'"
        ));
        assert_eq!(found, safe(), "{program}");
    }
}

#[test]
fn the_program_cannot_be_written_through_a_container_that_waits_to_be_started() {
    let mut waiting = scene();
    let mut beside = scene();
    waiting.shell("true");
    waiting.save();
    // As containers of one pod that share a pid namespace; the script says which.
    beside.namespace(json!({ "type": "pid", "path": "/proc/PID/ns/pid" }));
    beside.config["process"]["args"] = json!(["/attack", "1"]);
    let found = beside.said(&format!(
        "$R create -b {} --pid-file $DIR/pid waiting < /dev/null
         sed -i s,/proc/PID/,/proc/$(cat $DIR/pid)/,g $B/config.json
         $R run -b $B $ID < /dev/null",
        waiting.path("bundle").display()
    ));
    assert_eq!(found, safe());
}
