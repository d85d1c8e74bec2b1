//! Builds this workspace's programs and says where they are.
//!
//! What runs in a machine is linked statically, so that it does not depend on the C library of the
//! machine that built it, and lightly optimised, because emulation makes a debug build crawl.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tempfile::TempDir;

use crate::cmd::Cmd;
use crate::{ebpf, paths, scratch};

/// Target of the programs that run in machines.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Linked statically.
const STATIC: &str = "-C target-feature=+crt-static";

/// As it is shipped: with relocations that take little room, since each page of them is read, and
/// counted to the process, before `main`.
const SHIPPED: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// A line of `cargo --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// A program that was built.
struct Built {
    name: String,
    path: PathBuf,
}

/// Programs to put into a machine.
pub(crate) struct Guest<'a> {
    /// Binaries, of any package.
    pub(crate) bins: &'a [&'a str],
    /// Integration tests, of any package.
    pub(crate) tests: &'a [&'a str],
}

/// Builds the init of the machines.
pub(crate) fn guest_init() -> Result<PathBuf> {
    let name = "guest-init";
    let cargo = guest_cargo("build").args(["--quiet", "--package", name, "--bin", name]);
    let built = collect(cargo)?.into_iter().find(|built| built.name == name);
    Ok(built
        .with_context(|| format!("cargo built no binary `{name}`"))?
        .path)
}

/// Builds programs and the eBPF object in them; returns a directory with the programs in `bin`.
pub(crate) fn guest_payload(guest: &Guest<'_>) -> Result<TempDir> {
    ebpf::build()?;
    let mut built = Vec::new();
    // Always the whole workspace's features, so that the dependencies are built once.
    if !guest.bins.is_empty() {
        let bins = guest.bins.iter().flat_map(|name| ["--bin", name]);
        built.extend(collect(guest_cargo("build").arg("--workspace").args(bins))?);
    }
    if !guest.tests.is_empty() {
        let tests = guest.tests.iter().flat_map(|name| ["--test", name]);
        built.extend(collect(
            guest_cargo("test")
                .args(["--workspace", "--no-run"])
                .args(tests),
        )?);
    }
    let dir = scratch::dir("payload")?;
    let bin = dir.path().join("bin");
    paths::create_dir(&bin)?;
    for name in guest.bins.iter().chain(guest.tests) {
        let program = built.iter().find(|program| program.name == *name);
        let program = program.with_context(|| format!("cargo built no `{name}`"))?;
        fs::copy(&program.path, bin.join(name))
            .with_context(|| format!("copy `{}`", program.path.display()))?;
    }
    Ok(dir)
}

/// Builds the binary `name` of `package` as it is shipped, linked statically.
pub(crate) fn release(package: &str, name: &str) -> Result<PathBuf> {
    if package == "runtime" {
        ebpf::build()?;
    }
    let cargo = static_cargo("build", "release", SHIPPED);
    let built = collect(cargo.args(["--package", package, "--bin", name]))?;
    let program = built.into_iter().find(|built| built.name == name);
    Ok(program
        .with_context(|| format!("cargo built no `{name}`"))?
        .path)
}

fn guest_cargo(command: &str) -> Cmd {
    static_cargo(command, "guest", STATIC)
}

fn static_cargo(command: &str, profile: &str, flags: &str) -> Cmd {
    Cmd::new("cargo")
        .args([command, "--profile", profile, "--target", TARGET])
        // With `--target` the flags are for the programs only, not for build scripts.
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
}

/// Runs cargo in the workspace and returns every executable that it made or found fresh.
fn collect(cargo: Cmd) -> Result<Vec<Built>> {
    let cargo = cargo
        .dir(paths::root())
        .arg("--message-format=json-render-diagnostics");
    let line = cargo.line().to_owned();
    let (text, succeeded) = cargo.read_shown()?;
    anyhow::ensure!(succeeded, "`{line}` failed");
    let mut found = Vec::new();
    for json in text.lines() {
        let message: Message =
            serde_json::from_str(json).with_context(|| format!("read the output of `{line}`"))?;
        if let (Some(target), Some(path)) = (message.target, message.executable)
            && message.reason == "compiler-artifact"
        {
            found.push(Built {
                name: target.name,
                path,
            });
        }
    }
    Ok(found)
}
