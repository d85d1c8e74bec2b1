//! Whole containers for tests that need root: a bundle, and a script of the host that runs `reeve`
//! in namespaces of its own.
//!
//! The script is the first process of a pid namespace, so whatever it leaves running ends with it,
//! and its mounts are those of a mount namespace.

mod bundle;

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use bundle::bundle;

/// Seconds after which a script is ended: a test that hangs has failed.
const LIMIT: &str = "120";

/// What the script begins with. `$R` is `reeve` with its state below `$DIR`, `$B` the bundle, `$ID`
/// a name for the container.
const PROLOGUE: &str = "set -u; export LC_ALL=C\n";

/// Takes the cgroups away: most tests are not about them, and leave none behind.
const WITHOUT_CGROUPS: &str = "umount -l /sys/fs/cgroup 2> /dev/null\n";

/// A bundle whose container has the programs of the host, read-only.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    name: String,
    cgroups: bool,
    /// Becomes `config.json`.
    pub(crate) config: Value,
}

impl Scene {
    /// Without cgroups.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let (dir, mut config) = bundle();
        fs::write(dir.path().join("marker"), "of the host\n").unwrap();
        // `$MARK` is a file of the host that no container has.
        let mark = format!("MARK={}", dir.path().join("marker").display());
        let env = config["process"]["env"].as_array_mut().unwrap();
        env.extend([json!("LC_ALL=C"), json!(mark)]);
        let mut scene = Self {
            dir,
            name: format!("escapes-{}-{count}", std::process::id()),
            cgroups: false,
            config,
        };
        scene.capabilities(&["CAP_DAC_OVERRIDE", "CAP_KILL"]);
        scene
    }

    /// As [`Self::new`], with the cgroups of the host.
    pub(crate) fn with_cgroups() -> Self {
        Self {
            cgroups: true,
            ..Self::new()
        }
    }

    /// The name of the container.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path of the host below `$DIR`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A path of the host in the root file system of the container.
    pub(crate) fn rootfs(&self, path: &str) -> PathBuf {
        self.path("bundle/rootfs").join(path)
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Takes the mount at a place out.
    pub(crate) fn without_mount(&mut self, destination: &str) {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != destination);
    }

    /// Gives the container these capabilities, and no others.
    pub(crate) fn capabilities(&mut self, names: &[&str]) {
        self.config["process"]["capabilities"] =
            json!({ "bounding": names, "permitted": names, "effective": names });
    }

    /// Gives the container a user namespace.
    pub(crate) fn user_namespace(&mut self) {
        self.namespace(json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        self.config["linux"]["uidMappings"] = map.clone();
        self.config["linux"]["gidMappings"] = map;
        chown(self.rootfs(""), Some(100_000), Some(100_000)).unwrap();
    }

    /// Adds a namespace, or puts it in the place of another of its kind.
    pub(crate) fn namespace(&mut self, namespace: Value) {
        let all = &mut self.config["linux"]["namespaces"];
        let all = all.as_array_mut().unwrap();
        all.retain(|one| one["type"] != namespace["type"]);
        all.push(namespace);
    }

    /// Makes a shell command the program of the container.
    pub(crate) fn shell(&mut self, command: &str) {
        self.config["process"]["args"] = json!(["/bin/sh", "-c", command]);
    }

    /// Writes `config.json` as it is now.
    pub(crate) fn save(&self) {
        fs::write(self.path("bundle/config.json"), self.config.to_string()).unwrap();
    }

    /// Runs a script of the host.
    pub(crate) fn script(&self, script: &str) -> Output {
        self.save();
        self.bare_script(script)
    }

    /// Runs a script of the host beside the `config.json` that is there.
    pub(crate) fn bare_script(&self, script: &str) -> Output {
        let without = if self.cgroups { "" } else { WITHOUT_CGROUPS };
        let dir = self.dir.path().display();
        let reeve = env!("CARGO_BIN_EXE_reeve");
        Command::new("timeout")
            .args(["-k", "5", LIMIT, "unshare", "--mount", "--net", "--pid"])
            .args(["--fork", "--kill-child", "--mount-proc", "sh", "-c"])
            .arg(format!("{PROLOGUE}{without}{script}"))
            .env("R", format!("{reeve} --root {dir}/state"))
            .env("REEVE", reeve)
            .env("DIR", self.dir.path())
            .env("B", self.path("bundle"))
            .env("ID", &self.name)
            .env("MARK", self.path("marker"))
            .output()
            .unwrap()
    }

    /// What a script of the host prints; it has to succeed.
    pub(crate) fn said(&self, script: &str) -> String {
        let output = self.script(script);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error of a container that must not come to run.
    pub(crate) fn refused(&self) -> String {
        let output = self.script("exec $R run -b $B $ID < /dev/null");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "it ran: {output:?}");
        assert!(
            !self.path("state").join(&self.name).exists(),
            "state is left"
        );
        String::from_utf8(output.stderr).unwrap()
    }
}
