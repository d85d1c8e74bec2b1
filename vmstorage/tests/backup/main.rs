//! `vmstorage backup` as a user has it: with a served disk, its checkpoints, and QEMU's tools.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

mod bucket;
mod mistakes;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A folder in which programs run.
struct World {
    folder: tempfile::TempDir,
    /// Variables that programs see; none of this process that begin with `AWS_`.
    variables: Vec<(&'static str, String)>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables = Vec::new();
        Self { folder, variables }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let output = self.command(program, args).output();
        output.unwrap_or_else(|error| panic!("{program} has to be installed: {error}"))
    }

    /// Standard output of a program that does what it is told.
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        let (out, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8_lossy(out).into_owned();
        assert!(output.status.success(), "{program} {args:?}: {out}{errors}");
        out
    }

    fn ok(&self, args: &[&str]) -> String {
        self.tool(env!("CARGO_BIN_EXE_vmstorage"), args)
    }

    /// Status, standard output and messages of a command that does not.
    fn refused(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.run(env!("CARGO_BIN_EXE_vmstorage"), args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code().unwrap();
        assert_ne!(status, 0, "{args:?}: {}", text(&output.stdout));
        (status, text(&output.stdout), text(&output.stderr))
    }

    /// The point that a run makes.
    fn backup(&self, args: &[&str]) -> Value {
        let text = self.ok(&[&["backup", "run", "--json"], args].concat());
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "done");
        last["point"].clone()
    }

    /// A raw disk with random bytes in its beginning.
    fn disk(&self, name: &str, size: usize, random: usize, seed: u64) {
        let mut bytes = vec![0; random];
        StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
        let file = File::create(self.at(name)).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.set_len(size as u64).unwrap();
    }

    fn start(&self, args: &[&str], wait_for: &[&str]) -> Running {
        let mut command = self.command(env!("CARGO_BIN_EXE_vmstorage"), args);
        let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        // A socket is there a moment before anybody listens.
        let listens = |name: &&str| UnixStream::connect(self.at(name)).is_ok();
        while !wait_for.iter().all(listens) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{args:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    fn serve(&self) -> Running {
        self.serve_with(&[])
    }

    fn serve_with(&self, more: &[&str]) -> Running {
        let args = ["serve", "disk.raw", "--track", "--listen", "unix:nbd"];
        let control = ["--control", "ctl"];
        self.start(&[&args[..], &control, more].concat(), &["ctl", "nbd"])
    }

    fn checkpoint(&self, what: &str, name: &str) {
        self.ok(&["ctl", "--control", "ctl", "checkpoint", what, name]);
    }

    /// Writes as a guest does.
    fn write(&self, commands: &[&str]) {
        let mut args = vec!["-f", "raw"];
        args.extend(commands.iter().flat_map(|command| ["-c", command]));
        args.push("nbd+unix:///disk?socket=nbd");
        self.tool("qemu-io", &args);
    }

    fn same(&self, one: &str, format: &str, other: &str) {
        let args = ["compare", "-f", "raw", "-F", format, one, other];
        self.tool("qemu-img", &args);
    }

    /// The only file, or the first, of a folder.
    fn first(&self, folder: &str) -> PathBuf {
        let mut all: Vec<_> = fs::read_dir(self.at(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        all.sort();
        all.remove(0)
    }
}

/// Checkpoints are backed up while the guest goes on, the second by what changed between them.
fn two_points(world: &World) -> (String, String) {
    world.disk("disk.raw", 64 * MIB, 4 * MIB, 1);
    let _serving = world.serve();
    world.write(&["write -P 1 10M 1M", "write -P 2 20M 64k"]);
    world.checkpoint("create", "a");
    world.checkpoint("export", "a");
    let source = |name: &str| format!("nbd+unix:///disk@{name}?socket=nbd");
    let copy = |name: &str| {
        let (from, to) = (source(name), format!("{name}.raw"));
        world.tool(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "raw", &from, &to],
        );
    };
    world.write(&["write -P 9 10M 64k"]);
    copy("a");
    let full = world.backup(&[&source("a"), "repo"]);
    assert_eq!(full["reference"], "a");
    world.checkpoint("convert", "a");
    world.write(&["write -P 3 1M 4k", "write -z 10M 256k", "write -P 4 63M 1M"]);
    world.checkpoint("create", "b");
    world.checkpoint("export", "b");
    world.write(&["write -P 5 30M 64k"]);
    copy("b");
    let next = world.backup(&[&source("b"), "repo", "--since", "a"]);
    assert_eq!(next["parent"], full["id"]);
    assert_eq!(next["reference"], "b");
    assert!(next["read_bytes"].as_u64().unwrap() <= 2 << 20, "{next}");
    let (status, _, message) =
        world.refused(&["backup", "run", &source("b"), "repo", "--since", "nothing"]);
    assert_eq!(status, 3, "{message}");
    assert!(message.contains("help: run once"), "{message}");
    // The repository knows the point, the server does not.
    world.ok(&[
        "backup",
        "run",
        &source("b"),
        "repo2",
        "--reference",
        "lost",
    ]);
    let args = ["backup", "run", &source("b"), "repo2", "--since", "lost"];
    let (status, _, message) = world.refused(&args);
    assert_eq!(status, 3, "{message}");
    assert!(message.contains("reeve:changes:lost"), "{message}");
    let id = |point: &Value| point["id"].as_str().unwrap().to_owned();
    (id(&full), id(&next))
}

#[test]
fn points_of_a_served_disk_come_back_in_all_formats() {
    let world = World::new();
    let (full, next) = two_points(&world);
    let table = world.ok(&["backup", "list", "repo"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].starts_with("POINT"), "{table}");
    assert!(
        rows[1].starts_with(&full[..8]) && rows[1].ends_with(" a"),
        "{table}"
    );
    assert!(
        rows[2].starts_with(&next[..8]) && rows[2].contains(&full[..8]),
        "{table}"
    );
    let list: Value =
        serde_json::from_str(&world.ok(&["backup", "list", "repo", "--json"])).unwrap();
    assert_eq!(list[1]["parent"], full.as_str());
    for (file, format) in [("r.raw", "raw"), ("r.qcow2", "qcow2"), ("r.vhdx", "vhdx")] {
        world.ok(&["backup", "restore", "repo", &full[..8], file]);
        world.same("a.raw", format, file);
        fs::remove_file(world.at(file)).unwrap();
        world.ok(&["backup", "restore", "repo", "latest", file]);
        world.same("b.raw", format, file);
        let (status, _, message) = world.refused(&["backup", "restore", "repo", &full, file]);
        assert_eq!(status, 4, "what exists is not touched: {message}");
        world.same("b.raw", format, file);
    }
    world.ok(&["backup", "verify", "repo"]);
    // Either point is whole without the other.
    world.ok(&["backup", "prune", "repo", "--keep-last", "1"]);
    let mount = ["backup", "mount", "repo", "latest", "--listen", "unix:look"];
    let mut mounted = world.start(&mount, &["look"]);
    world.same("b.raw", "raw", "nbd+unix:///disk?socket=look");
    world.tool("nbdcopy", &["nbd+unix:///?socket=look", "copy.raw"]);
    world.same("b.raw", "raw", "copy.raw");
    world.tool("kill", &["-TERM", &mounted.0.id().to_string()]);
    assert!(mounted.0.wait().unwrap().success());
    assert!(!world.at("look").exists());
}

#[test]
fn a_closed_disk_is_backed_up_by_its_map() {
    let world = World::new();
    world.disk("disk.raw", 16 * MIB, 2 * MIB, 2);
    world.ok(&["refpoint", "create", "disk.raw", "a"]);
    world.backup(&["disk.raw", "repo", "--reference", "a"]);
    let mut serving = world.serve();
    world.write(&["write -P 7 8M 128k"]);
    world.ok(&["ctl", "--control", "ctl", "quit"]);
    assert!(serving.0.wait().unwrap().success());
    let next = world.backup(&["disk.raw", "repo", "--since", "a"]);
    assert_eq!(next["read_bytes"], 128 << 10);
    let told = world.ok(&["backup", "restore", "repo", "latest", "r.raw", "--json"]);
    world.same("disk.raw", "raw", "r.raw");
    let events = told.lines().map(|line| serde_json::from_str(line).unwrap());
    let events: Vec<Value> = events.collect();
    let last = &events[events.len() - 2];
    assert_eq!(last["event"], "progress");
    assert_eq!(last["total_bytes"], 16 * MIB);
    assert_eq!(last["done_bytes"], last["total_bytes"]);
    let sum = last["written_bytes"].as_u64().unwrap() + last["zero_bytes"].as_u64().unwrap();
    assert_eq!(sum, 16 << 20, "{told}");
}

#[test]
fn a_name_that_was_given_again_is_not_taken_for_the_first_point() {
    let world = World::new();
    world.disk("disk.raw", 16 * MIB, 2 * MIB, 5);
    let exports = |name: &str| format!("nbd+unix:///disk@{name}?socket=nbd");
    let mut serving = world.serve();
    let checkpoint = |what: &str, name: &str| world.checkpoint(what, name);
    checkpoint("create", "a");
    checkpoint("export", "a");
    let full = world.backup(&[&exports("a"), "repo"]);
    checkpoint("convert", "a");
    // An increment since this point is right.
    checkpoint("create", "b");
    checkpoint("export", "b");
    world.write(&["write -P 1 4M 64k"]);
    let next = world.backup(&[&exports("b"), "repo", "--since", "a"]);
    assert_eq!(next["parent"], full["id"]);
    assert_eq!(next["read_bytes"], 0);
    // What is written now changed since the first point of the name, and not since the second.
    world.ok(&["refpoint", "delete", "--control", "ctl", "disk", "a"]);
    checkpoint("create", "a");
    checkpoint("convert", "a");
    checkpoint("create", "c");
    checkpoint("export", "c");
    let increment = ["backup", "run", &exports("c"), "repo", "--since", "a"];
    let (status, _, message) = world.refused(&increment);
    assert_eq!(status, 3, "{message}");
    assert!(message.contains("help: run without `--since`"), "{message}");
    world.ok(&["ctl", "--control", "ctl", "quit"]);
    assert!(serving.0.wait().unwrap().success());
    let closed = [
        "backup", "run", "disk.raw", "repo", "--disk", "disk", "--since", "a",
    ];
    let (status, _, message) = world.refused(&closed);
    assert_eq!(status, 3, "{message}");
    // The same of points that only the map of a closed disk knows.
    world.backup(&["disk.raw", "repo2", "--reference", "a"]);
    world.backup(&["disk.raw", "repo2", "--since", "a", "--reference", "a"]);
    world.ok(&["refpoint", "delete", "disk.raw", "a"]);
    world.ok(&["refpoint", "create", "disk.raw", "a"]);
    let (status, _, message) =
        world.refused(&["backup", "run", "disk.raw", "repo2", "--since", "a"]);
    assert_eq!(status, 3, "{message}");
    let (status, _, message) = world.refused(&["backup", "run", "disk.raw", "no", "--since", "a"]);
    assert!(status != 0 && !world.at("no").exists(), "{message}");
}

#[test]
fn a_point_that_is_made_after_the_backup_that_refers_to_it_is_no_beginning() {
    let world = World::new();
    world.disk("disk.raw", 16 * MIB, 2 * MIB, 6);
    world.backup(&["disk.raw", "repo", "--reference", "late"]);
    let write = ["-f", "raw", "-c", "write -P 9 1M 64k", "disk.raw"];
    world.tool("qemu-io", &write);
    world.ok(&["refpoint", "create", "disk.raw", "late"]);
    let refused = |source: &str| {
        let (status, _, message) =
            world.refused(&["backup", "run", source, "repo", "--since", "late"]);
        assert_eq!(status, 3, "{message}");
        assert!(message.contains("had none when"), "{message}");
    };
    refused("disk.raw");
    let _serving = world.serve();
    world.checkpoint("create", "now");
    world.checkpoint("export", "now");
    refused("nbd+unix:///disk@now?socket=nbd");
}

#[test]
fn a_dirty_bitmap_of_qemu_tells_changes() {
    let world = World::new();
    world.disk("disk.raw", 16 * MIB, 2 * MIB, 8);
    world.tool(
        "qemu-img",
        &["convert", "-O", "qcow2", "disk.raw", "q.qcow2"],
    );
    let full = ["q.qcow2", "repo", "--disk", "disk", "--reference", "b0"];
    world.backup(&full);
    world.tool(
        "qemu-img",
        &["bitmap", "--add", "-g", "4096", "q.qcow2", "b0"],
    );
    world.tool("qemu-io", &["-c", "write -P 7 1M 12k", "q.qcow2"]);
    let socket = world.at("q.sock");
    let args = [
        "-r",
        "-t",
        "-B",
        "b0",
        "-k",
        socket.to_str().unwrap(),
        "q.qcow2",
    ];
    let served = Running(world.command("qemu-nbd", &args).spawn().unwrap());
    let begun = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no server");
        std::thread::sleep(Duration::from_millis(5));
    }
    let next = world.backup(&["nbd+unix:///?socket=q.sock", "repo", "--since", "b0"]);
    assert_eq!(next["read_bytes"], 12 << 10);
    drop(served);
    world.ok(&["backup", "restore", "repo", "latest", "r.raw"]);
    let args = ["compare", "-f", "qcow2", "-F", "raw", "q.qcow2", "r.raw"];
    world.tool("qemu-img", &args);
}

#[test]
fn a_wrong_byte_is_named_and_not_restored() {
    let world = World::new();
    world.disk("disk.raw", 8 * MIB, 2 * MIB, 3);
    let point = world.backup(&["disk.raw", "repo"]);
    let pack = world.first("repo/packs");
    let file = File::options().read(true).write(true).open(&pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 300_000).unwrap();
    let (status, problems, _) = world.refused(&["backup", "verify", "repo", "--json"]);
    assert_eq!(status, 1);
    let events: Vec<Value> = problems
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "progress");
    assert_eq!(events[0]["done_bytes"], events[0]["total_bytes"]);
    let problems = &events.last().unwrap()["problems"];
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert_eq!(problems[0]["object"], format!("packs/{name}"));
    assert_eq!(problems[0]["hits"][0][0], point["id"]);
    let bytes = &problems[0]["bytes"];
    assert!(bytes[0].as_u64().unwrap() <= 300_000 && bytes[1].as_u64().unwrap() > 300_000);
    let (status, _, message) = world.refused(&["backup", "restore", "repo", "latest", "r.raw"]);
    assert_eq!(status, 4);
    assert!(message.contains(name), "{message}");
    assert!(!world.at("r.raw").exists(), "half an image was left");
    fs::write(world.at("repo/config"), b"RVBACKUP").unwrap();
    let (status, out, _) = world.refused(&["backup", "verify", "repo"]);
    assert!(status == 1 && out.contains("`config`"), "{out}");
}

#[test]
fn an_encrypted_repository_needs_its_key() {
    let world = World::new();
    world.disk("disk.raw", 4 * MIB, 0, 4);
    let file = File::options()
        .write(true)
        .open(world.at("disk.raw"))
        .unwrap();
    file.write_all_at(&b"secret words ".repeat(1000), MIB as u64)
        .unwrap();
    fs::write(world.at("key"), [1; 32]).unwrap();
    fs::write(world.at("wrong"), [2; 32]).unwrap();
    let run = ["backup", "run", "disk.raw", "repo", "--encrypt-key", "key"];
    world.ok(&run);
    world.ok(&[
        "backup",
        "restore",
        "repo",
        "latest",
        "r.raw",
        "--encrypt-key",
        "key",
    ]);
    world.same("disk.raw", "raw", "r.raw");
    for key in [&["--encrypt-key", "wrong"][..], &[]] {
        for command in [
            &["run", "disk.raw", "repo"][..],
            &["list", "repo"],
            &["verify", "repo"],
        ] {
            let (status, _, message) = world.refused(&[&["backup"], command, key].concat());
            assert!(status == 4 && message.contains("key"), "{message}");
        }
    }
    let (_, _, message) = world.refused(&["backup", "list", "nowhere"]);
    assert!(message.contains("nowhere") && !world.at("nowhere").exists());
}

#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    let world = World::new();
    world.disk("disk.raw", 48 * MIB, 48 * MIB, 5);
    // So slow that it cannot be done before it is killed.
    let slow = [
        "serve",
        "disk.raw",
        "--read-only",
        "--listen",
        "unix:nbd",
        "--bandwidth",
        "16M",
    ];
    let serving = world.start(&slow, &["nbd"]);
    let mut command = world.command(
        env!("CARGO_BIN_EXE_vmstorage"),
        &["backup", "run", "nbd+unix:///disk?socket=nbd", "repo"],
    );
    let mut running = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let packs = || fs::read_dir(world.at("repo/packs")).map_or(0, Iterator::count);
    while packs() < 1 {
        assert!(running.0.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.0.kill().unwrap();
    assert!(!running.0.wait().unwrap().success());
    drop(serving);
    fs::write(world.at("repo/.new-left"), b"half").unwrap();
    assert_eq!(world.ok(&["backup", "list", "repo", "--json"]), "[]\n");
    let point = world.backup(&["disk.raw", "repo"]);
    let again = point["deduplicated_bytes"].as_u64().unwrap();
    assert!(again >= 16 << 20, "{again} bytes were there already");
    world.ok(&["backup", "verify", "repo"]);
    let pruned = world.ok(&["backup", "prune", "repo", "--keep-last", "1", "--json"]);
    let pruned: Value = serde_json::from_str(&pruned).unwrap();
    assert!(
        pruned["leftovers"]
            .as_array()
            .unwrap()
            .contains(&".new-left".into())
    );
    assert!(!world.at("repo/.new-left").exists());
    world.ok(&["backup", "restore", "repo", "latest", "r.raw"]);
    world.same("disk.raw", "raw", "r.raw");
}

#[test]
fn plain_images_are_read_by_qemu_alone() {
    let world = World::new();
    world.disk("disk.raw", 64 * MIB, 4 * MIB, 6);
    let _serving = world.serve_with(&["--track-block", "4K"]);
    let source = |name: &str| format!("nbd+unix:///disk@{name}?socket=nbd");
    let point = |name: &str, since: &[&str]| {
        world.checkpoint("create", name);
        world.checkpoint("export", name);
        let (from, to) = (source(name), format!("{name}.raw"));
        world.tool(
            "qemu-img",
            &["convert", "-f", "raw", "-O", "raw", &from, &to],
        );
        let made = world.backup(&[&["--plain", &from, "plain"], since].concat());
        world.checkpoint("convert", name);
        made["read_bytes"].as_u64().unwrap()
    };
    point("a", &[]);
    world.write(&["write -P 3 1M 4k", "write -z 2M 256k", "write -P 4 63M 64k"]);
    let read = point("b", &["--since", "a"]);
    assert_eq!(read, (4 + 256 + 64) << 10);
    world.write(&["write -P 5 1M 8k"]);
    assert_eq!(point("c", &["--since", "b"]), 8 << 10);
    for (name, image) in [("a", "0001"), ("b", "0002"), ("c", "0003")] {
        let (raw, image) = (format!("{name}.raw"), format!("plain/disk-{image}.qcow2"));
        world.same(&raw, "qcow2", &image);
        world.tool("qemu-img", &["check", &image]);
        world.tool("qemu-img", &["convert", "-O", "raw", &image, "r.raw"]);
        world.same(&raw, "raw", "r.raw");
    }
    let info = world.tool(
        "qemu-img",
        &["info", "--output=json", "plain/disk-0002.qcow2"],
    );
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["backing-filename"], "disk-0001.qcow2");
    assert_eq!(info["backing-filename-format"], "qcow2");
    assert!(info["actual-size"].as_u64().unwrap() < MIB as u64, "{info}");
    let table = world.ok(&["backup", "list", "--plain", "plain"]);
    assert!(
        table.contains("disk-0003") && table.contains("disk-0002"),
        "{table}"
    );
    fs::write(world.at("plain/.new-disk-0004.qcow2"), b"half").unwrap();
    let args = [
        "backup",
        "run",
        "--plain",
        "nbd+unix:///disk?socket=nbd",
        "plain",
        "--since",
        "none",
    ];
    let (status, _, message) = world.refused(&args);
    assert_eq!(status, 3, "{message}");
    // What a run that was cut off left goes with the next one.
    world.disk("small.raw", 8 * MIB, 8 * MIB, 7);
    world.ok(&["backup", "run", "--plain", "small.raw", "plain"]);
    assert!(!world.at("plain/.new-disk-0004.qcow2").exists());
    world.same("small.raw", "qcow2", "plain/small-0001.qcow2");
}
