//! `vmstorage image` beside qemu-img, which has to be installed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;

const SIZE: usize = 40 << 20;
const FORMATS: [&str; 3] = ["raw", "qcow2", "vhdx"];

struct World(TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `vmstorage image`.
    fn image(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmstorage"));
        command.arg("image").args(args).current_dir(self.0.path());
        command.env("VMSTORAGE_LOG", "error").output().unwrap()
    }

    #[track_caller]
    fn image_does(&self, args: &[&str]) -> String {
        done(self.image(args), args)
    }

    #[track_caller]
    fn qemu(&self, args: &[&str]) -> String {
        let mut command = Command::new("qemu-img");
        let output = command.args(args).current_dir(self.0.path()).output();
        done(
            output.unwrap_or_else(|e| panic!("qemu-img is needed: {e}")),
            args,
        )
    }
}

#[track_caller]
fn done(output: Output, args: &[&str]) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

/// A sparse raw disk with data here and there.
fn raw(path: &Path, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; SIZE];
    for _ in 0..12 {
        let len = rng.random_range(1..600_000);
        let at = rng.random_range(0..SIZE - len);
        rng.fill(&mut bytes[at..at + len]);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn conversions_are_what_qemu_reads_and_the_other_way_round() {
    let world = World::new();
    raw(&world.path("a.raw"), 1);
    for format in FORMATS {
        let (ours, theirs) = (format!("ours.{format}"), format!("theirs.{format}"));
        let report = world.image_does(&["convert", "--json", "a.raw", &ours]);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["size_bytes"], SIZE);
        assert!(
            report["copied_bytes"].as_u64().unwrap() < SIZE as u64 / 4,
            "{report}"
        );
        world.qemu(&["compare", "-f", "raw", "-F", format, "a.raw", &ours]);
        if format != "raw" {
            world.qemu(&["check", "-f", format, &ours]);
        }
        world.qemu(&["convert", "-f", "raw", "-O", format, "a.raw", &theirs]);
        assert_eq!(
            world.image_does(&["compare", "a.raw", &theirs]),
            "identical\n"
        );
        world.image_does(&["check", &theirs]);
        let back = format!("back-{format}.raw");
        world.image_does(&["convert", &theirs, &back]);
        assert!(
            std::fs::read(world.path(&back)).unwrap()
                == std::fs::read(world.path("a.raw")).unwrap()
        );
        let again = world.image(&["convert", "a.raw", &ours]);
        assert_eq!(again.status.code(), Some(4), "an image was overwritten");
    }
}

#[test]
fn images_are_made_described_and_resized() {
    let world = World::new();
    for format in FORMATS {
        let name = format!("new.{format}");
        world.image_does(&["create", &name, "1G"]);
        let info: Value =
            serde_json::from_str(&world.image_does(&["info", "--json", &name])).unwrap();
        assert_eq!(info["size_bytes"], 1u64 << 30);
        assert_eq!(info["format"], format);
        assert!(info["used_bytes"].as_u64().unwrap() < 16 << 20, "{info}");
        let theirs = world.qemu(&["info", "--output=json", "-f", format, &name]);
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        assert_eq!(theirs["virtual-size"], 1u64 << 30);
        let map = world.image_does(&["map", &name]);
        assert_eq!(map.lines().count(), 1, "{map}");
        assert!(map.trim_end().ends_with("hole"), "{map}");
        world.image_does(&["resize", &name, "2G"]);
        let theirs = world.qemu(&["info", "--output=json", "-f", format, &name]);
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        assert_eq!(theirs["virtual-size"], 2u64 << 30);
        let shrink = world.image(&["resize", &name, "1G"]);
        assert_eq!(shrink.status.code(), Some(2));
    }
}

#[test]
fn differences_are_found_and_mistakes_explained() {
    let world = World::new();
    raw(&world.path("a.raw"), 2);
    let mut bytes = std::fs::read(world.path("a.raw")).unwrap();
    bytes[30_000_001] ^= 1;
    std::fs::write(world.path("b.raw"), bytes).unwrap();
    let differs = world.image(&["compare", "--json", "a.raw", "b.raw"]);
    assert_eq!(differs.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(answer["first_difference"], 30_000_001);
    world.qemu(&["create", "-q", "-f", "qcow2", "hidden.img", "1M"]);
    std::fs::write(world.path("small.raw"), [0; 1000]).unwrap();
    for (args, code, expected) in [
        (
            &["info", "hidden.img"][..],
            4,
            "say `--format qcow2` if you made it so",
        ),
        (&["info", "missing.raw"], 4, "No such file"),
        (&["create", "x", "1M"], 2, "say `--format`"),
        (&["create", "x.raw", "1Z"], 2, "is no size"),
        (&["info", "--format", "qcow2", "a.raw"], 4, "a.raw"),
        (&["info", "--format", "vhdx", "a.raw"], 4, "a.raw"),
        (
            &["convert", "a.raw", "small.raw", "--existing"],
            2,
            "fewer than",
        ),
        (
            &["convert", "a.raw", "b.raw"],
            4,
            "what exists is not touched",
        ),
    ] {
        let refused = world.image(args);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}
