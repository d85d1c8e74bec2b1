//! `docs/reference/cli.md`, manual pages and completions, from the model of the command line.
//!
//! The model is the runtime's, and so is the program that reads it, an example of that crate:
//! `xtask` would otherwise be built with all of the runtime before it could do anything.

use std::path::Path;

use anyhow::Result;

use crate::cmd::Cmd;
use crate::paths;

/// The whole page.
pub(crate) fn page() -> Result<String> {
    let text = example().arg("page").read()?;
    Ok(format!("{}\n", text.trim_end()))
}

/// Writes manual pages and completions below `dir`, in the places that they have below
/// `/usr/share`.
pub(crate) fn share(dir: &Path) -> Result<()> {
    paths::create_dir(dir)?;
    example().arg("files").arg(std::path::absolute(dir)?).run()
}

fn example() -> Cmd {
    let cargo = Cmd::new("cargo").args(["run", "--quiet", "--manifest-path"]);
    let cargo = cargo.arg(paths::root().join("Cargo.toml"));
    cargo.args(["--package", "runtime", "--example", "command_line", "--"])
}
