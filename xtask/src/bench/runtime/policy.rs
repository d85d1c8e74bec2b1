//! What a policy adds to `run`: in a virtual machine, whose kernel can enforce it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use super::bundle::{self, Bundle, SLEEP, TRUE};
use super::results::Compared;
use crate::bench::guest;
use crate::bench::stats::{self, Summary};
use crate::{paths, scratch};

/// Grants nothing, and so asks least of the host.
const POLICY: &str = "reeve: v1\nname: bench\ndescription: no host action at all\n";

/// Seconds for each round, under emulation.
const ROUND_LIMIT_SECONDS: u64 = 20;

/// Where the files are in the machine.
const PAYLOAD: &str = "/payload";

/// `run` without and with a policy.
#[derive(Debug, Serialize)]
pub(crate) struct Policy {
    /// `uname -r` of the machine.
    pub(crate) kernel: String,
    /// The machine ran under KVM, or was emulated.
    pub(crate) accel: String,
    /// Without a policy.
    pub(crate) without: Summary,
    /// With one.
    pub(crate) with: Summary,
}

impl Policy {
    /// Median with, over median without.
    pub(crate) fn ratio(&self) -> f64 {
        self.with.median_ms / self.without.median_ms
    }
}

/// What is compared.
pub(crate) struct Wanted<'a> {
    /// Of each kind.
    pub(crate) runs: u64,
    /// Name of the kernel.
    pub(crate) kernel: &'a str,
    /// The runtime, linked statically.
    pub(crate) reeve: &'a Path,
    /// The stopwatch.
    pub(crate) measure: &'a Path,
    /// A static busybox.
    pub(crate) busybox: &'a Path,
    /// `runc spec`.
    pub(crate) spec: &'a Value,
}

/// Boots a machine and compares. A container under the policy stays meanwhile, so that the programs
/// are loaded already.
pub(crate) fn measure(wanted: &Wanted<'_>) -> Result<Policy> {
    eprintln!("policy: {} rounds", wanted.runs);
    let payload = scratch::dir("payload")?;
    write_payload(wanted, payload.path())?;
    let job = ["sh".to_owned(), format!("{PAYLOAD}/compare.sh")];
    let limit = 120 + wanted.runs * ROUND_LIMIT_SECONDS;
    let verdict = guest::run(wanted.kernel, payload.path(), job.to_vec(), limit)?;
    let json = verdict.output.lines().find(|line| line.starts_with('{'));
    let json = json.with_context(|| format!("no times in {:?}", verdict.output))?;
    let compared: Compared = serde_json::from_str(json).context("parse the times")?;
    let summary = |times: &[u64]| stats::summary(times).context("at least one round");
    Ok(Policy {
        kernel: verdict.release.clone(),
        accel: verdict.accel.name().to_owned(),
        without: summary(&compared.a_us)?,
        with: summary(&compared.b_us)?,
    })
}

fn write_payload(wanted: &Wanted<'_>, dir: &Path) -> Result<()> {
    let bin = dir.join("bin");
    paths::create_dir(&bin)?;
    for (from, name) in [(wanted.reeve, "reeve"), (wanted.measure, "measure")] {
        fs::copy(from, bin.join(name)).with_context(|| format!("copy `{}`", from.display()))?;
    }
    bundle::make_rootfs(&dir.join("rootfs"), wanted.busybox)?;
    for (id, args) in [("stays", &SLEEP[..]), ("plain", &[TRUE]), ("held", &[TRUE])] {
        Bundle {
            spec: wanted.spec,
            rootfs: &Path::new(PAYLOAD).join("rootfs"),
            cgroup: format!("/reeve-bench/{id}"),
            args,
            memory: None,
        }
        .write(&dir.join(id))?;
    }
    write(&dir.join("policy.yaml"), POLICY)?;
    write(&dir.join("compare.sh"), &script(wanted.runs))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write `{}`", path.display()))
}

/// The job. The standard streams of what stays are not the job's, whose end they would hold up.
fn script(runs: u64) -> String {
    format!(
        "set -eu\n\
         cd {PAYLOAD}\n\
         reeve run --detach --bundle stays --policy policy.yaml stays \
         </dev/null >/tmp/stays 2>&1 || {{ cat /tmp/stays; exit 1; }}\n\
         measure compare {runs} -- reeve run --bundle plain plain \
         -- reeve run --bundle held --policy policy.yaml held\n\
         reeve delete --force stays\n"
    )
}
