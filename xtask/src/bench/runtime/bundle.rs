//! Bundles: one root file system for all, one `config.json` for each container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::paths;

/// What ends at once.
pub(crate) const TRUE: &str = "/bin/true";

/// What stays until it is killed; longer than any benchmark.
pub(crate) const SLEEP: [&str; 2] = ["/bin/sleep", "86400"];

/// Programs of the root, all of them busybox.
const PROGRAMS: [&str; 3] = ["true", "sleep", "sh"];

/// Mount points; the root is read-only for its container.
const DIRECTORIES: [&str; 6] = ["bin", "dev", "etc", "proc", "sys", "tmp"];

/// Makes a root file system out of a statically linked busybox.
pub(crate) fn make_rootfs(root: &Path, busybox: &Path) -> Result<()> {
    for name in DIRECTORIES {
        paths::create_dir(&root.join(name))?;
    }
    let program = root.join("bin/busybox");
    fs::copy(busybox, &program).with_context(|| format!("copy `{}`", busybox.display()))?;
    for name in PROGRAMS {
        let link = root.join("bin").join(name);
        symlink("busybox", &link).with_context(|| format!("symlink `{}`", link.display()))?;
    }
    Ok(())
}

/// A container's `config.json` to be.
pub(crate) struct Bundle<'a> {
    /// What `runc spec` wrote.
    pub(crate) spec: &'a Value,
    /// The root file system: absolute.
    pub(crate) rootfs: &'a Path,
    /// Path of the container's cgroup.
    pub(crate) cgroup: String,
    /// The entry process.
    pub(crate) args: &'a [&'a str],
    /// Memory limit in bytes.
    pub(crate) memory: Option<u64>,
}

impl Bundle<'_> {
    /// Writes the bundle into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        paths::create_dir(dir)?;
        let path = dir.join("config.json");
        let text = serde_json::to_string_pretty(&self.config())?;
        fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
        Ok(dir.to_owned())
    }

    fn config(&self) -> Value {
        let mut config = self.spec.clone();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(self.args);
        config["root"]["path"] = json!(self.rootfs);
        config["linux"]["cgroupsPath"] = json!(self.cgroup);
        if let Some(limit) = self.memory {
            config["linux"]["resources"]["memory"] = json!({ "limit": limit });
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::Bundle;

    #[test]
    fn only_what_the_benchmark_needs_differs_from_the_default() {
        let spec = json!({
            "process": { "terminal": true, "args": ["sh"], "cwd": "/" },
            "root": { "path": "rootfs", "readonly": true },
            "linux": { "resources": { "devices": [] } },
        });
        let bundle = Bundle {
            spec: &spec,
            rootfs: Path::new("/r"),
            cgroup: "/g/a".to_owned(),
            args: &["/bin/true"],
            memory: Some(1024),
        };
        let expected = json!({
            "process": { "terminal": false, "args": ["/bin/true"], "cwd": "/" },
            "root": { "path": "/r", "readonly": true },
            "linux": {
                "resources": { "devices": [], "memory": { "limit": 1024 } },
                "cgroupsPath": "/g/a",
            },
        });
        assert_eq!(bundle.config(), expected);
    }
}
