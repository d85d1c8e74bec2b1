//! `reeve features`: what a configuration may ask for, as other programs read it (the features
//! document of the OCI runtime specification).
//!
//! Nothing of it is written down here a second time: each name is put into a small configuration,
//! and the parser that a container's configuration goes through is asked whether it would be
//! carried out. That depends on this program alone, not on the host, as the specification wants it.

use std::path::Path;
use std::process::ExitCode;

use rustix::thread::CapabilitySet;
use serde_json::{Map, Value, json};

use super::{COMMIT, Error, OCI_VERSION, say};
use crate::spec::{CapabilityNames, Spec, known_mount_options};

/// Oldest version of the specification whose configurations are understood.
const OCI_VERSION_MIN: &str = "1.0.0";

const HOOKS: &[&str] = &[
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

const NAMESPACES: &[&str] = &[
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// Mount options that are in no table of the parser; those that it does not carry out it refuses.
const SINGLE_OPTIONS: &[&str] = &[
    "defaults",
    "bind",
    "rbind",
    "remount",
    "tmpcopyup",
    "idmap",
    "ridmap",
    "copy-symlink",
];

const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// By their names behind `SCMP_ARCH_`.
const ARCHITECTURES: &[&str] = &[
    "AARCH64",
    "ARM",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "PPC64LE",
    "RISCV64",
    "S390",
    "S390X",
    "SH",
    "SHEB",
    "X32",
    "X86",
    "X86_64",
];

const FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const MEMORY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_FLAGS: &[&str] = &[
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// Print what a configuration may ask for, as JSON
///
/// The form is the features document of the OCI runtime specification. It says what this program
/// carries out, wherever the host can do it; `reeve doctor` looks at the host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve features | jq .linux.namespaces
  reeve features | jq .linux.seccomp.enabled")]
pub struct Args {}

pub(super) fn run(_: &Args) -> Result<ExitCode, Error> {
    say(serde_json::to_string_pretty(&document())?)?;
    Ok(ExitCode::SUCCESS)
}

fn document() -> Value {
    let hook = json!([{"path": "/bin/true"}]);
    json!({
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION,
        "hooks": those(HOOKS, |name| with("/hooks", json!({ name: hook }))),
        "mountOptions": mount_options(),
        "linux": linux(),
        "annotations": {
            "org.reeve.version": env!("CARGO_PKG_VERSION"),
            "org.reeve.commit": COMMIT,
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": unsafe_annotations(),
    })
}

fn linux() -> Value {
    let namespaces = those(NAMESPACES, |name| {
        let mount = json!({"type": "mount"});
        let one = json!({"type": name});
        let all = if name == "mount" {
            json!([mount])
        } else {
            json!([mount, one])
        };
        let mut config = with("/linux/namespaces", all);
        if name == "user" {
            let mapping = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
            config["linux"]["uidMappings"] = mapping.clone();
            config["linux"]["gidMappings"] = mapping;
        }
        config
    });
    let enabled = |pointer, value| json!({"enabled": taken(with(pointer, value))});
    let systemd = takes_systemd_paths();
    let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}});
    let mut linux = json!({
        "namespaces": namespaces,
        "capabilities": CapabilityNames(CapabilitySet::all()).names(),
        "cgroup": {
            "v1": true,
            "v2": true,
            "systemd": systemd,
            "systemdUser": systemd,
            "rdma": taken(with("/linux/resources", rdma)),
        },
        "seccomp": seccomp(),
        "apparmor": enabled("/process/apparmorProfile", json!("a")),
        "selinux": enabled("/process/selinuxLabel", json!("a_u:a_r:a_t:s0")),
        "intelRdt": enabled("/linux/intelRdt", json!({"closID": "a", "l3CacheSchema": "L3:0=f"})),
        "mountExtensions": {"idmap": {"enabled": takes_mappings_of_mounts()}},
    });
    // No property may be there that its version of the specification does not define.
    if OCI_VERSION >= "1.3" {
        let memory = |mode: &str, flags: &[&str]| {
            let policy = json!({"mode": mode, "nodes": "0", "flags": flags});
            with("/linux/memoryPolicy", policy)
        };
        linux["memoryPolicy"] = json!({
            "modes": those(MEMORY_MODES, |mode| memory(mode, &[])),
            "flags": those(MEMORY_FLAGS, |flag| memory("MPOL_BIND", &[flag])),
        });
        linux["netDevices"] = enabled("/linux/netDevices", json!({"eth0": {"name": "eth1"}}));
        let schemata = json!({"closID": "a", "schemata": ["L3:0=f"]});
        linux["intelRdt"]["schemata"] = taken(with("/linux/intelRdt", schemata)).into();
    }
    linux
}

fn seccomp() -> Value {
    let profile = |more: Value| {
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        if let (Some(profile), Value::Object(more)) = (profile.as_object_mut(), more) {
            profile.extend(more);
        }
        with("/linux/seccomp", profile)
    };
    if !taken(profile(json!({}))) {
        return json!({"enabled": false});
    }
    let flags = those(FLAGS, |flag| profile(json!({"flags": [flag]})));
    json!({
        "enabled": true,
        "actions": those(ACTIONS, |action| {
            let mut more = Map::new();
            more.insert(
                "syscalls".to_owned(),
                json!([{"names": ["getcwd"], "action": action}]),
            );
            if action == "SCMP_ACT_NOTIFY" {
                more.insert("listenerPath".to_owned(), json!("/run/listener"));
            }
            profile(more.into())
        }),
        "operators": those(OPERATORS, |operator| {
            let arg = json!({"index": 0, "value": 1, "valueTwo": 1, "op": operator});
            profile(json!({"syscalls": [
                {"names": ["getcwd"], "action": "SCMP_ACT_LOG", "args": [arg]}
            ]}))
        }),
        "archs": names_of_architectures(|name| profile(json!({"architectures": [name]}))),
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}

fn names_of_architectures(config: impl Fn(&str) -> Value) -> Vec<String> {
    let names = ARCHITECTURES.iter().map(|name| format!("SCMP_ARCH_{name}"));
    names.filter(|name| taken(config(name))).collect()
}

fn mount_options() -> Vec<String> {
    let single = SINGLE_OPTIONS.iter().map(|name| (*name).to_owned());
    let all = known_mount_options().chain(single);
    let mut names: Vec<String> = all
        .filter(|name| {
            let mapped = name.ends_with("idmap");
            let kind = if mapped { "none" } else { "tmpfs" };
            let mut mount = json!({"destination": "/m", "type": kind, "source": "/s"});
            mount["options"] = json!([name]);
            if mapped {
                mount["options"] = json!(["bind", name]);
                add_mappings(&mut mount);
            }
            taken(with("/mounts", json!([mount])))
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn takes_mappings_of_mounts() -> bool {
    let mut mount = json!({"destination": "/m", "source": "/s", "options": ["bind"]});
    add_mappings(&mut mount);
    taken(with("/mounts", json!([mount])))
}

fn add_mappings(mount: &mut Value) {
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    mount["uidMappings"] = mapping.clone();
    mount["gidMappings"] = mapping;
}

/// With systemd's form of cgroup paths come annotations that set properties of units.
fn unsafe_annotations() -> Vec<&'static str> {
    let all = takes_systemd_paths().then_some("org.systemd.property.");
    all.into_iter().collect()
}

fn takes_systemd_paths() -> bool {
    taken(with("/linux/cgroupsPath", json!("system.slice:reeve:a")))
}

/// Those of the names with which a configuration is taken.
fn those(names: &[&'static str], config: impl Fn(&str) -> Value) -> Vec<&'static str> {
    let names = names.iter().copied();
    names.filter(|name| taken(config(name))).collect()
}

/// Whether the parser takes a configuration.
fn taken(config: Value) -> bool {
    let raw = serde_json::from_value(config);
    raw.is_ok_and(|raw| Spec::check(&raw, Path::new("/")).is_ok())
}

/// A small configuration, with one more key.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = json!({
        "ociVersion": OCI_VERSION,
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]},
    });
    let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = config.pointer_mut(parent) {
        parent[name] = value;
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &Value) -> Vec<&str> {
        let names = value.as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap()).collect()
    }

    #[test]
    fn the_configuration_that_keys_are_added_to_is_good() {
        assert!(taken(with("/hostname", json!(""))));
        assert!(!taken(with("/process/cwd", json!("relative"))));
    }

    #[test]
    fn what_every_version_has_carried_out() {
        let document = document();
        let linux = &document["linux"];
        for name in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
            assert!(names(&linux["namespaces"]).contains(&name), "{name}");
        }
        assert_eq!(names(&linux["capabilities"]).len(), 41);
        assert!(names(&linux["capabilities"]).contains(&"CAP_CHECKPOINT_RESTORE"));
        let options = names(&document["mountOptions"]);
        for name in ["bind", "ro", "rro", "rnoatime", "rslave", "private", "sync"] {
            assert!(options.contains(&name), "{name}");
        }
        assert!(options.is_sorted());
    }

    /// What the parser refuses by name must not be promised, and the other way round.
    #[test]
    fn nothing_is_promised_that_is_refused() {
        let document = document();
        let linux = &document["linux"];
        for (promised, pointer, value) in [
            (
                &linux["seccomp"]["enabled"],
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            ),
            (
                &linux["apparmor"]["enabled"],
                "/process/apparmorProfile",
                json!("a"),
            ),
            (
                &linux["cgroup"]["systemd"],
                "/linux/cgroupsPath",
                json!("system.slice:reeve:a"),
            ),
        ] {
            assert_eq!(promised, &json!(taken(with(pointer, value))), "{pointer}");
        }
        for name in HOOKS {
            let hooks = json!({*name: [{"path": "/bin/true"}]});
            let promised = names(&document["hooks"]).contains(name);
            assert_eq!(promised, taken(with("/hooks", hooks)), "{name}");
        }
    }

    #[test]
    fn the_keys_are_those_of_the_specification() {
        let document = document();
        let keys: Vec<&str> = document
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "annotations",
                "hooks",
                "linux",
                "mountOptions",
                "ociVersionMax",
                "ociVersionMin",
                "potentiallyUnsafeConfigAnnotations"
            ]
        );
        assert!(document["linux"]["mountExtensions"]["idmap"]["enabled"].is_boolean());
    }
}
