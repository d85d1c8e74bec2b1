//! File systems, devices, parameters and network devices of whole containers, seen from inside.
//!
//! Needs root. Each test runs `reeve` in mount and network
//! namespaces of its own, without the host's cgroups, so that nothing of it is left behind.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

#[path = "common/bundle.rs"]
mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Takes the cgroups away, then runs what the test says, in which `$REEVE` runs the container.
const PROLOGUE: &str = "set -e; umount -l /sys/fs/cgroup 2>/dev/null || true\n";

/// Prints the mounts, one a line.
const MOUNTS: &str = "cat /proc/self/mountinfo";

/// A field of the line of a mount point, in the text that [`MOUNTS`] prints.
fn field<'t>(text: &'t str, point: &str, number: usize) -> &'t str {
    let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|line| line.get(4) == Some(&point));
    line.unwrap_or_else(|| panic!("no mount at {point}: {text}"))[number]
}

/// A bundle whose root has the programs of the host.
struct Bundle {
    dir: tempfile::TempDir,
    config: Value,
}

impl Bundle {
    fn new() -> Self {
        let (dir, mut config) = common::bundle();
        let all = json!([
            "CAP_SYS_ADMIN",
            "CAP_DAC_OVERRIDE",
            "CAP_CHOWN",
            "CAP_MKNOD"
        ]);
        config["process"]["capabilities"] =
            json!({ "bounding": all, "permitted": all, "effective": all });
        Self { dir, config }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("bundle").join(path)
    }

    fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    fn linux(&mut self, key: &str, value: Value) {
        self.config["linux"][key] = value;
    }

    /// Gives the container a user namespace.
    fn user_namespace(&mut self) {
        let namespaces = &mut self.config["linux"]["namespaces"];
        namespaces
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        self.linux("uidMappings", map.clone());
        self.linux("gidMappings", map);
        chown(self.path("rootfs"), Some(100_000), Some(100_000)).unwrap();
    }

    fn without_namespace(&mut self, kind: &str) {
        let namespaces = &mut self.config["linux"]["namespaces"];
        namespaces
            .as_array_mut()
            .unwrap()
            .retain(|one| one["type"] != kind);
    }

    /// Runs `inside` in the container, and `outside` around it.
    fn run_with(&mut self, outside: &str, inside: &str) -> Output {
        self.config["process"]["args"] = json!(["/bin/sh", "-c", inside]);
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        let reeve = format!(
            "{} --root {} run --bundle {} test-{}",
            env!("CARGO_BIN_EXE_reeve"),
            self.dir.path().join("state").display(),
            self.path("").display(),
            std::process::id(),
        );
        Command::new("unshare")
            .args([
                "--mount",
                "--net",
                "sh",
                "-c",
                &format!("{PROLOGUE}{outside}"),
            ])
            .env("REEVE", reeve)
            .env("BUNDLE", self.path(""))
            .output()
            .unwrap()
    }

    /// What `inside` prints.
    fn run(&mut self, inside: &str) -> String {
        let output = self.run_with("exec $REEVE", inside);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error of a container that cannot be made.
    fn refused(&mut self) -> String {
        let output = self.run_with("exec $REEVE", "echo it runs");
        assert!(output.stdout.is_empty(), "it was made");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn the_tree_of_the_default_configuration() {
    let mut bundle = Bundle::new();
    let found = bundle.run(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a %u:%g' $d
         done; for l in fd stdin stdout stderr core ptmx; do echo $l $(readlink $l); done
         ls /proc/acpi /sys/firmware | grep -v : ; cat /proc/timer_list
         echo x > /proc/sys/kernel/domainname || echo read-only
         grep -c ' /proc/sys ro' /proc/self/mountinfo; stat -fc %T /proc /sys /dev/pts /dev/shm",
    );
    let expected = "null 1:3 666 0:0\nzero 1:5 666 0:0\nfull 1:7 666 0:0\nrandom 1:8 666 0:0\n\
        urandom 1:9 666 0:0\ntty 5:0 666 0:0\nfd /proc/self/fd\nstdin /proc/self/fd/0\n\
        stdout /proc/self/fd/1\nstderr /proc/self/fd/2\ncore /proc/kcore\nptmx pts/ptmx\n\n\
        read-only\n1\nproc\nsysfs\ndevpts\ntmpfs\n";
    assert_eq!(found.replace("\n\n\n", "\n\n"), expected);
}

#[test]
fn the_root_may_be_a_link_of_the_host_and_read_only() {
    let mut bundle = Bundle::new();
    for name in [
        "dev", "proc", "sys", "usr", "lib", "lib64", "bin", "sbin", "tmp",
    ] {
        fs::create_dir(bundle.path("rootfs").join(name)).unwrap();
    }
    symlink(bundle.path("rootfs"), bundle.path("link")).unwrap();
    bundle.config["root"] = json!({ "path": "link", "readonly": true });
    bundle.mount(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
    let found = bundle.run("touch /x 2> /dev/null || echo read-only; touch /tmp/x && pwd");
    assert_eq!(found, "read-only\n/\n");
    // What is bound is changed in the container alone.
    fs::write(bundle.path("rootfs/x"), "").unwrap();
}

#[test]
fn the_hosts_root_is_bound_and_not_the_containers() {
    // In a user namespace the kernel does not let a mount be seen without those over it.
    for (options, user) in [
        (["rbind", "rslave"], false),
        (["bind", "ro"], false),
        (["rbind", "rslave"], true),
    ] {
        let mut bundle = Bundle::new();
        if user {
            bundle.user_namespace();
        }
        bundle.mount(json!({
            "destination": "/host", "source": "/", "type": "bind", "options": options,
        }));
        let file = bundle.path("config.json");
        let inside = format!("test -e /host{} && echo the host", file.display());
        assert_eq!(bundle.run(&inside), "the host\n", "{options:?} {user}");
    }
}

#[test]
fn every_propagation_of_the_root_and_nothing_leaks() {
    for (word, root, below) in [
        ("private", "", ""),
        ("rprivate", "", ""),
        ("slave", "", ""),
        ("rslave", "", ""),
        ("shared", "shared", ""),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", ""),
        ("runbindable", "unbindable", "unbindable"),
    ] {
        let mut bundle = Bundle::new();
        bundle.linux("rootfsPropagation", json!(word));
        let output = bundle.run_with(
            "mount --make-rshared /; wc -l < /proc/self/mountinfo; $REEVE
             wc -l < /proc/self/mountinfo",
            MOUNTS,
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let (before, after) = (text.lines().next(), text.lines().last());
        assert_eq!(before, after, "{word}: mounts came to the host");
        let kind = |point: &str| field(&text, point, 6).split(':').next().map(str::to_owned);
        let none = |word: &str| if word.is_empty() { "-" } else { word }.to_owned();
        assert_eq!(kind("/"), Some(none(root)), "{word}");
        assert_eq!(kind("/proc"), Some(none(below)), "{word}");
    }
}

/// Whether a mount that the container makes in a volume appears on the host.
fn appears_on_the_host(propagation: &str, options: Value, user: bool) -> bool {
    let mut bundle = Bundle::new();
    fs::create_dir_all(bundle.path("vol/in")).unwrap();
    chown(bundle.path("vol/in"), Some(100_000), Some(100_000)).unwrap();
    if user {
        bundle.user_namespace();
    }
    bundle.linux("rootfsPropagation", json!(propagation));
    bundle.mount(json!({ "destination": "/vol", "source": "vol", "options": options }));
    let output = bundle.run_with(
        "mount --make-rshared /; $REEVE; grep -c \"${BUNDLE}vol/in \" /proc/self/mountinfo",
        "mount -t tmpfs new /vol/in && echo made",
    );
    match String::from_utf8_lossy(&output.stdout).as_ref() {
        "made\n1\n" => true,
        "made\n0\n" => false,
        other => panic!("{other}: {output:?}"),
    }
}

#[test]
fn only_a_shared_volume_gives_mounts_to_the_host() {
    let shared = json!(["rbind", "rshared"]);
    for (root, options, user, expected) in [
        ("shared", &shared, false, true),
        ("rshared", &shared, false, true),
        // Peers of a mount of the host are never in a user namespace.
        ("shared", &shared, true, false),
        ("rslave", &shared, false, false),
        ("rslave", &json!(["rbind"]), true, false),
        (
            "rslave",
            &json!(["rbind", "ridmap=uids=0-0-9;gids=0-0-9"]),
            false,
            false,
        ),
        ("rprivate", &json!(["rbind", "ridmap"]), true, false),
    ] {
        let found = appears_on_the_host(root, options.clone(), user);
        assert_eq!(found, expected, "{root} {options} {user}");
    }
}

#[test]
fn binds_of_all_kinds() {
    let mut bundle = Bundle::new();
    fs::create_dir_all(bundle.path("src/sub")).unwrap();
    fs::write(bundle.path("src/file"), "text\n").unwrap();
    chown(bundle.path("src/file"), Some(1000), Some(1000)).unwrap();
    symlink("/nowhere", bundle.path("src/link")).unwrap();
    symlink("/nowhere", bundle.path("rootfs/taken")).unwrap();
    let map = json!([
        { "containerID": 0, "hostID": 0, "size": 1 },
        { "containerID": 1000, "hostID": 7, "size": 1 },
    ]);
    for mount in [
        json!({ "destination": "/made/on/the/way", "source": "src/file", "options": ["bind"] }),
        json!({ "destination": "/ro", "source": "src", "options": ["rbind", "rro"] }),
        json!({ "destination": "/mapped", "source": "src", "options": ["rbind", "ridmap"],
                "uidMappings": map, "gidMappings": map }),
        json!({ "destination": "/copied", "source": "src/link",
                "options": ["bind", "copy-symlink"] }),
        json!({ "destination": "/taken", "source": "src/link",
                "options": ["bind", "src-nofollow", "dest-nofollow"] }),
    ] {
        bundle.mount(mount);
    }
    let output = bundle.run_with(
        "mount -t tmpfs below ${BUNDLE}src/sub; $REEVE; touch ${BUNDLE}src/sub/x && echo writable",
        "cat /made/on/the/way; stat -c %u:%g /mapped/file; readlink /copied /taken
         touch /ro/x /ro/sub/x; grep -c -E ' /(mapped|taken) ' /proc/self/mountinfo",
    );
    let expected = "text\n7:7\n/nowhere\n/nowhere\n2\nwritable\n";
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{output:?}"
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error.matches("Read-only file system").count(), 2, "{error}");
}

#[test]
fn new_file_systems_and_remounts() {
    let mut bundle = Bundle::new();
    fs::create_dir_all(bundle.path("rootfs/img/d")).unwrap();
    fs::set_permissions(bundle.path("rootfs/img"), fs::Permissions::from_mode(0o711)).unwrap();
    for mount in [
        json!({ "destination": "/img", "type": "tmpfs", "source": "x",
                "options": ["tmpcopyup", "ro", "nosuid"] }),
        json!({ "destination": "/img/d", "type": "tmpfs", "source": "x", "options": ["mode=700"] }),
        json!({ "destination": "/t", "type": "tmpfs", "source": "x", "options": ["size=1m"] }),
        json!({ "destination": "/t", "options": ["remount", "noexec", "size=2m"] }),
        json!({ "destination": "/usr", "options": ["remount", "bind", "nosuid"] }),
        json!({ "destination": "/mapped", "type": "tmpfs", "source": "x",
                "options": ["idmap=uids=0-0-1#9-8-1;gids=0-0-1"] }),
    ] {
        bundle.mount(mount);
    }
    let found = bundle.run(&format!("stat -c %a /img /img/d; {MOUNTS}"));
    assert!(found.starts_with("711\n700\n"), "{found}");
    let attributes = |point: &str| field(&found, point, 5);
    assert_eq!(attributes("/img"), "ro,nosuid,relatime");
    assert_eq!(attributes("/t"), "rw,noexec,relatime");
    assert!(found.contains(" /t rw,noexec,relatime - tmpfs x rw,size=2048k"));
    assert!(attributes("/usr").starts_with("ro,nosuid,"), "{found}");
    assert!(attributes("/mapped").ends_with(",idmapped"), "{found}");
}

#[test]
fn an_overlay_of_many_layers() {
    let mut bundle = Bundle::new();
    let layer = |number| bundle.path(&format!("a-layer-with-a-rather-long-name-{number}"));
    let layers: Vec<_> = (0..5).map(layer).collect();
    for layer in &layers {
        fs::create_dir(layer).unwrap();
        fs::write(layer.join(layer.file_name().unwrap()), "").unwrap();
    }
    let layers: Vec<_> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let option = format!("lowerdir={}", layers.join(":"));
    assert!(option.len() > 256);
    bundle.mount(json!({
        "destination": "/over", "type": "overlay", "source": "overlay", "options": [option],
    }));
    let output = bundle.run_with("exec $REEVE", "ls /over | wc -l");
    if String::from_utf8_lossy(&output.stderr).contains("lowerdir+") {
        println!("skipped: needs Linux 6.7");
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5\n", "{output:?}");
}

#[test]
fn parameters_of_the_containers_namespaces() {
    let mut bundle = Bundle::new();
    bundle.linux(
        "sysctl",
        json!({
            "net.ipv4.ping_group_range": "0 1", "kernel.shmmax": "4242",
            "fs/mqueue/msg_max": "11", "kernel.domainname": "example",
        }),
    );
    let found = bundle.run(
        "cd /proc/sys; cat net/ipv4/ping_group_range kernel/shmmax fs/mqueue/msg_max \
         kernel/domainname",
    );
    assert_eq!(found, "0\t1\n4242\n11\nexample\n");
    // Joining the network that `reeve` is in makes it no other.
    bundle.without_namespace("network");
    let namespaces = &mut bundle.config["linux"]["namespaces"];
    let joined = json!({ "type": "network", "path": "/proc/self/ns/net" });
    namespaces.as_array_mut().unwrap().push(joined);
    assert!(bundle.refused().contains("is that of the host"));
}

#[test]
fn what_would_hide_or_change_the_host_is_refused() {
    type Change = fn(&mut Bundle);
    let cases: [(&str, Change); 6] = [
        ("not a procfs", |bundle| {
            bundle.config["mounts"].as_array_mut().unwrap().remove(0);
            bundle.mount(json!({
                "destination": "/proc", "source": "/usr", "options": ["rbind"],
            }));
        }),
        ("inside of procfs", |bundle| {
            bundle.mount(json!({
                "destination": "/proc/sys/kernel", "source": "/usr", "options": ["rbind"],
            }));
        }),
        ("ELOOP", |bundle| {
            fs::create_dir(bundle.path("rootfs/elsewhere")).unwrap();
            symlink("elsewhere", bundle.path("rootfs/dev")).unwrap();
        }),
        ("is the root of the host", |bundle| {
            symlink("/", bundle.path("root")).unwrap();
            bundle.config["root"]["path"] = json!("root");
        }),
        ("ENOENT", |bundle| {
            bundle.mount(json!({
                "destination": "/x", "source": "missing", "options": ["bind"],
            }));
        }),
        ("EEXIST", |bundle| {
            fs::create_dir(bundle.path("rootfs/x")).unwrap();
            fs::write(bundle.path("rootfs/x/null"), "").unwrap();
            bundle.linux(
                "devices",
                json!([{ "type": "c", "path": "/x/null", "major": 1, "minor": 3 }]),
            );
        }),
    ];
    for (expected, change) in cases {
        let mut bundle = Bundle::new();
        change(&mut bundle);
        let error = bundle.refused();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_user_namespace_has_devices_and_reaches_its_binds() {
    let mut bundle = Bundle::new();
    fs::create_dir_all(bundle.path("closed/dir")).unwrap();
    fs::write(bundle.path("closed/dir/file"), "text\n").unwrap();
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(bundle.path("closed"), mode).unwrap();
    bundle.user_namespace();
    for (target, options) in [
        ("/plain", json!(["rbind"])),
        ("/own", json!(["rbind", "idmap"])),
    ] {
        bundle.mount(json!({
            "destination": target, "source": "closed/dir", "options": options,
        }));
    }
    let found = bundle.run(
        "id -u; cat /plain/file; stat -c %u /plain/file /own/file
         echo x > /dev/null && stat -c %t:%T /dev/null; ls /proc/acpi | wc -l",
    );
    assert_eq!(found, "0\ntext\n65534\n0\n1:3\n0\n");
}

#[test]
fn a_user_namespace_without_a_network_sees_the_hosts_sysfs_read_only() {
    let mut bundle = Bundle::new();
    bundle.user_namespace();
    bundle.without_namespace("network");
    let sysfs = bundle.config["mounts"].as_array_mut().unwrap();
    let sysfs = sysfs.iter_mut().find(|mount| mount["type"] == "sysfs");
    sysfs.unwrap()["options"] = json!(["nosuid"]);
    // The network namespace around belongs to the host's user namespace.
    let found = bundle.run(MOUNTS);
    assert!(
        field(&found, "/sys", 5).starts_with("ro,nosuid,"),
        "{found}"
    );
}

#[test]
fn network_devices_are_moved_with_their_addresses() {
    let mut bundle = Bundle::new();
    if Command::new("ip").arg("-V").output().is_err() {
        println!("skipped: needs `ip`");
        return;
    }
    bundle.linux(
        "netDevices",
        json!({ "one": { "name": "eth0" }, "two": { "name": "net%d" } }),
    );
    let setup = "ip link add one type veth peer name two
        ip address add 192.0.2.1/24 broadcast 192.0.2.255 dev one
        ip address add 192.0.2.7/32 scope link dev one
        ip -6 address add 2001:db8::1/64 nodad dev one; ip link set one mtu 1400\n";
    let output = bundle.run_with(
        &format!("{setup} $REEVE; ip -o link | wc -l"),
        "ip -o address show dev eth0 scope global | tr -s ' ' | cut -d ' ' -f 2-6
         ip -o link | grep -o -E '(eth0|net0)@[^:]*: <[^>]*> mtu [0-9]+'",
    );
    let found = String::from_utf8_lossy(&output.stdout);
    let expected =
        "eth0 inet 192.0.2.1/24 brd 192.0.2.255\neth0 inet6 2001:db8::1/64 scope global\n";
    assert!(found.starts_with(expected), "{output:?}");
    assert!(found.contains("mtu 1400"), "{found}");
    assert_eq!(found.matches(",UP").count(), 2, "{found}");
    // The host has but its loopback device.
    assert!(found.ends_with("\n1\n"), "{found}");

    bundle.linux("netDevices", json!({ "one": { "name": "lo" } }));
    let output = bundle.run_with(&format!("{setup} $REEVE || ip -o link | wc -l"), "true");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("EEXIST"), "{error}");
    // Refused before anything was moved.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n");
    bundle.linux("netDevices", json!({ "three": {} }));
    assert!(bundle.refused().contains("ENODEV"));
}

#[test]
fn resctrl_that_is_not_there_is_an_error() {
    let mut bundle = Bundle::new();
    if Path::new("/sys/fs/resctrl/schemata").exists() {
        println!("skipped: this host has resctrl");
        return;
    }
    bundle.linux("intelRdt", json!({ "closID": "gold" }));
    assert!(bundle.refused().contains("resctrl is not mounted"));
}
