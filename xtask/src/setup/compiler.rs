//! The compiler for the eBPF programs.
//!
//! A stable toolchain has no `core` for the BPF target. Two things do: a nightly toolchain with
//! `rust-src`, which builds `core` from source, and Debian's `rustc-web` packages, which have it
//! built. The second is unpacked into the cache, so that it meets no `rustc` of the user's.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::apt;
use crate::cmd::{self, Cmd};
use crate::paths;

/// The BPF target: little-endian, as every machine supported is.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// A compiler that can build the eBPF programs.
pub(crate) enum Compiler {
    /// Debian's, unpacked at this directory.
    Debian(PathBuf),
    /// The user's nightly with `rust-src`; this is its `rustc`.
    Nightly(PathBuf),
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compiler::Debian(_) => "ok: Debian's rustc-web",
            Compiler::Nightly(_) => "ok: nightly with rust-src",
        })
    }
}

impl Compiler {
    /// A compiler on this machine: Debian's when it was unpacked, so that builds do not change with
    /// the user's nightly; else that.
    pub(crate) fn find() -> Result<Option<Compiler>> {
        let dir = dir()?;
        if complete(&dir) {
            return Ok(Some(Compiler::Debian(dir)));
        }
        Ok(nightly()?.map(Compiler::Nightly))
    }

    /// Makes `cargo` use it.
    pub(crate) fn apply(&self, cargo: Cmd) -> Cmd {
        // Debian's is a stable release; the programs use unstable features of the BPF target.
        let cargo = cargo.env("RUSTC_BOOTSTRAP", "1").args(["--target", TARGET]);
        match self {
            Compiler::Debian(dir) => cargo
                .env("RUSTC", dir.join("usr/bin/rustc"))
                .env("LD_LIBRARY_PATH", dir.join("usr/lib/x86_64-linux-gnu")),
            Compiler::Nightly(rustc) => cargo.env("RUSTC", rustc).args(["-Z", "build-std=core"]),
        }
    }
}

/// Unpacks Debian's compiler.
pub(crate) fn install() -> Result<()> {
    let dir = dir()?;
    let new = dir.with_extension("new");
    paths::remove_dir(&new)?;
    let depends = apt::BOOKWORM.depends("libstd-rust-web-dev");
    let depends = depends.context(
        "find Debian's eBPF compiler\nhelp: `rustup toolchain install nightly --component \
         rust-src` gives one as well",
    )?;
    let mut packages: Vec<String> = depends
        .into_iter()
        .filter(|name| name.starts_with("libstd-rust-web-"))
        .collect();
    packages.extend(
        [
            "rustc-web",
            "libstd-rust-web-dev",
            "libstd-rust-web-dev-bpf",
        ]
        .map(Into::into),
    );
    let unpacked = apt::BOOKWORM.unpack(&packages, &new)?;
    let manifest = serde_json::to_string_pretty(&unpacked).context("write the manifest")?;
    fs::write(new.join("manifest.json"), manifest).context("write the manifest")?;
    paths::replace_dir(&new, &dir)
}

fn dir() -> Result<PathBuf> {
    Ok(paths::cache()?.join("toolchain"))
}

fn complete(dir: &Path) -> bool {
    let target = dir.join("usr/lib/rustlib").join(TARGET);
    dir.join("usr/bin/rustc").is_file() && target.join("lib").is_dir()
}

fn nightly() -> Result<Option<PathBuf>> {
    if !cmd::found("rustup") {
        return Ok(None);
    }
    // Without a nightly this is an error of rustup's, and nothing to report.
    let Ok(path) = Cmd::new("rustup")
        .args(["which", "--toolchain", "nightly", "rustc"])
        .read()
    else {
        return Ok(None);
    };
    let rustc = PathBuf::from(path.trim());
    let sysroot = Cmd::new(&rustc).args(["--print", "sysroot"]).read()?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    Ok(source.is_dir().then_some(rustc))
}
