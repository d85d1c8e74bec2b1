//! A container with the programs of the host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

/// Hosts have at least these directories, or links to them.
const SYSTEM: [&str; 5] = ["/usr", "/lib", "/lib64", "/bin", "/sbin"];

/// A directory with `bundle/rootfs`, and the configuration of a container that has the programs of
/// the host, read-only, and no limits: most of these tests have no cgroups.
///
/// # Panics
/// Without root, which these tests are about.
pub(crate) fn bundle() -> (tempfile::TempDir, Value) {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests need root: run them with `sudo`"
    );
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("bundle/rootfs")).unwrap();
    let text = include_str!("../../src/plan/golden/basic.json");
    let mut config: Value = serde_json::from_str(text).unwrap();
    config["root"] = json!({ "path": "rootfs" });
    config["process"]["rlimits"] = json!([]);
    config["process"]["env"] = json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    config["linux"]["resources"] = json!({});
    let mounts = config["mounts"].as_array_mut().unwrap();
    let system = SYSTEM.map(Path::new).into_iter();
    mounts.extend(system.filter(|path| path.exists()).map(|path| {
        json!({
            "destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"],
        })
    }));
    (dir, config)
}
