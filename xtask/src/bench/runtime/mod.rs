//! `cargo xtask bench runtime`: `reeve` beside crun, runc and a floor, in one run.
//!
//! It has two halves. This one builds, finds, and shows; the other ([`enclosed`]) measures, in a
//! mount and a pid namespace of its own, so that whatever a contestant leaves running ends with the
//! benchmark, however that ends. What lies on the disk is in one temporary directory, and every
//! container's cgroup is below one group of the benchmark's own: both are removed at the end, or by
//! the next benchmark if this one is killed.
//!
//! Modules: [`programs`] (who takes part), [`cgroups`], [`settings`] (from one half to the other);
//! [`enclosed`], [`stand`] (runs commands under the stopwatch, a program of its own: `measure` in
//! `reeve-tests`), [`bundle`]; the parts [`latency`], [`syscalls`], [`memory`], [`parallel`],
//! [`hangs`], [`policy`]; [`results`], [`goals`], [`report`].

pub(crate) mod bundle;
mod cgroups;
mod enclosed;
mod goals;
mod hangs;
mod latency;
mod memory;
mod parallel;
mod policy;
mod programs;
mod report;
mod results;
mod settings;
mod stand;
mod syscalls;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bench::machine::Machine;
use crate::bench::page;
use crate::scratch;
use cgroups::Layout;
use programs::{Programs, REEVE};
use report::Report;
use results::Measured;
use settings::{Part, Settings};

pub(crate) use enclosed::run as run_enclosed;
pub(crate) use programs::busybox;

/// Measure `reeve` beside crun, runc and the least that a container costs.
///
/// Needs root, as containers do. Numbers of a busy machine are bad; ratios are better.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Samples of each command.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    runs: u64,
    /// Measure this part only; may be repeated. Without it: all but `hangs`.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Also count runs that hang under load, among this many.
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "1000")]
    hangs: Option<u64>,
    /// Whose runs these are; may be repeated.
    #[arg(long, value_name = "NAME", default_value = REEVE)]
    hangs_of: Vec<String>,
    /// Containers that are started in turn and in parallel.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    containers: u64,
    /// How many of them are being started at one moment.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: u16,
    /// Kernel of the virtual machine for the policy.
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Measure this program instead of building `reeve`.
    #[arg(long, value_name = "FILE")]
    reeve: Option<PathBuf>,
    /// Measure one more runtime, or another build; may be repeated.
    #[arg(long, value_name = "NAME=FILE")]
    also: Vec<String>,
    /// Write everything, with all samples, to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the tables into docs/benchmarks.md.
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

impl Args {
    /// What to measure, in order and once.
    fn parts(&self) -> Vec<Part> {
        let mut parts = self.only.clone();
        if parts.is_empty() {
            parts = vec![
                Part::Latency,
                Part::Syscalls,
                Part::Memory,
                Part::Parallel,
                Part::Policy,
            ];
        }
        if self.hangs.is_some() {
            parts.push(Part::Hangs);
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("containers need root\nhelp: run it with `sudo`");
    }
    let machine = Machine::read()?;
    let programs = Programs::prepare(args.reeve.as_deref(), &args.also)?;
    for name in &args.hangs_of {
        if !programs.descriptions.iter().any(|one| one.name == *name) {
            bail!("`--hangs-of {name}`: no such runtime takes part");
        }
    }
    let dir = scratch::dir("bench")?;
    let spec = programs.spec(dir.path())?;
    let parts = args.parts();
    let layout = Layout::read()?;
    let measured = match parts.as_slice() {
        [Part::Policy] => Measured::default(),
        _ => {
            bundle::make_rootfs(&settings::rootfs(dir.path()), &programs.busybox)?;
            let settings = args.settings(&programs, dir.path().to_owned(), spec.clone());
            enclosed_measurement(&settings, &layout)?
        }
    };
    let policy = match parts.contains(&Part::Policy) {
        true => Some(args.policy(&programs, &spec)?),
        false => None,
    };
    let mut report = Report {
        command: command_line(),
        machine,
        cgroups: layout.describe(),
        programs: programs.descriptions,
        measured,
        policy,
        goals: Vec::new(),
    };
    report.judge();
    publish(args, &report)
}

/// Measures, and takes away what is left, whatever came of it.
fn enclosed_measurement(settings: &Settings, layout: &Layout) -> Result<Measured> {
    layout.sweep()?;
    let measured = enclosed::start(settings, layout);
    let removed = layout.remove(&settings.cgroup);
    let measured = measured?;
    removed?;
    Ok(measured)
}

impl Args {
    fn settings(&self, programs: &Programs, dir: PathBuf, spec: Value) -> Settings {
        Settings {
            parts: self.parts(),
            runs: self.runs,
            measure: programs.measure.clone(),
            contestants: programs.contestants.clone(),
            dir,
            cgroup: cgroups::own_group(),
            spec,
            containers: self.containers,
            at_once: self.at_once.into(),
            hang_runs: self.hangs.unwrap_or(1000),
            hangs_of: self.hangs_of.clone(),
        }
    }

    fn policy(&self, programs: &Programs, spec: &Value) -> Result<policy::Policy> {
        let reeve = programs.contestants.iter().find(|one| one.name == REEVE);
        policy::measure(&policy::Wanted {
            runs: self.runs,
            kernel: &self.kernel,
            reeve: &reeve.context("reeve takes part")?.path,
            measure: &programs.measure,
            busybox: &programs.busybox,
            spec,
        })
    }
}

/// As it was typed, but for the program's own path.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    let words: Vec<String> = ["cargo".to_owned(), "xtask".to_owned()]
        .into_iter()
        .chain(words)
        .collect();
    words.join(" ")
}

fn publish(args: &Args, report: &Report) -> Result<()> {
    for line in report.place() {
        println!("{line}");
    }
    for table in report.tables() {
        println!("\n{}", table.to_text().trim_end());
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(report)?;
        fs::write(path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    if args.write {
        page::write("runtime", &report.place(), &report.tables())?;
    }
    Ok(())
}
