//! An OCI bundle: a root file system and a `config.json` that holds nothing back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::Context as _;
use crate::{Error, rootfs};

/// What a bundle's `config.json` says. The default is the least confined container there is, except
/// for namespaces of its own: every capability in every set, the host's `/` at `/host`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The entry process.
    pub args: Vec<String>,
    /// Its environment, beside `PATH`.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: String,
    /// Its user and group.
    pub uid: u32,
    /// All capabilities in all sets, or none.
    pub capabilities: bool,
    /// The host's pid namespace instead of one of its own.
    pub host_pid: bool,
    /// The host's ipc namespace instead of one of its own.
    pub host_ipc: bool,
    /// A network namespace of its own instead of the host's.
    pub own_net: bool,
    /// The host's UTS namespace, and so its name, instead of one of its own.
    pub host_uts: bool,
    /// The host's cgroup namespace instead of one of its own.
    pub host_cgroup: bool,
    /// The host's `/` at `/host`.
    pub host: bool,
    /// That with all that is mounted below, or the bare file system.
    pub host_recursive: bool,
    /// `/proc`, `/dev`, `/dev/pts` and `/sys`.
    pub usual_mounts: bool,
    /// A terminal for the entry process.
    pub terminal: bool,
    /// Soft and hard limit by name.
    pub rlimits: Vec<(String, u64, u64)>,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// The root read-only.
    pub readonly_root: bool,
    /// Below which cgroup; the runtime's default if `None`.
    pub cgroup: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            args: vec!["/probe".to_owned(), "script".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            uid: 0,
            capabilities: true,
            host_pid: false,
            host_ipc: false,
            own_net: false,
            host_uts: false,
            host_cgroup: false,
            host: true,
            host_recursive: true,
            usual_mounts: true,
            terminal: false,
            rlimits: Vec::new(),
            no_new_privileges: false,
            readonly_root: false,
            cgroup: None,
        }
    }
}

/// Capabilities 0 to 40 (`include/uapi/linux/capability.h`), in order.
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID \
    SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER \
    SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE \
    SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN \
    SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

impl Config {
    /// The text of `config.json`.
    pub fn to_json(&self) -> Value {
        let capabilities: Vec<String> = match self.capabilities {
            true => CAPABILITIES
                .split_whitespace()
                .map(|name| format!("CAP_{name}"))
                .collect(),
            false => Vec::new(),
        };
        let mut env = vec!["PATH=/bin:/usr/bin:/sbin:/usr/sbin:/".to_owned()];
        env.extend(self.env.iter().cloned());
        let limits: Vec<Value> = self
            .rlimits
            .iter()
            .map(|(name, soft, hard)| json!({ "type": name, "soft": soft, "hard": hard }))
            .collect();
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": {
                "terminal": self.terminal,
                "user": { "uid": self.uid, "gid": self.uid },
                "args": self.args,
                "env": env,
                "cwd": self.cwd,
                "noNewPrivileges": self.no_new_privileges,
                "capabilities": {
                    "bounding": capabilities,
                    "effective": capabilities,
                    "permitted": capabilities,
                    "inheritable": capabilities,
                    "ambient": capabilities,
                },
            },
            "root": { "path": "rootfs", "readonly": self.readonly_root },
            "mounts": self.mounts(),
            "linux": { "namespaces": self.namespaces() },
        });
        if !self.host_uts {
            config["hostname"] = json!("reeve-test");
        }
        if !limits.is_empty() {
            config["process"]["rlimits"] = Value::Array(limits);
        }
        if let Some(cgroup) = &self.cgroup {
            config["linux"]["cgroupsPath"] = json!(cgroup);
        }
        config
    }

    fn namespaces(&self) -> Vec<Value> {
        let shared: &[(&str, bool)] = &[
            ("mount", false),
            ("pid", self.host_pid),
            ("ipc", self.host_ipc),
            ("uts", self.host_uts),
            ("cgroup", self.host_cgroup),
            ("network", !self.own_net),
        ];
        let own = shared.iter().filter(|(_, shared)| !shared);
        own.map(|(kind, _)| json!({ "type": kind })).collect()
    }

    fn mounts(&self) -> Vec<Value> {
        let mount = |at: &str, kind: &str, source: &str, options: &[&str]| {
            let options = options.to_vec();
            json!({ "destination": at, "type": kind, "source": source, "options": options })
        };
        let mut mounts = Vec::new();
        if self.usual_mounts {
            let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
            let pts = [
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ];
            mounts.push(mount("/proc", "proc", "proc", &[]));
            mounts.push(mount("/dev", "tmpfs", "tmpfs", &dev));
            mounts.push(mount("/dev/pts", "devpts", "devpts", &pts));
            mounts.push(mount(
                "/sys",
                "sysfs",
                "sysfs",
                &["nosuid", "noexec", "nodev", "ro"],
            ));
        }
        if self.host {
            let bind = if self.host_recursive { "rbind" } else { "bind" };
            mounts.push(mount("/host", "bind", "/", &[bind, "rw", "rprivate"]));
        }
        mounts
    }

    /// Writes the bundle: its root and its `config.json`.
    pub fn write(&self, directory: &Path) -> Result<PathBuf, Error> {
        let root = directory.join("rootfs");
        rootfs::make(&root)?;
        self.write_json(directory)?;
        Ok(root)
    }

    /// Writes `config.json` only.
    pub fn write_json(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join("config.json");
        fs::write(&path, format!("{:#}\n", self.to_json())).call("write", &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_holds_nothing_back() {
        let config = Config::default().to_json();
        let sets = &config["process"]["capabilities"];
        for set in [
            "bounding",
            "effective",
            "permitted",
            "inheritable",
            "ambient",
        ] {
            let names = sets[set].as_array().unwrap();
            assert_eq!(names.len(), 41, "{set}");
            assert_eq!(names[21], "CAP_SYS_ADMIN");
        }
        assert_eq!(config["mounts"][4]["destination"], "/host");
        assert!(config["linux"]["maskedPaths"].is_null());
    }

    #[test]
    fn the_host_pid_namespace_is_no_namespace_of_its_own() {
        let config = Config {
            host_pid: true,
            ..Config::default()
        }
        .to_json();
        let kinds: Vec<_> = config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        assert!(kinds.iter().all(|namespace| namespace["type"] != "pid"));
        assert_eq!(kinds.len(), 4);
    }
}
