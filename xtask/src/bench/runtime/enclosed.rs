//! The half that measures: it runs in a pid namespace whose end is the end of all containers, and
//! sees the cgroups that the contestants are to see.
//!
//! Temporary directories are the other half's: from here, their owners cannot be told from dead
//! ones.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cgroups::Layout;
use super::results::Measured;
use super::settings::{Contestant, Part, Settings};
use super::stand::Stand;
use super::{hangs, latency, memory, parallel, syscalls};
use crate::cmd::Cmd;
use crate::paths;

/// Starts this program once more, enclosed, and returns what it measured.
pub(crate) fn start(settings: &Settings, layout: &Layout) -> Result<Measured> {
    let path = settings.dir.join("settings.json");
    let text = serde_json::to_vec_pretty(settings)?;
    fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
    let myself = std::env::current_exe().context("find this program")?;
    let hide = |dir: &PathBuf| ["--hide".into(), dir.clone().into_os_string()];
    Cmd::new(&settings.measure)
        .arg("enclose")
        .args(layout.hidden().iter().flat_map(hide))
        .arg("--")
        .arg(myself)
        .args(["bench", "runtime-enclosed"])
        .arg(&path)
        .run()?;
    let path = settings.results();
    let text = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parse `{}`", path.display()))
}

/// Measures what the file `settings` says, and writes the results.
pub(crate) fn run(settings: &Path) -> Result<()> {
    let text = fs::read(settings).with_context(|| format!("read `{}`", settings.display()))?;
    let settings: Settings = serde_json::from_slice(&text).context("parse the settings")?;
    let stand = Stand {
        settings: &settings,
    };
    for one in settings.runtimes() {
        paths::create_dir(&stand.state_root(one))?;
    }
    let mut measured = Measured::default();
    for part in &settings.parts {
        match part {
            Part::Latency => latency::measure(&stand, &mut measured)?,
            Part::Syscalls => syscalls::measure(&stand, &mut measured)?,
            Part::Memory => memory::measure(&stand, &mut measured)?,
            Part::Parallel => parallel::measure(&stand, &mut measured)?,
            Part::Hangs => hangs::measure(&stand, &mut measured)?,
            // Not on this machine.
            Part::Policy => {}
        }
    }
    measured.left = left(&stand)?;
    let path = settings.results();
    let text = serde_json::to_vec(&measured)?;
    fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
}

/// Groups and states of containers that were all removed.
fn left(stand: &Stand<'_>) -> Result<Vec<String>> {
    let mut left = Layout::read()?.left(&stand.settings.cgroup);
    for one in stand.settings.runtimes() {
        left.extend(states(stand, one));
    }
    Ok(left.iter().map(|path| path.display().to_string()).collect())
}

fn states(stand: &Stand<'_>, one: &Contestant) -> Vec<PathBuf> {
    let entries = fs::read_dir(stand.state_root(one)).into_iter().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    // Ids begin with the runtime's name; other entries are the runtime's own.
    let prefix = format!("{}-", one.name);
    let is_container = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix)
    };
    paths.filter(is_container).collect()
}
