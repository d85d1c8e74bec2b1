//! The programs that take part: built, found, or fetched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::settings::{Contestant, Kind};
use crate::bench::elf;
use crate::cmd::{self, Cmd};
use crate::setup::apt;
use crate::{build, paths};

/// Name of the contestant that the others are compared with.
pub(crate) const REEVE: &str = "reeve";
/// The peer that it is to be faster than.
pub(crate) const CRUN: &str = "crun";
/// The peer that it is to be compatible with.
pub(crate) const RUNC: &str = "runc";
/// The least that a container costs.
pub(crate) const FLOOR: &str = "floor";

/// Everything that takes part.
pub(crate) struct Programs {
    /// In the order of the results; the floor is last.
    pub(crate) contestants: Vec<Contestant>,
    /// What a reader has to know of them.
    pub(crate) descriptions: Vec<Description>,
    /// The stopwatch.
    pub(crate) measure: PathBuf,
    /// A static busybox.
    pub(crate) busybox: PathBuf,
}

/// A runtime, in the results.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    /// Its name.
    pub(crate) name: String,
    /// The first line of `--version`.
    pub(crate) version: String,
    /// Size of the program, in bytes.
    pub(crate) bytes: u64,
    /// It needs no shared libraries.
    pub(crate) is_static: bool,
}

impl Programs {
    /// Builds `reeve`, unless it is given, and the stopwatch; finds the others. `also` has more
    /// runtimes: `NAME=PATH`.
    pub(crate) fn prepare(reeve: Option<&Path>, also: &[String]) -> Result<Self> {
        let reeve = match reeve {
            Some(path) => std::path::absolute(path).context("make the path absolute")?,
            None => build::release("runtime", "reeve")?,
        };
        let measure = build::release("reeve-tests", "measure")?;
        let mut runtimes = vec![
            (REEVE.to_owned(), reeve),
            (CRUN.to_owned(), peer(CRUN)?),
            (RUNC.to_owned(), peer(RUNC)?),
        ];
        for pair in also {
            let (name, path) = pair.split_once('=').context("`--also` takes NAME=PATH")?;
            if runtimes.iter().any(|(taken, _)| taken == name) || name == FLOOR {
                bail!("`--also {pair}`: there is a `{name}` already");
            }
            runtimes.push((name.to_owned(), std::path::absolute(path)?));
        }
        let mut contestants = Vec::new();
        let mut descriptions = Vec::new();
        for (name, path) in runtimes {
            descriptions.push(describe(&name, &path)?);
            let can_kill = understands(&path, "kill")?;
            let kind = Kind::Runtime { can_kill };
            contestants.push(Contestant { name, path, kind });
        }
        contestants.push(Contestant {
            name: FLOOR.to_owned(),
            path: measure.clone(),
            kind: Kind::Floor,
        });
        Ok(Programs {
            contestants,
            descriptions,
            measure,
            busybox: busybox()?,
        })
    }

    /// What `runc spec` writes into a bundle in `dir`.
    pub(crate) fn spec(&self, dir: &Path) -> Result<Value> {
        let dir = dir.join("spec");
        paths::create_dir(&dir)?;
        let runc = self.contestants.iter().find(|one| one.name == RUNC);
        let runc = &runc.context("runc takes part")?.path;
        let spec = Cmd::new(runc).arg("spec").arg("--bundle").arg(&dir);
        spec.quiet()?;
        let path = dir.join("config.json");
        let text = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parse `{}`", path.display()))
    }
}

/// The newest one that was fetched for comparison, or the one of this machine.
fn peer(name: &str) -> Result<PathBuf> {
    let fetched = paths::cache()?.join("tools/bin").join(name);
    let mut places = vec![fetched];
    places.extend(std::env::split_paths(&cmd::full_path()).map(|dir| dir.join(name)));
    let found = places.into_iter().find(|path| path.is_file());
    found.with_context(|| {
        format!("no `{name}` to compare with\nhelp: `cargo xtask setup` fetches it")
    })
}

fn describe(name: &str, path: &Path) -> Result<Description> {
    let said = Cmd::new(path).arg("--version").read()?;
    let version = said.lines().next().unwrap_or_default();
    // `reeve 0.1.0`, `crun version 1.8.1`.
    let words = version.split(' ').filter(|word| *word != "version");
    let version = words.skip(1).collect::<Vec<_>>().join(" ");
    let meta = fs::metadata(path).with_context(|| format!("stat(`{}`)", path.display()))?;
    Ok(Description {
        name: name.to_owned(),
        version,
        bytes: meta.len(),
        is_static: elf::is_static(path)?,
    })
}

fn understands(runtime: &Path, command: &str) -> Result<bool> {
    let mut help = Cmd::new(runtime).args([command, "--help"]).into_command();
    let output = help.output();
    let output = output.with_context(|| format!("run `{}`", runtime.display()))?;
    Ok(output.status.success())
}

/// This machine's, if it is static; else Debian's, unpacked into the cache.
pub(crate) fn busybox() -> Result<PathBuf> {
    let name = "busybox";
    let unpacked = paths::cache()?.join("tools/busybox");
    let mut places: Vec<PathBuf> = std::env::split_paths(&cmd::full_path()).collect();
    places.push(unpacked.join("bin"));
    places.push(unpacked.join("usr/bin"));
    for path in places.iter().map(|dir| dir.join(name)) {
        if path.is_file() && elf::is_static(&path)? {
            return Ok(path);
        }
    }
    let _lock = paths::lock_cache()?;
    apt::BOOKWORM.unpack(&["busybox-static".to_owned()], &unpacked)?;
    let found = places.iter().map(|dir| dir.join(name));
    let mut found = found.filter(|path| path.starts_with(&unpacked) && path.is_file());
    found
        .next()
        .context("Debian's package `busybox-static` has no `busybox`")
}
