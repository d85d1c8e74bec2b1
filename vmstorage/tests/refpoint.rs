//! `vmstorage refpoint` as a user has it: on closed disks, on served ones, and after a kill.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

struct Disk {
    folder: tempfile::TempDir,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = std::fs::File::create(folder.path().join("d.raw")).expect("a disk");
        file.set_len(64 << 20).expect("a size");
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vmstorage"))
            .args(args)
            .current_dir(self.folder.path())
            .output()
            .expect("the program")
    }

    /// Standard output of a command that does what it is told.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Status and message of one that does not.
    fn refused(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    }

    /// What cannot be printed is no success.
    fn cut_off(&self, args: &[&str]) {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_vmstorage"))
            .args(args)
            .current_dir(self.folder.path())
            .stdout(full.expect("the device"))
            .output()
            .expect("the program");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {errors}");
        assert!(errors.contains("write to standard output"), "{errors}");
    }

    fn changes(&self, disk: &str, since: &str, more: &[&str]) -> Vec<(u64, u64)> {
        let args = ["refpoint", "changes", disk, "--since", since, "--json"];
        let text = self.ok(&[&args[..], more].concat());
        let list: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let pair = |part: &Value| Some((part["offset"].as_u64()?, part["length"].as_u64()?));
        list.iter()
            .map(|part| pair(part).expect("an extent"))
            .collect()
    }

    fn serve(&self) -> Server {
        let listen = format!("unix:{}", self.at("nbd.sock").display());
        let server = Command::new(env!("CARGO_BIN_EXE_vmstorage"))
            .args(["serve", "d.raw", "--track", "--listen", &listen])
            .args(["--control", "ctl"])
            .current_dir(self.folder.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let server = Server(server);
        let begun = Instant::now();
        while !(self.at("ctl").exists() && self.at("nbd.sock").exists()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no server");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Has QEMU write 64 KiB through the server.
    fn write(&self, offset: &str) {
        let uri = format!("nbd+unix:///d?socket={}", self.at("nbd.sock").display());
        let write = format!("write -P 7 {offset} 64k");
        let output = Command::new("qemu-io")
            .args(["-f", "raw", "-c", &write, "-c", "flush", &uri])
            .output()
            .expect("qemu-io (package qemu-utils) is needed");
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn points_of_a_closed_disk() {
    let disk = Disk::new();
    let (status, message) = disk.refused(&["refpoint", "list", "d.raw"]);
    assert_eq!(status, Some(4));
    assert!(message.contains("the disk is not tracked"), "{message}");
    disk.ok(&["refpoint", "create", "d.raw", "one"]);
    let (_, message) = disk.refused(&["refpoint", "create", "d.raw", "one"]);
    assert!(message.contains("`one` is taken"), "{message}");
    disk.ok(&["refpoint", "create", "d.raw", "two"]);
    assert_eq!(disk.changes("d.raw", "one", &["--until", "two"]), []);
    disk.cut_off(&["refpoint", "export", "d.raw"]);
    disk.cut_off(&["refpoint", "changes", "d.raw", "--since", "one"]);
    let unknown = ["refpoint", "changes", "d.raw", "--since", "none", "--json"];
    assert_eq!(disk.run(&unknown).stdout, b"");
    let points = disk.ok(&["refpoint", "export", "d.raw"]);
    std::fs::write(disk.at("points"), points).expect("a file");
    disk.ok(&["refpoint", "delete", "d.raw", "one"]);
    assert!(!disk.ok(&["refpoint", "list", "d.raw"]).contains("one "));
    disk.ok(&["refpoint", "import", "d.raw", "points"]);
    assert!(disk.ok(&["refpoint", "list", "d.raw"]).contains("one "));

    let dirty = |name: &str, rest: u64| {
        let map = format!(
            r#"[{{"offset":0,"length":65536,"type":0}},{{"offset":65536,"length":9,"type":1}},
                {{"offset":65545,"length":{rest},"type":0}}]"#
        );
        std::fs::write(disk.at("b.json"), map).expect("a file");
        disk.ok(&["refpoint", "bitmap", "d.raw", name, "b.json"]);
        disk.changes("d.raw", name, &[])
    };
    assert_eq!(dirty("qemu", (64 << 20) - 65545), [(65536, 65536)]);
    // What a map does not reach may have changed.
    let end = (64 << 20) - 65536;
    let missing = dirty("short", (64 << 20) - 65545 - 9);
    assert_eq!(missing, [(65536, 65536), (end, 65536)]);

    std::fs::write(disk.at("d.raw"), vec![1; 64 << 20]).expect("a foreign write");
    let args = ["refpoint", "changes", "d.raw", "--since", "one"];
    let (status, message) = disk.refused(&args);
    assert_eq!(status, Some(3));
    assert!(message.contains("a full backup is needed"), "{message}");
    assert!(
        disk.ok(&["refpoint", "list", "d.raw"])
            .contains("changed untracked")
    );
}

#[test]
fn points_of_a_served_disk_and_what_a_kill_leaves() {
    let disk = Disk::new();
    let control = ["--control", "ctl"];
    let server = disk.serve();
    disk.ok(&[&["refpoint", "create", "d", "one"][..], &control].concat());
    disk.write("1M");
    assert_eq!(disk.changes("d", "one", &control), [(1 << 20, 65536)]);
    let (_, message) = disk.refused(&["refpoint", "list", "d.raw"]);
    assert!(message.contains("is in use"), "{message}");
    disk.ok(&["ctl", "--control", "ctl", "quit"]);
    let begun = Instant::now();
    while disk.run(&["refpoint", "list", "d.raw"]).status.code() != Some(0) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the server goes on"
        );
    }
    drop(server);
    assert_eq!(disk.changes("d.raw", "one", &[]), [(1 << 20, 65536)]);

    for socket in ["ctl", "nbd.sock"] {
        let _ = std::fs::remove_file(disk.at(socket));
    }
    let server = disk.serve();
    disk.write("40M");
    drop(server); // killed
    let changes = disk.changes("d.raw", "one", &[]);
    let told = |at: u64| {
        changes
            .iter()
            .any(|&(from, len)| from <= at && at < from + len)
    };
    assert!(told(1 << 20) && told(40 << 20), "{changes:?}");
    let total: u64 = changes.iter().map(|(_, len)| len).sum();
    assert!(
        total < 8 << 20,
        "a crash makes {total} bytes count as changed"
    );
    assert!(Path::new(&disk.at("d.raw.reeve-points")).exists());
}

/// Runs a tool that must do what it is told.
fn tool(disk: &Disk, args: &[&str]) -> String {
    let mut command = Command::new(args[0]);
    let output = command
        .args(&args[1..])
        .current_dir(disk.folder.path())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", args[0]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_bitmap_that_a_closed_qcow2_holds_becomes_a_point() {
    let disk = Disk::new();
    tool(
        &disk,
        &["qemu-img", "create", "-q", "-f", "qcow2", "d.qcow2", "64M"],
    );
    tool(&disk, &["qemu-img", "bitmap", "--add", "d.qcow2", "b0"]);
    tool(
        &disk,
        &[
            "qemu-io",
            "-c",
            "write 1M 64k",
            "-c",
            "write 40M 128k",
            "d.qcow2",
        ],
    );
    disk.ok(&[
        "refpoint",
        "bitmap",
        "d.qcow2",
        "before",
        "--qcow2-bitmap",
        "b0",
    ]);
    let changes = disk.changes("d.qcow2", "before", &[]);
    assert_eq!(changes, [(1 << 20, 64 << 10), (40 << 20, 128 << 10)]);
    let args = ["refpoint", "bitmap", "d.qcow2", "x", "--qcow2-bitmap", "b1"];
    let (status, message) = disk.refused(&args);
    assert_eq!(status, Some(4));
    assert!(message.contains("there is no bitmap `b1`"), "{message}");
    // Cut off while QEMU had it open: the bitmap stays in use.
    let kill = ["-c", "write 2M 64k", "-c", "sigraise 9", "d.qcow2"];
    let mut qemu = Command::new("qemu-io");
    let qemu = qemu.args(kill).current_dir(disk.folder.path()).output();
    assert!(!qemu.expect("qemu-io").status.success());
    let args = ["refpoint", "bitmap", "d.qcow2", "x", "--qcow2-bitmap", "b0"];
    let (status, message) = disk.refused(&args);
    assert_eq!(status, Some(4));
    assert!(message.contains("cannot be trusted"), "{message}");
}

#[test]
fn an_older_copy_in_the_same_file_after_a_kill_needs_a_full_backup() {
    let disk = Disk::new();
    tool(
        &disk,
        &["qemu-img", "create", "-q", "-f", "qcow2", "d.qcow2", "64M"],
    );
    disk.ok(&["refpoint", "create", "d.qcow2", "one"]);
    let older = std::fs::read(disk.at("d.qcow2")).expect("the image");
    let args = [
        "d.qcow2",
        "--listen",
        "unix:nbd",
        "--control",
        "control",
        "--track",
    ];
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmstorage"));
        command
            .arg("serve")
            .args(args)
            .current_dir(disk.folder.path());
        let child = command.stderr(Stdio::null()).spawn().expect("the service");
        let server = Server(child);
        let begun = Instant::now();
        while !disk
            .run(&["refpoint", "list", "d", "--control", "control"])
            .status
            .success()
        {
            assert!(begun.elapsed() < Duration::from_secs(60), "no service");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    };
    drop(serve());
    // The image itself is known, and other tools keep what tells it.
    tool(&disk, &["qemu-img", "check", "-q", "d.qcow2"]);
    let server = serve();
    let shown = disk.ok(&["refpoint", "show", "d", "one", "--control", "control"]);
    assert!(shown.contains("usable"), "{shown}");
    drop(server);
    std::fs::write(disk.at("d.qcow2"), &older).expect("the older copy");
    let _server = serve();
    let args = [
        "refpoint",
        "changes",
        "d",
        "--since",
        "one",
        "--control",
        "control",
    ];
    let (status, message) = disk.refused(&args);
    assert_eq!(status, Some(3), "{message}");
}
