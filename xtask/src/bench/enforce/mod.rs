//! `cargo xtask bench enforce`: what a system call costs under a policy, and beside one.
//!
//! In one machine, in turn: without Reeve's programs, a process of the host and one in a container
//! without a policy; then, with the programs loaded, a process of the host again and containers
//! with policies of few and of many lines. Each measures itself (`measure calls`); only ratios
//! within one kind of process are told.
//!
//! Modules: [`payload`] (bundles, policies, the job), [`report`].

mod payload;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::bench::runtime::busybox;
use crate::bench::{guest, machine, page};
use crate::{build, scratch};
use report::Report;

/// Seconds for each round, under emulation.
const ROUND_LIMIT_SECONDS: u64 = 240;

/// Measure what enforcement costs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each loads the programs and unloads them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Samples of each call in a round.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=1000))]
    batches: u64,
    /// Kernel of the machine.
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Measure this program instead of building `reeve`.
    #[arg(long, value_name = "FILE")]
    reeve: Option<PathBuf>,
    /// Write everything, with all samples, to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the tables into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// A line of the machine's output: what calls cost one process.
#[derive(Debug, Deserialize)]
struct Sample {
    label: String,
    /// Nanoseconds, one number for each batch, by the kind of call.
    ns: BTreeMap<String, Vec<u64>>,
}

/// All samples: by label, then by the kind of call.
#[derive(Debug, Default, Serialize)]
struct Samples(BTreeMap<String, BTreeMap<String, Vec<u64>>>);

impl Samples {
    fn parse(output: &str) -> Result<Self> {
        let mut samples = Self::default();
        for line in output.lines().filter(|line| line.starts_with("{\"label\"")) {
            let sample: Sample = serde_json::from_str(line).context("parse the times")?;
            let kinds = samples.0.entry(sample.label).or_default();
            for (kind, times) in sample.ns {
                kinds.entry(kind).or_default().extend(times);
            }
        }
        Ok(samples)
    }

    /// Median nanoseconds of a kind of call.
    fn median(&self, label: &str, kind: &str) -> Option<f64> {
        let mut times = self.0.get(label)?.get(kind)?.clone();
        times.sort_unstable();
        let middle = times.len().checked_sub(1)? / 2;
        Some((times[middle] + times[times.len() / 2]) as f64 / 2.0)
    }
}

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    let here = machine::Machine::read()?;
    let reeve = match &args.reeve {
        Some(path) => std::path::absolute(path).context("make the path absolute")?,
        None => build::release("runtime", "reeve")?,
    };
    let payload = scratch::dir("payload")?;
    let copied = payload::Programs {
        reeve: &reeve,
        measure: &build::release("reeve-tests", "measure")?,
        busybox: &busybox()?,
    };
    payload::write(payload.path(), &copied, args.rounds, args.batches)?;
    let limit = 240 + args.rounds * ROUND_LIMIT_SECONDS;
    let verdict = guest::run(&args.kernel, payload.path(), payload::job(), limit)?;
    let report = Report {
        date: here.date,
        processor: here.processor,
        kernel: verdict.release.clone(),
        accel: verdict.accel.name().to_owned(),
        samples: Samples::parse(&verdict.output)?,
        programs: programs(&verdict.output)?,
    };
    publish(args, &report)
}

/// One program, as `reeve doctor --loaded --json` has it.
#[derive(Debug, Deserialize, Serialize)]
struct Program {
    hook: String,
    verified_instructions: u64,
    memory_bytes: u64,
    runs: u64,
    run_time_ns: u64,
}

/// What the programs cost while a container measured itself.
fn programs(output: &str) -> Result<Vec<Program>> {
    #[derive(Deserialize)]
    struct Loaded {
        programs: Vec<Program>,
    }
    let mut lines = output
        .lines()
        .filter_map(|line| line.strip_prefix(payload::LOADED));
    let text = lines.next().context("what is loaded was not printed")?;
    let loaded: Loaded = serde_json::from_str(text).context("parse what is loaded")?;
    Ok(loaded.programs)
}

fn publish(args: &Args, report: &Report) -> Result<()> {
    let (place, tables) = (report.place(), report.tables());
    for line in &place {
        println!("{line}");
    }
    for table in &tables {
        println!("\n{}", table.to_text().trim_end());
    }
    if let Some(path) = &args.json {
        write_json(path, report)?;
    }
    match args.write {
        true => page::write("enforce", &place, &tables),
        false => Ok(()),
    }
}

fn write_json(path: &Path, report: &Report) -> Result<()> {
    let text = serde_json::to_vec_pretty(report)?;
    fs::write(path, text).with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn samples_of_all_rounds_come_together() {
        let output = "noise\n{\"label\":\"a\",\"ns\":{\"x\":[3,1]}}\n\
                      {\"label\":\"a\",\"ns\":{\"x\":[2]}}\n";
        let samples = Samples::parse(output).expect("two lines");
        assert_eq!(samples.median("a", "x"), Some(2.0));
        assert_eq!(samples.median("a", "y"), None);
    }
}
