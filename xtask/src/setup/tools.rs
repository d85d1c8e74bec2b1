//! Cargo programs, installed into the cache and not into the user's home.

use std::path::PathBuf;

use anyhow::Result;

use super::packages::LLVM_PREFIX;
use crate::cmd::Cmd;
use crate::paths;

/// A program from crates.io at a fixed version.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    options: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

/// Links LLVM bitcode to a BPF object. Built against Debian's LLVM rather than a downloaded one.
pub(crate) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.13.0",
    options: &["--no-default-features", "--features", "llvm-22"],
    env: &[
        ("LLVM_PREFIX", LLVM_PREFIX),
        ("LLVM_SYS_221_PREFIX", LLVM_PREFIX),
    ],
};

/// Checks licences, bans and sources of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: &[],
    env: &[],
};

/// Path of the installed [`BPF_LINKER`].
pub(crate) fn bpf_linker() -> Result<PathBuf> {
    BPF_LINKER.path()
}

/// Path of the installed [`CARGO_DENY`].
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    CARGO_DENY.path()
}

impl Tool {
    fn path(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("tools/bin").join(self.name))
    }

    /// The version, if it is the wanted one.
    pub(crate) fn find(&self) -> Result<Option<String>> {
        let path = self.path()?;
        if !path.is_file() {
            return Ok(None);
        }
        let said = Cmd::new(path).arg("--version").read()?;
        let version = said.split_whitespace().nth(1).unwrap_or_default();
        Ok((version == self.version).then(|| format!("ok: {version}")))
    }

    /// Builds it from crates.io with the lock file that its authors published.
    pub(crate) fn install(&self) -> Result<()> {
        let root = paths::cache()?.join("tools");
        let install = Cmd::new("cargo")
            .args(["install", "--locked", "--force", "--version", self.version])
            .args(self.options)
            .arg("--root")
            .arg(root)
            .arg(self.name)
            // Settings of the build that called this task are not for the tool.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR");
        self.env
            .iter()
            .fold(install, |command, (key, value)| command.env(key, value))
            .quiet()
    }
}
