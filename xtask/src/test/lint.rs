//! Checks that run no code of ours.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::step::{Done, Steps};
use super::suites;
use crate::cmd::Cmd;
use crate::setup::{self, Need};
use crate::{docs, paths, tidy};

/// Runs the steps.
pub(crate) fn run(steps: &mut Steps) {
    steps.run("fmt", fmt);
    steps.run("tidy", tidy::check);
    steps.run("docs", docs::check);
    steps.run("clippy", clippy);
    steps.run("deny", deny);
    steps.run_any("advisories", advisories);
}

/// The two workspaces: everything, and the eBPF programs, which another compiler builds.
fn manifests() -> [PathBuf; 2] {
    ["Cargo.toml", "ebpf/programs/Cargo.toml"].map(|path| paths::root().join(path))
}

fn cargo(command: &str, manifest: &Path) -> Cmd {
    Cmd::new("cargo")
        .arg(command)
        .arg("--manifest-path")
        .arg(manifest)
}

fn fmt() -> Result<()> {
    for manifest in manifests() {
        cargo("fmt", &manifest).args(["--all", "--check"]).run()?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    // Not for the eBPF programs: clippy's compiler has no `core` for their target.
    let [workspace, _] = manifests();
    let cargo = cargo("clippy", &workspace).args(["--workspace", "--all-targets", "--quiet"]);
    // `--all-targets` passes over what is not run on the host.
    let suites = suites::names().flat_map(|name| ["--test", name]);
    cargo.args(suites).args(["--", "-D", "warnings"]).run()
}

fn deny() -> Result<()> {
    setup::ensure(&[Need::Deny])?;
    for manifest in manifests() {
        let check = ["check", "licenses", "bans", "sources"];
        cargo_deny(&manifest)?
            .args(["--log-level", "error"])
            .args(check)
            .run()?;
    }
    Ok(())
}

/// Known vulnerabilities. Their database is fetched from its own host, which may be out of reach.
fn advisories() -> Result<Done> {
    setup::ensure(&[Need::Deny])?;
    let [workspace, programs] = manifests();
    let fetched = cargo_deny(&workspace)?.args(["fetch", "db"]).read();
    if let Err(error) = fetched {
        let reason = format!("{error:#}");
        let fatal = reason.lines().find(|line| line.contains("fatal:"));
        let reason = fatal.or(reason.lines().last()).unwrap_or_default().trim();
        let reason = format!("the advisory database cannot be had here: {reason}");
        return Ok(Done::Skipped(reason));
    }
    for manifest in [workspace, programs] {
        let check = cargo_deny(&manifest)?.args(["--log-level", "error", "check"]);
        if !check.args(["--disable-fetch", "advisories"]).succeeds()? {
            bail!("`{}` has dependencies with advisories", manifest.display());
        }
    }
    Ok(Done::Ran(String::new()))
}

fn cargo_deny(manifest: &Path) -> Result<Cmd> {
    let command = Cmd::new(setup::cargo_deny()?)
        .arg("--manifest-path")
        .arg(manifest);
    Ok(command.arg("--config").arg(paths::root().join("deny.toml")))
}
