//! Pages of command lines, manual pages and completions, from the models of the command lines.
//!
//! A model is its crate's, and so is the program that reads it, an example of that crate (all of
//! them call `cli-docs`): `xtask` would otherwise be built with everything before it could do
//! anything.

use std::path::Path;

use anyhow::Result;

use crate::cmd::Cmd;
use crate::paths;

/// The packages with a command line.
const PACKAGES: [&str; 2] = ["runtime", "vmstorage"];

/// The whole page of `reeve`.
pub(crate) fn reeve() -> Result<String> {
    page("runtime")
}

/// The whole page of `vmstorage`.
pub(crate) fn vmstorage() -> Result<String> {
    page("vmstorage")
}

fn page(package: &str) -> Result<String> {
    let text = example(package).arg("page").read()?;
    Ok(format!("{}\n", text.trim_end()))
}

/// Writes manual pages and completions below `dir`, in the places that they have below
/// `/usr/share`.
pub(crate) fn share(dir: &Path) -> Result<()> {
    paths::create_dir(dir)?;
    let dir = std::path::absolute(dir)?;
    PACKAGES
        .iter()
        .try_for_each(|package| example(package).arg("files").arg(&dir).run())
}

fn example(package: &str) -> Cmd {
    let cargo = Cmd::new("cargo").args(["run", "--quiet", "--manifest-path"]);
    let cargo = cargo.arg(paths::root().join("Cargo.toml"));
    cargo.args(["--package", package, "--example", "command_line", "--"])
}
