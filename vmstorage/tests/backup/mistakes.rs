//! What goes wrong, and what is said of it.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{Running, World};

#[test]
fn a_restore_that_was_killed_leaves_no_image() {
    let world = World::new();
    world.disk("disk.raw", 48 << 20, 48 << 20, 12);
    world.backup(&["disk.raw", "repo"]);
    let restore = ["backup", "restore", "repo", "latest", "r.raw"];
    let mut command = world.command(env!("CARGO_BIN_EXE_vmstorage"), &restore);
    let mut running = Running(command.stdout(Stdio::null()).spawn().unwrap());
    while !world.at("r.raw.partial").exists() {
        assert!(running.0.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert!(world.at("r.raw.partial").exists() && !world.at("r.raw").exists());
    world.ok(&restore);
    world.same("disk.raw", "raw", "r.raw");
    assert!(!world.at("r.raw.partial").exists());
    let (_, _, message) = world.refused(&restore);
    assert!(message.contains("name another"), "{message}");
    // As another source that is named by its point.
    world.ok(&["image", "compare", "backup:repo#latest", "r.raw"]);
}

#[test]
fn what_is_wrong_with_a_repository_says_what_to_do() {
    let world = World::new();
    world.disk("disk.raw", 1 << 20, 1 << 20, 13);
    let refused = |args: &[&str], wanted: &str| {
        let (_, _, message) = world.refused(args);
        assert!(message.contains(wanted), "{args:?}: {message}");
    };
    refused(&["backup", "run", "none.raw", "repo"], "No such file");
    let odd = ["backup", "run", "disk.raw", "repo", "--chunk-size", "5K"];
    refused(&odd, "power of two");
    refused(&["backup", "run", "disk.raw", "repo", "--disk", ""], "name");
    refused(&["backup", "run", "disk.raw", "gs://b/p"], "s3://");
    assert!(!world.at("repo").exists() && !world.at("gs:").exists());
    fs::write(world.at("long"), [1; 33]).unwrap();
    let key = ["backup", "list", "repo", "--encrypt-key", "long"];
    let (_, _, message) = world.refused(&key);
    assert!(!message.contains("/dev/urandom"), "{message}");

    let point = world.backup(&["disk.raw", "repo"]);
    refused(&["backup", "list", "repo", "--plain"], "leave out");
    // What is no point hides no other, but nothing is removed while it is there.
    fs::write(world.at("repo/snapshots/README"), b"points").unwrap();
    let listed: Value =
        serde_json::from_str(&world.ok(&["backup", "list", "repo", "--json"])).unwrap();
    assert_eq!(listed[0]["id"], point["id"]);
    world.ok(&["backup", "restore", "repo", "latest", "r.raw"]);
    refused(&["backup", "prune", "repo", "--keep-last", "1"], "README");
    fs::rename(world.at("repo/config"), world.at("kept")).unwrap();
    refused(&["backup", "run", "disk.raw", "repo"], "bring it back");
    let (status, out, _) = world.refused(&["backup", "verify", "repo"]);
    assert!(status == 1 && out.contains("`config`"), "{out}");
}
