//! What goes into the machine: bundles, policies and the job.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::report::{FREE, HOST, HOST_LOADED, MANY, NO_RULES, SOME};
use crate::bench::runtime::bundle::{self, Bundle, SLEEP};
use crate::cmd::Cmd;
use crate::paths;

/// Where the files are in the machine.
const PAYLOAD: &str = "/payload";

/// The host's directory whose files are opened, at the same path in the containers.
const PLACE: &str = "/place";

/// Files that the lines of the longer policies name.
const RULES: &str = "/tmp/rules";

/// What the line about the programs begins with.
pub(crate) const LOADED: &str = "loaded ";

/// Lines of the policies, by label.
const POLICIES: [(&str, usize); 3] = [(NO_RULES, 0), (SOME, 10), (MANY, 1000)];

/// What is copied.
pub(crate) struct Programs<'a> {
    /// The runtime, linked statically.
    pub(crate) reeve: &'a Path,
    /// The stopwatch.
    pub(crate) measure: &'a Path,
    /// A static busybox.
    pub(crate) busybox: &'a Path,
}

/// What the machine executes.
pub(crate) fn job() -> Vec<String> {
    vec!["sh".to_owned(), format!("{PAYLOAD}/job.sh")]
}

/// Writes everything into `dir`.
pub(crate) fn write(dir: &Path, programs: &Programs<'_>, rounds: u64, batches: u64) -> Result<()> {
    let bin = dir.join("bin");
    paths::create_dir(&bin)?;
    let rootfs = dir.join("rootfs");
    bundle::make_rootfs(&rootfs, programs.busybox)?;
    paths::create_dir(&rootfs.join(&PLACE[1..]))?;
    for (from, to) in [
        (programs.reeve, bin.join("reeve")),
        (programs.measure, bin.join("measure")),
        (programs.measure, rootfs.join("bin/measure")),
    ] {
        fs::copy(from, to).with_context(|| format!("copy `{}`", from.display()))?;
    }
    let spec = spec(programs.reeve, dir)?;
    let labels = POLICIES.iter().map(|(label, _)| *label).chain([FREE]);
    for label in labels {
        let batches = batches.to_string();
        let args = ["/bin/measure", "calls", label, &batches, PLACE, "/bin/true"];
        write_bundle(dir, label, &spec, &args)?;
    }
    write_bundle(dir, "stays", &spec, &SLEEP)?;
    for (label, lines) in POLICIES {
        write_text(&dir.join(format!("{label}.yaml")), &policy(label, lines))?;
    }
    write_text(&dir.join("job.sh"), &script(rounds, batches))
}

/// What `reeve spec` writes, with the place in sight and the capability that is asked for.
fn spec(reeve: &Path, dir: &Path) -> Result<Value> {
    let spec = dir.join("spec");
    paths::create_dir(&spec)?;
    Cmd::new(reeve)
        .arg("spec")
        .arg("--bundle")
        .arg(&spec)
        .quiet()?;
    let path = spec.join("config.json");
    let text = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
    let mut config: Value = serde_json::from_slice(&text).context("parse the configuration")?;
    let mounts = config["mounts"].as_array_mut().context("mounts")?;
    mounts.push(json!({
        "destination": PLACE, "source": PLACE, "type": "bind", "options": ["bind"],
    }));
    for set in ["bounding", "effective", "permitted"] {
        let set = config["process"]["capabilities"][set].as_array_mut();
        set.context("capabilities")?.push(json!("CAP_CHOWN"));
    }
    Ok(config)
}

fn write_bundle(dir: &Path, id: &str, spec: &Value, args: &[&str]) -> Result<()> {
    let bundle = Bundle {
        spec,
        rootfs: &Path::new(PAYLOAD).join("rootfs"),
        cgroup: format!("/reeve-bench/{id}"),
        args,
        memory: None,
    };
    bundle.write(&dir.join(id)).map(drop)
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write `{}`", path.display()))
}

fn policy(name: &str, lines: usize) -> String {
    let lines = (0..lines).map(|line| format!("  - {{ path: {RULES}/{line}, allow: [read] }}\n"));
    let lines: String = lines.collect();
    format!(
        "reeve: v1\nname: {name}\ndescription: opens files below one directory\nfiles:\n  \
         - {{ path: {PLACE}, allow: [read, chown] }}\n{lines}"
    )
}

/// The standard streams of what stays are not the job's, whose end they would hold up.
fn script(rounds: u64, batches: u64) -> String {
    let held: String = POLICIES
        .iter()
        .map(|(label, _)| format!("reeve run --bundle {label} --policy {label}.yaml {label}\n"))
        .collect();
    let host = |label: &str| {
        format!("measure calls {label} {batches} {PLACE} {PAYLOAD}/rootfs/bin/true\n")
    };
    format!(
        "set -eu\n\
         cd {PAYLOAD}\n\
         mkdir -p {RULES} {PLACE}\n\
         mount -t tmpfs place {PLACE}\n\
         measure prepare-calls {PLACE}\n\
         for n in $(seq 0 999); do : > {RULES}/$n; done\n\
         for round in $(seq {rounds}); do\n\
         {}\
         reeve run --bundle {FREE} {FREE}\n\
         reeve run --detach --bundle stays --policy {NO_RULES}.yaml stays \
         </dev/null >/tmp/stays 2>&1 || {{ cat /tmp/stays; exit 1; }}\n\
         {}\
         {held}\
         reeve delete --force stays\n\
         done\n\
         reeve run --detach --bundle stays --policy {NO_RULES}.yaml stays \
         </dev/null >/tmp/stays 2>&1\n\
         echo 1 > /proc/sys/kernel/bpf_stats_enabled\n\
         reeve run --bundle {SOME} --policy {SOME}.yaml {SOME} >/dev/null\n\
         echo \"{LOADED}$(reeve doctor --loaded --json | tr -d '\\n')\"\n\
         reeve delete --force stays\n",
        host(HOST),
        host(HOST_LOADED),
    )
}
