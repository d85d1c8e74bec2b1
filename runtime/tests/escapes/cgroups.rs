//! The host's cgroups, from inside and by name.

use serde_json::{Value, json};

use crate::common::Scene;

/// Looks for groups that are not the container's own, and for what only the root of a hierarchy
/// has; processes of other pid namespaces have the number 0 here.
const LOOK: &str = r#"
find /sys/fs/cgroup -name release_agent
cat $(find /sys/fs/cgroup -name cgroup.procs) | grep -x 0
for dir in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e $dir/cgroup.procs ] || continue
    for up in $dir/.. $dir/../.. $dir/../../..; do
        mkdir $up/escaped 2> /dev/null
        [ -e $up/escaped/cgroup.procs ] && echo "made $up/escaped"
    done
    # The own group, and what lies below it, is the container's where it is not read-only.
    mkdir $dir/below 2> /dev/null && { echo made; rmdir $dir/below; }
done | sort -u
"#;

/// Without a cgroup namespace a mount shows the whole hierarchy of the host.
#[test]
fn without_a_cgroup_namespace_only_the_own_group_is_there() {
    for (options, made) in [(json!(["ro"]), ""), (json!([]), "made\n")] {
        for namespace in [false, true] {
            let mut scene = Scene::with_cgroups();
            if namespace {
                scene.namespace(json!({ "type": "cgroup" }));
            }
            scene.without_mount("/sys/fs/cgroup");
            scene.mount(json!({ "destination": "/sys/fs/cgroup", "type": "cgroup",
                                "source": "cgroup", "options": options }));
            scene.shell(LOOK);
            let found = scene.said("$R run -b $B $ID < /dev/null");
            assert_eq!(found, made, "{options}, own namespace: {namespace}");
        }
    }
}

#[test]
fn no_path_of_a_group_leads_out() {
    for path in [
        "/../x",
        "..",
        "a/../../x",
        "/",
        "x:..:y",
        "../x:a:b",
        "a\u{0}b",
    ] {
        let mut scene = Scene::with_cgroups();
        scene.config["linux"]["cgroupsPath"] = json!(path);
        scene.shell("echo it runs");
        let error = scene.refused();
        assert!(error.contains("linux.cgroupsPath"), "{path:?}: {error}");
    }
}

#[test]
fn no_group_of_an_exec_leads_out() {
    let mut scene = Scene::with_cgroups();
    let on_host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !on_host.contains(" - cgroup2 ") {
        println!("skipped: needs the version 2 tree");
        return;
    }
    scene.shell("sleep 100");
    let mut script = "$R run -d -b $B $ID < /dev/null || exit\n".to_owned();
    let bad = ["..", "../..", "/..", "x/../..", "/../escapes"];
    for group in bad {
        script += &format!("$R exec --cgroup {group} $ID echo it runs < /dev/null; echo $?\n");
    }
    script += "$R exec --cgroup / $ID echo inside < /dev/null; $R delete --force $ID";
    let output = scene.script(&script);
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(found, "255\n".repeat(bad.len()) + "inside\n", "{output:?}");
}

/// A bind mount that is given options of a file system changes that of the host.
#[test]
fn no_option_of_a_bind_reaches_the_super_block_of_the_host() {
    let cases: [(Value, &str); 4] = [
        (json!(["bind", "size=1m"]), "mounts[12].options"),
        (json!(["rbind", "ro", "data=journal"]), "mounts[12].options"),
        (json!(["bind", "sync"]), "mounts[12].options"),
        (json!(["remount", "bind", "size=1m"]), "mounts[12].options"),
    ];
    for (options, key) in cases {
        let mut scene = Scene::new();
        scene.shell("echo it runs");
        while scene.config["mounts"].as_array().unwrap().len() < 12 {
            let number = scene.config["mounts"].as_array().unwrap().len();
            let destination = format!("/filler{number}");
            scene.mount(json!({ "destination": destination, "type": "tmpfs", "source": "x" }));
        }
        let tmp = json!({ "destination": "/usr", "source": "/tmp", "options": options });
        scene.mount(tmp);
        let error = scene.refused();
        assert!(error.contains(key), "{options}: {error}");
    }
}
