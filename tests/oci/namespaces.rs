//! `linux.namespaces`: new ones, the runtime's, those of others; clocks; network devices.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::seen::own_namespace;
use crate::support::{Bundle, Cgroups, Need, Seen, command, covers};

/// Names in `config.json` and in `/proc/PID/ns`.
const KINDS: [(&str, &str); 5] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
];

#[test]
fn new_ones() {
    covers(&[
        "linux.namespaces[].type: pid",
        "linux.namespaces[].type: network",
        "linux.namespaces[].type: ipc",
        "linux.namespaces[].type: uts",
        "linux.namespaces[].type: mount",
    ])
    .run(|| {
        let seen = Bundle::new().see();
        for (_, name) in KINDS {
            assert_ne!(seen.namespace(name), own_namespace(name), "{name}");
        }
        assert_eq!(seen.stat(4), 0, "a parent in its pid namespace");
        let devices = seen
            .file("net/dev")
            .lines()
            .filter(|line| line.contains(':'))
            .count();
        assert_eq!(devices, 1, "{}", seen.file("net/dev"));
        for name in ["user", "cgroup", "time"] {
            assert_eq!(seen.namespace(name), own_namespace(name), "{name}");
        }
    });
}

#[test]
fn those_that_are_not_listed_are_the_runtimes() {
    covers(&["linux.namespaces: absent is the runtime's"]).run(|| {
        for (kind, name) in KINDS.into_iter().filter(|(kind, _)| *kind != "mount") {
            let bundle = Bundle::new().without_namespace(kind).without("hostname");
            // Message queues and terminals belong to namespaces, too.
            let mut bundle = bundle;
            if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
                mounts.retain(|mount| {
                    !["mqueue", "sysfs"]
                        .iter()
                        .any(|kind| mount["type"] == *kind)
                });
            }
            assert_eq!(bundle.see().namespace(name), own_namespace(name), "{kind}");
        }
    });
}

#[test]
fn a_new_one_for_cgroups() {
    covers(&["linux.namespaces[].type: cgroup"]).run(|| {
        let seen = Bundle::new().namespace("cgroup", None).see();
        assert_ne!(seen.namespace("cgroup"), own_namespace("cgroup"));
        for line in seen.file("cgroup").lines() {
            assert!(line.ends_with(":/"), "its cgroup is not its root: {line}");
        }
    });
}

#[test]
fn a_new_one_for_clocks() {
    covers(&[
        "linux.namespaces[].type: time",
        "linux.timeOffsets.monotonic",
        "linux.timeOffsets.boottime",
    ])
    .known("crun", "1.8 knows no time namespace")
    .known("runc", "1.1.5 knows no time namespace")
    .run(|| {
        let offsets = json!({
            "monotonic": { "secs": 172800, "nanosecs": 5 },
            "boottime": { "secs": 86400, "nanosecs": 0 },
        });
        let bundle = Bundle::new().namespace("time", None);
        let seen = bundle.set("linux.timeOffsets", offsets).see();
        assert_ne!(seen.namespace("time"), own_namespace("time"));
        let offsets: Vec<Vec<&str>> = seen
            .file("timens_offsets")
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            offsets,
            [["monotonic", "172800", "5"], ["boottime", "86400", "0"]]
        );
        let clock = seen.0["monotonic_time"].as_u64().unwrap();
        assert!(clock > 172_800, "{clock}");
    });
}

/// A container that holds a namespace of its own, and the path of that.
fn holder(kind: &str, name: &str) -> (Bundle, String, String) {
    let bundle = Bundle::waiting().namespace(kind, None);
    bundle.launch();
    let path = format!("/proc/{}/ns/{name}", bundle.pid());
    let link = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
    (bundle, path, link)
}

#[track_caller]
fn joins(kind: &str, name: &str) {
    let (_holder, path, link) = holder(kind, name);
    let bundle = Bundle::new()
        .without("hostname")
        .namespace(kind, Some(&path));
    assert_eq!(bundle.see().namespace(name), link);
}

#[test]
fn an_ipc_namespace_of_another() {
    covers(&["linux.namespaces[].path: ipc"]).run(|| joins("ipc", "ipc"));
}

#[test]
fn a_uts_namespace_of_another() {
    covers(&["linux.namespaces[].path: uts"]).run(|| joins("uts", "uts"));
}

#[test]
fn a_network_namespace_of_another() {
    covers(&["linux.namespaces[].path: network"]).run(|| joins("network", "net"));
}

#[test]
fn a_pid_namespace_of_another() {
    covers(&["linux.namespaces[].path: pid"]).run(|| {
        let (_holder, path, link) = holder("pid", "pid");
        let seen = Bundle::new().namespace("pid", Some(&path)).see();
        assert_eq!(seen.namespace("pid"), link);
        assert_ne!(seen.status("Pid"), "1");
    });
}

#[test]
fn a_cgroup_namespace_of_another() {
    covers(&["linux.namespaces[].path: cgroup"]).run(|| joins("cgroup", "cgroup"));
}

#[test]
fn a_time_namespace_of_another() {
    covers(&["linux.namespaces[].path: time"])
        .known("crun", "1.8 knows no time namespace")
        .known("runc", "1.1.5 knows no time namespace")
        .run(|| joins("time", "time"));
}

#[test]
fn a_mount_namespace_of_another() {
    covers(&["linux.namespaces[].path: mount"]).run(|| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sleep", "600"]);
        let mut child = unshare.spawn().expect("unshare");
        let path = format!("/proc/{}/ns/mnt", child.id());
        let own = own_namespace("mnt");
        command::wait_until("the namespace", || {
            let link = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            (link != own).then_some(())
        });
        let link = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
        let ended = Bundle::doing(&["see"])
            .namespace("mount", Some(&path))
            .run();
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(Seen::of(&ended.succeeded()).namespace("mnt"), link);
    });
}

#[test]
fn one_kind_twice_is_refused() {
    covers(&["linux.namespaces: a duplicate is refused"])
        .known("crun", "1.8 takes the last one")
        .run(|| {
            let bundle = Bundle::new().add("linux.namespaces", json!({ "type": "ipc" }));
            bundle
                .run_refused()
                .refused_naming(&["namespace", "duplicated ns"]);
        });
}

#[test]
fn an_unknown_kind_is_refused() {
    covers(&["linux.namespaces: an unknown type is refused"])
        .known_on(Cgroups::Version2, "crun", "1.8 leaves the cgroup behind")
        .run(|| {
            let bundle = Bundle::new().add("linux.namespaces", json!({ "type": "nosuch" }));
            bundle.run_refused().refused_naming(&["nosuch"]);
        });
}

#[test]
fn a_path_of_another_kind_is_an_error() {
    covers(&["linux.namespaces[].path: of another type is an error"])
        .known_on(Cgroups::Version2, "crun", "1.8 leaves the cgroup behind")
        .run(|| {
            let bundle = Bundle::new().namespace("ipc", Some("/proc/self/ns/net"));
            bundle.run_refused();
        });
}

#[test]
fn a_missing_path_is_an_error() {
    covers(&["linux.namespaces[].path: missing is an error"])
        .known_on(Cgroups::Version2, "crun", "1.8 leaves the cgroup behind")
        .run(|| {
            for path in ["/no/such/namespace", "/etc/passwd"] {
                Bundle::new().namespace("ipc", Some(path)).run_refused();
            }
        });
}

/// A network namespace on the host's side with a device, removed when dropped.
struct Link(String);

impl Link {
    fn new(bundle: &Bundle) -> Self {
        // Names of devices have at most 15 characters.
        let digits: String = bundle.id.chars().filter(char::is_ascii_digit).collect();
        let name = format!("rv{}", &digits[digits.len().saturating_sub(9)..]);
        let add = [
            "link",
            "add",
            &name,
            "type",
            "veth",
            "peer",
            "name",
            &format!("{name}p"),
        ];
        assert!(Command::new("ip").args(add).status().unwrap().success());
        Self(name)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "del", &self.0])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[test]
fn network_devices_move_in() {
    covers(&["linux.netDevices", "linux.netDevices.name"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .needs(Need::Veth)
        .run(|| {
            let bundle = Bundle::new();
            let link = Link::new(&bundle);
            let peer = format!("{}p", link.0);
            let address = ["addr", "add", "10.222.1.1/24", "dev", &link.0];
            assert!(Command::new("ip").args(address).status().unwrap().success());
            let devices = json!({ &link.0: { "name": "eth7" }, &peer: {} });
            let seen = bundle.set("linux.netDevices", devices).see();
            let devices = seen.file("net/dev");
            assert!(
                devices.contains("eth7:") && devices.contains(&peer),
                "{devices}"
            );
            assert!(
                seen.file("net/fib_trie").contains("10.222.1.1"),
                "the address is kept"
            );
        });
}

#[test]
fn a_missing_network_device_is_an_error() {
    covers(&["linux.netDevices: a missing device is an error"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .run(|| {
            let devices = json!({ "nosuchdevice": {} });
            let bundle = Bundle::new().set("linux.netDevices", devices);
            bundle.run_refused().refused_naming(&["nosuchdevice"]);
        });
}

#[test]
fn the_cgroup_namespace_shows_one_tree() {
    covers(&["linux.namespaces[].type: cgroup", "mounts: cgroup"])
        .needs(Need::CgroupV2)
        .run(|| {
            let bundle = Bundle::new().namespace("cgroup", None);
            let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
            assert_eq!(bundle.see().mount("/sys/fs/cgroup").root, "/");
            assert_eq!(Cgroups::of_host(), Cgroups::Version2);
        });
}
