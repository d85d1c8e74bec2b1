//! What a container, its image or its neighbour tries against the runtime.
//!
//! Needs root. Each test runs `reeve` in mount, network and
//! cgroup namespaces of its own, with the version 2 tree alone for cgroups or none, and deletes
//! what it made.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[path = "common/bundle.rs"]
mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// What the helper scripts begin with: no cgroups.
const WITHOUT_CGROUPS: &str = "set -e; umount -l /sys/fs/cgroup 2>/dev/null || true\n";

/// The version 2 tree, from the caller's group down.
const WITH_CGROUPS: &str = "set -e; umount -l /sys/fs/cgroup 2>/dev/null || true
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/reeve || { echo 'skipped: no cgroup can be made'; exit 99; }\n";

/// Deletes the container `$ID` in the end, whatever happens. `await` waits until it has the status
/// `$1`.
const COMMON: &str = "trap '$REEVE delete --force $ID > /dev/null 2>&1' EXIT
    await() { for i in $(seq 100); do
    case $($REEVE state $ID) in *\\\"$1\\\"*) return 0;; esac; sleep 0.1; done; exit 98; }\n";

/// A bundle whose root has the programs of the host.
struct Bundle {
    dir: tempfile::TempDir,
    config: Value,
}

impl Bundle {
    fn new() -> Self {
        let (dir, config) = common::bundle();
        fs::write(dir.path().join("secret"), "of the host").unwrap();
        let mut bundle = Self { dir, config };
        bundle.capabilities(&["CAP_CHOWN", "CAP_KILL"]);
        bundle
    }

    /// A path beside the bundle.
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn capabilities(&mut self, names: &[&str]) {
        self.config["process"]["capabilities"] =
            json!({ "bounding": names, "permitted": names, "effective": names });
    }

    fn namespaces(&mut self) -> &mut Vec<Value> {
        let namespaces = &mut self.config["linux"]["namespaces"];
        namespaces.as_array_mut().unwrap()
    }

    fn args(&mut self, args: &[&str]) {
        self.config["process"]["args"] = json!(args);
    }

    fn write(&self, name: &str) {
        fs::write(self.path(name), self.config.to_string()).unwrap();
    }

    /// Runs a script around `$REEVE`, which knows the bundle as `$BUNDLE`. `None` if it skips.
    fn script(&self, prologue: &str, script: &str) -> Option<Output> {
        self.write("bundle/config.json");
        let reeve = env!("CARGO_BIN_EXE_reeve");
        let reeve = format!("{reeve} --root {}", self.path("state").display());
        let id = format!("attack-{}-{}", std::process::id(), self.name());
        let output = Command::new("unshare")
            .args(["--mount", "--net", "--cgroup", "sh", "-c"])
            .arg(format!("{prologue}{COMMON}{script}"))
            .env("REEVE", reeve)
            .env("ID", id)
            .env("BUNDLE", self.path("bundle"))
            .output()
            .unwrap();
        if output.status.code() == Some(99) {
            println!("{}", String::from_utf8_lossy(&output.stdout));
            return None;
        }
        Some(output)
    }

    /// What a script prints that has to succeed.
    fn printed(&self, prologue: &str, script: &str) -> Option<String> {
        let output = self.script(prologue, script)?;
        let error = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {text}{error}", output.status);
        Some(text)
    }

    fn name(&self) -> String {
        let name = self.dir.path().file_name().unwrap();
        name.to_string_lossy().trim_start_matches('.').to_owned()
    }
}

/// Whether this process could give a capability away.
fn holds(capability: rustix::thread::CapabilitySet) -> bool {
    let held = rustix::thread::capabilities(None).unwrap().permitted;
    let holds = held.contains(capability);
    if !holds {
        println!("skipped: needs {capability:?}");
    }
    holds
}

/// CVE-2024-21626, the third of its ways: the name of the program leads through a descriptor of the
/// runtime, here by a link of the image.
#[test]
fn no_descriptor_of_the_runtime_leads_to_a_program_of_the_host() {
    for number in 3..16 {
        let mut bundle = Bundle::new();
        fs::copy("/bin/echo", bundle.path("echo")).unwrap();
        let out = format!("/proc/self/fd/{number}/{}", "../".repeat(20));
        let target = format!("{out}{}", bundle.path("echo").display());
        symlink(target, bundle.path("bundle/rootfs/app")).unwrap();
        bundle.args(&["/app", "escaped"]);
        let Some(output) = bundle.script(WITH_CGROUPS, "$REEVE run -b $BUNDLE $ID") else {
            return;
        };
        assert_eq!(output.status.code(), Some(1), "descriptor {number}");
        assert!(output.stdout.is_empty(), "descriptor {number}");

        let hook = json!([{ "path": "/app", "args": ["app", "escaped"] }]);
        bundle.config["hooks"] = json!({ "startContainer": hook });
        bundle.args(&["/bin/true"]);
        let output = bundle.script(WITH_CGROUPS, "$REEVE run -b $BUNDLE $ID");
        assert_eq!(output.unwrap().status.code(), Some(1), "hook, {number}");
    }
}

#[test]
fn a_hook_of_the_container_has_its_privileges() {
    let mut bundle = Bundle::new();
    bundle.config["process"]["user"] = json!({ "uid": 7, "gid": 8 });
    let tell = "id -u; id -g; grep -e CapEff -e CapBnd -e NoNewPrivs /proc/self/status";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("({tell}); exit 5")] });
    bundle.config["hooks"] = json!({ "startContainer": [hook] });
    bundle.args(&["/bin/sh", "-c", tell]);
    let output = bundle
        .script(WITHOUT_CGROUPS, "$REEVE run -b $BUNDLE $ID")
        .unwrap();
    let hooks = String::from_utf8(output.stderr).unwrap();
    bundle.config["hooks"] = json!({});
    let own = bundle
        .printed(WITHOUT_CGROUPS, "$REEVE run -b $BUNDLE $ID")
        .unwrap();
    let own = own.trim().escape_debug().to_string();
    assert!(hooks.contains(&own), "{hooks}\n{own}");
}

/// An image has its own idea of the program at a path of the host.
#[test]
fn a_create_container_hook_is_a_program_of_the_host() {
    let mut bundle = Bundle::new();
    let rootfs = bundle.path("bundle/rootfs");
    let program = bundle.path("hook");
    fs::write(
        &program,
        "#!/bin/sh\npwd > made; mkdir data; mount -t tmpfs none data; touch data/seen\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = json!({ "createContainer": [{ "path": program, "env": ["PATH=/usr/bin:/bin"] }] });
    bundle.config["hooks"] = hooks;
    bundle.args(&["/bin/sh", "-c", "cat /made; ls /data"]);
    let fake = rootfs.join(program.strip_prefix("/").unwrap());
    fs::create_dir_all(fake.parent().unwrap().join("bundle/rootfs")).unwrap();
    fs::write(&fake, "#!/bin/sh\necho of the image > /made\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let found = bundle
        .printed(WITHOUT_CGROUPS, "$REEVE run -b $BUNDLE $ID")
        .unwrap();
    assert_eq!(found, format!("{}\nseen\n", rootfs.display()));
}

#[test]
fn a_process_is_alive_whatever_it_calls_itself() {
    let mut bundle = Bundle::new();
    let rename = "printf '\\377) Z 1' > /proc/self/comm; echo ready; while :; do sleep 1; done";
    bundle.args(&["/bin/sh", "-c", rename]);
    let script =
        "$REEVE run -d -b $BUNDLE $ID > $BUNDLE/out 2>&1; until grep -q ready $BUNDLE/out; do
        sleep 0.1; done; await running; $REEVE exec $ID echo entered; $REEVE kill $ID KILL
        await stopped; $REEVE delete $ID";
    let found = bundle.printed(WITHOUT_CGROUPS, script).unwrap();
    assert_eq!(found, "entered\n");
}

#[test]
fn without_cgroups_nothing_is_left_running() {
    let mut bundle = Bundle::new();
    bundle.args(&["/bin/sleep", "600"]);
    let run = "$REEVE run -d -b $BUNDLE --pid-file $BUNDLE/pid $ID > /dev/null 2>&1
        pid=$(cat $BUNDLE/pid); await running\n";
    let gone = "grep -qs '^State:.[^Z]' /proc/$pid/status && echo left || true";
    let script = format!("{run}$REEVE delete --force $ID; {gone}");
    assert_eq!(bundle.printed(WITHOUT_CGROUPS, &script).unwrap(), "");
    let script = format!("{run}$REEVE kill --all $ID KILL; await stopped; $REEVE delete $ID");
    assert_eq!(bundle.printed(WITHOUT_CGROUPS, &script).unwrap(), "");
}

#[test]
fn exec_stays_below_the_containers_group() {
    let mut bundle = Bundle::new();
    bundle.args(&["/bin/sleep", "600"]);
    let script = "$REEVE run -d -b $BUNDLE $ID > /dev/null 2>&1; await running
        for dir in .. ../.. /../.. x/../../..; do
            $REEVE exec --cgroup $dir $ID echo escaped 2> /dev/null || true
        done; $REEVE delete --force $ID; rmdir /sys/fs/cgroup/reeve 2> /dev/null || true";
    if let Some(found) = bundle.printed(WITH_CGROUPS, script) {
        assert_eq!(found, "");
    }
}

/// Looks for a process whose root has a file of the host's, until `/stop` is there.
fn spy(bundle: &Bundle) -> String {
    format!(
        "echo ready; while ! [ -e /stop ]; do for p in /proc/[0-9]*; do
            [ -e $p/root{} ] && echo leak; done; done",
        bundle.path("secret").display()
    )
}

/// Whoever may trace in the container sees a process that joins it only when that has the
/// container's root.
#[test]
fn a_process_that_joins_has_nothing_of_the_host_to_look_at() {
    let mut bundle = Bundle::new();
    if !holds(rustix::thread::CapabilitySet::SYS_PTRACE) {
        return;
    }
    bundle.capabilities(&["CAP_SYS_PTRACE"]);
    let spy = spy(&bundle);
    bundle.args(&["/bin/sh", "-c", &spy]);
    let script = "$REEVE run -d -b $BUNDLE $ID > $BUNDLE/out 2>&1
        until grep -q ready $BUNDLE/out; do sleep 0.1; done
        for i in $(seq 20); do $REEVE exec $ID true; done
        touch $BUNDLE/rootfs/stop; await stopped; $REEVE delete $ID; sort -u $BUNDLE/out";
    let found = bundle.printed(WITHOUT_CGROUPS, script).unwrap();
    assert_eq!(found, "ready\n");
}

/// A pod: the second container joins the user and pid namespaces of the first, which may trace
/// whatever is in them.
#[test]
fn the_next_container_of_a_pod_cannot_be_looked_into_while_it_is_made() {
    let mut bundle = Bundle::new();
    let spy = spy(&bundle);
    let pid = json!({ "type": "pid" });
    bundle.namespaces().push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    chown(bundle.path("bundle/rootfs"), Some(100_000), Some(100_000)).unwrap();
    bundle.capabilities(&["CAP_SYS_PTRACE"]);
    bundle.args(&["/bin/sh", "-c", &spy]);
    bundle.write("bundle/config.json");
    let first = bundle.config.clone();

    bundle
        .namespaces()
        .retain(|one| one != &pid && one["type"] != "user");
    for kind in ["pid", "user"] {
        let path = format!("/proc/PID/ns/{kind}");
        let joined = json!({ "type": kind, "path": path });
        bundle.namespaces().push(joined);
    }
    bundle.args(&["/bin/true"]);
    bundle.write("second.json");
    bundle.config = first;
    let script = "$REEVE run -d -b $BUNDLE --pid-file $BUNDLE/pid $ID > $BUNDLE/out 2>&1
        until grep -q ready $BUNDLE/out; do sleep 0.1; done
        mkdir $BUNDLE/2; ln -s ../rootfs $BUNDLE/2/rootfs
        sed s,/PID/,/$(cat $BUNDLE/pid)/,g $BUNDLE/../second.json > $BUNDLE/2/config.json
        for i in $(seq 10); do $REEVE run -b $BUNDLE/2 $ID-2; done
        touch $BUNDLE/rootfs/stop; await stopped; $REEVE delete $ID; sort -u $BUNDLE/out";
    let found = bundle.printed(WITHOUT_CGROUPS, script).unwrap();
    assert_eq!(found, "ready\n");
}
