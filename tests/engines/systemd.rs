//! Cgroups that systemd makes: the runtime alone and Podman, on a host whose init is systemd.
//!
//! The machine has an init of ours. So a systemd runs as the first process of a pid, a mount and a
//! cgroup namespace of its own, in a cgroup of which it owns everything below, and what is tested
//! is started in there with it. To whoever is inside, that is a host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use reeve_tests::bundle::Config;
use reeve_tests::host;
use serde_json::{Value, json};

use crate::machine::{self, IMAGE};
use crate::said::{self, Said};

/// What becomes systemd, once it is alone with its cgroup. Units that a host needs for more than
/// cgroups are left out.
const INIT: &str = "#!/bin/sh -e
mount --make-rprivate /
mount -t proc proc /proc
umount /sys/fs/cgroup
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
container=machine exec /lib/systemd/systemd --system --unit=dbus.service --show-status=0 \
systemd.mask=systemd-journald.service systemd.mask=systemd-journal-flush.service \
systemd.mask=systemd-sysusers.service systemd.mask=systemd-tmpfiles-setup.service \
systemd.mask=systemd-tmpfiles-setup-dev.service
";

/// Among the arguments of that systemd and of no other process.
const MARK: &str = "--unit=dbus.service";

const CGROUP: &str = "/sys/fs/cgroup/engines-systemd";

/// How long it may take to come up; emulation is slow.
const START: Duration = Duration::from_secs(60);

/// Process id of systemd, which is started when it is first needed. It ends with the machine.
fn systemd() -> u32 {
    static PID: OnceLock<u32> = OnceLock::new();
    *PID.get_or_init(|| {
        let id = Path::new("/etc/machine-id");
        if fs::read_to_string(id).unwrap_or_default().trim().is_empty() {
            fs::write(id, "00000000000000000000000000000001\n").expect("write the machine's id");
        }
        fs::create_dir_all(CGROUP).expect("make its cgroup");
        let init = machine::directory().join("systemd-init");
        fs::write(&init, INIT).expect("write its init");
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).expect("chmod");
        // The process that waits stays outside of the cgroup: one with processes of its own could
        // not hand its controllers down.
        let enter = format!(
            "echo 0 >{CGROUP}/cgroup.procs; exec unshare --mount --cgroup {}",
            init.display()
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "sh", "-ec", &enter]);
        unshare.stdin(Stdio::null()).stdout(Stdio::null());
        unshare.stderr(Stdio::null()).spawn().expect("unshare");
        let started = || host::processes_with_argument(MARK).first().copied();
        let pid = host::wait_until("systemd's start", START, started).expect("systemd");
        let ready = || {
            let mut ask = Command::new("systemctl");
            ask.args(["is-active", "--quiet", "dbus.service"]);
            let ready = inside_of(pid, &ask).stderr(Stdio::null()).status();
            ready.is_ok_and(|status| status.success()).then_some(())
        };
        host::wait_until("systemd's bus", START, ready).expect("systemd");
        pid
    })
}

/// A command in the namespaces of the systemd with this process id.
fn inside_of(pid: u32, command: &Command) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter
        .args(["--mount", "--pid", "--cgroup", "--target", &pid.to_string()])
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        nsenter.env(name, value.unwrap_or_default());
    }
    nsenter
}

/// Runs a command on systemd's host.
fn run(command: &Command) -> Said {
    said::run(&inside_of(systemd(), command))
}

fn systemctl(args: &[&str]) -> Said {
    run(Command::new("systemctl").args(args))
}

/// Podman with systemd's cgroups and a storage of its own.
fn podman(args: &[&str]) -> Said {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| {
        let archive = machine::archive().to_string_lossy().into_owned();
        run(&podman_command(&["import", "--quiet", &archive, IMAGE])).ok();
    });
    run(&podman_command(args))
}

fn podman_command(args: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", crate::podman::configuration())
        .arg("--root")
        .arg(machine::directory().join("podman-systemd"))
        .args(["--runroot=/run/engines", "--cgroup-manager=systemd"])
        .args(args);
    command
}

/// The runtime alone makes a scope, with the limits of the container, and it goes with it.
#[test]
fn scope_of_a_container() {
    let name = machine::unique("scope");
    let bundle = machine::directory().join(&name);
    let unit = format!("engines-{name}.scope");
    // A runtime may put the container into a cgroup of its own below the scope's.
    let script = format!(
        "cut -d/ -f2,3 /proc/self/cgroup; \
         case $(cat /sys/fs/cgroup/system.slice/{unit}/cpu.weight) in 20|59) echo half;; esac; \
         cd /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup); cat memory.max pids.max cpu.max; \
         exit 7"
    );
    let args = ["/bin/busybox", "sh", "-c", &script];
    let config = Config {
        args: args.map(str::to_owned).to_vec(),
        host: false,
        cgroup: Some(format!("system.slice:engines:{name}")),
        ..Config::default()
    };
    config.write(&bundle).expect("make a bundle");
    let mut json = config.to_json();
    // The oldest of the peers knows no later one.
    json["ociVersion"] = json!("1.0.2");
    let namespaces = json["linux"]["namespaces"].as_array_mut();
    let namespaces = namespaces.expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    json["linux"]["resources"] = json!({
        "memory": { "limit": 33_554_432 },
        "pids": { "limit": 33 },
        "cpu": { "quota": 50_000, "period": 100_000, "shares": 512 },
    });
    let mounts = json["mounts"].as_array_mut().expect("mounts");
    mounts.push(json!({
        "destination": "/sys/fs/cgroup",
        "type": "bind",
        "source": "/sys/fs/cgroup",
        "options": ["rbind", "ro"],
    }));
    write(&bundle.join("config.json"), &json);
    let mut runtime = Command::new(machine::runtime());
    runtime.args(["--systemd-cgroup", "run", "--bundle"]);
    run(runtime.arg(&bundle).arg(&name)).exits(7).prints(&[
        &format!("system.slice/{unit}"),
        "half",
        "33554432",
        "33",
        "50000 100000",
    ]);
    systemctl(&["show", "--property=ActiveState", &unit])
        .ok()
        .prints(&["ActiveState=inactive"]);
    machine::nothing_left(&name);
}

fn write(path: &Path, json: &Value) {
    fs::write(path, json.to_string()).expect("write `config.json`");
}

/// A container of Podman is a scope that systemd knows, and can be changed and frozen as such.
#[test]
fn podman_with_scopes() {
    let name = machine::unique("box");
    let start = ["run", "--detach", "--name", &name, "--network=none"];
    let rest = ["--memory=20m", IMAGE, "sleep", "1000"];
    let id = podman(&[&start[..], &rest].concat()).ok().out().to_owned();
    let unit = format!("libpod-{id}.scope");
    let show = ["show", "--property=ActiveState,Slice", &unit];
    systemctl(&show)
        .ok()
        .mentions("ActiveState=active")
        .mentions("Slice=machine.slice");
    // A runtime may put the container into a cgroup of its own below the scope's.
    let limit = ["exec", &name, "cat", "/sys/fs/cgroup/memory.max"];
    podman(&limit).ok().prints(&["20971520"]);
    podman(&["exec", &name, "cat", "/proc/self/cgroup"])
        .ok()
        .prints(&["0::/"]);
    podman(&["update", "--memory=30m", &name]).ok();
    podman(&limit).ok().prints(&["31457280"]);
    podman(&["pause", &name]).ok();
    let mut frozen = Command::new("grep");
    frozen.args(["-r", "--include=cgroup.events", "frozen 1"]);
    let scope = Path::new(CGROUP).join("machine.slice").join(&unit);
    said::run(frozen.arg(scope)).ok();
    podman(&["unpause", &name]).ok();
    podman(&["rm", "--force", "--time=0", &name]).ok();
    systemctl(&show).ok().mentions("ActiveState=inactive");
    machine::nothing_left(&unit);
}

/// A pod is a slice; its containers are scopes below it.
#[test]
fn podman_with_a_pod() {
    let pod = machine::unique("pod");
    podman(&["pod", "create", "--name", &pod, "--network=none"]).ok();
    let run = ["run", "--rm", "--cgroupns=host", "--pod", &pod, IMAGE];
    podman(&[&run[..], &["cat", "/proc/self/cgroup"]].concat())
        .ok()
        .mentions("0::/machine.slice/machine-libpod_pod_")
        .mentions(".scope");
    podman(&["pod", "rm", "--force", "--time=0", &pod]).ok();
}
