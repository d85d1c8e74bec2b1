//! `reeve update`: other limits for a container that exists.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::Error;
use super::pause::alive;
use crate::failure::Called;
use crate::spec::{ContainerId, Resources};

/// Where the kernel shows the resource control of the processor.
const RESCTRL: &str = "/sys/fs/resctrl";

/// Change the limits of a container; what is not given stays as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve update --memory 512M --cpu-quota 50000 web
  reeve update -r limits.json web")]
pub struct Args {
    /// Read `linux.resources` as JSON from FILE, or from standard input if it is `-`, and ignore
    /// the other options
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight for block devices, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period for the CPU quota, in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds; -1 is unlimited
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Unused CPU time that may be saved up, in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// Relative weight for CPU time, 2 to 262144
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Period for the real-time quota, in microseconds (cgroup v1)
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,
    /// CPU time of real-time tasks in each period, in microseconds (cgroup v1)
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// Run only when nothing else does: 1; like others: 0
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// Processors, such as `0-3,7`
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, such as `0-1`
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory limit in bytes, or with a unit (k, m, g, t); -1 is unlimited
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory: Option<i64>,
    /// Soft memory limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together; -1 is unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = bytes)]
    memory_swap: Option<i64>,
    /// Has no effect
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Has no effect
    #[arg(long, hide = true, value_name = "BYTES", allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Number of tasks; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Schema of the L3 cache (Intel RDT), such as `L3:0=f`
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Schema of memory bandwidth (Intel RDT), such as `MB:0=20`
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let raw: LinuxResources = match &args.resources {
        Some(path) => serde_json::from_str(&read(path)?)?,
        None => serde_json::from_value(args.given())?,
    };
    let limits = Resources::check(Some(&raw))?;
    let state = alive(root, &args.id)?;
    state.cgroups.update(&limits)?;
    if args.resources.is_none() {
        args.update_schemata()?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What the options say, as `linux.resources`.
    fn given(&self) -> Value {
        for (option, given) in [
            ("--kernel-memory", &self.kernel_memory),
            ("--kernel-memory-tcp", &self.kernel_memory_tcp),
        ] {
            if given.is_some() {
                tracing::warn!(
                    option,
                    "has no effect: Linux counts kernel memory as memory"
                );
            }
        }
        let object = |entries: Vec<(&str, Option<Value>)>| -> Value {
            let entries = entries.into_iter();
            let given = entries.filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(given.collect::<Map<_, _>>())
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        json!({
            "memory": object(vec![
                ("limit", self.memory.map(Value::from)),
                ("reservation", self.memory_reservation.map(Value::from)),
                ("swap", self.memory_swap.map(Value::from)),
            ]),
            "cpu": object(vec![
                ("shares", self.cpu_share.map(Value::from)),
                ("quota", self.cpu_quota.map(Value::from)),
                ("burst", self.cpu_burst.map(Value::from)),
                ("period", self.cpu_period.map(Value::from)),
                ("realtimeRuntime", self.cpu_rt_runtime.map(Value::from)),
                ("realtimePeriod", self.cpu_rt_period.map(Value::from)),
                ("cpus", text(&self.cpuset_cpus)),
                ("mems", text(&self.cpuset_mems)),
                ("idle", self.cpu_idle.map(Value::from)),
            ]),
            "pids": { "limit": self.pids_limit.unwrap_or_default() },
            "blockIO": object(vec![("weight", self.blkio_weight.map(Value::from))]),
        })
    }

    /// The group in resctrl has the container's name, and is made at its start.
    fn update_schemata(&self) -> Result<(), Error> {
        let group = Path::new(RESCTRL).join(&self.id);
        for (option, schema) in [
            ("--l3-cache-schema", &self.l3_cache_schema),
            ("--mem-bw-schema", &self.mem_bw_schema),
        ] {
            let Some(schema) = schema.as_ref().filter(|schema| !schema.is_empty()) else {
                continue;
            };
            let file = group.join("schemata");
            if !file.exists() {
                return Err(Error::NoResctrl(option));
            }
            let line = format!("{}\n", schema.trim_end());
            fs::write(&file, &line)
                .called(|| format!("write(\"{}\", {line:?})", file.display()))?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    result.map_err(|source| Error::File {
        operation: "read",
        path: path.to_owned(),
        source,
    })
}

/// A number of bytes as container engines write it: `512m`, `1.5GiB`, `-1`. Units are powers of
/// 1024.
fn bytes(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let bad = || format!("`{text}` is not a number of bytes");
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|char: char| !char.is_ascii_digit() && char != '.');
    let (number, unit) = lower.split_at(end.unwrap_or(lower.len()));
    let unit = unit.trim_start_matches(' ');
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if !unit.contains('i') => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let factor = 1i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(bad);
    }
    let part: f64 = number.parse().map_err(|_| bad())?;
    let all = part * factor as f64;
    // Exact up to 2⁵³.
    if (0.0..9e15).contains(&all) {
        Ok(all as i64)
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Update {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn numbers_of_bytes() {
        for (text, expected) in [
            ("-1", -1),
            ("0", 0),
            ("4096", 4096),
            ("4096b", 4096),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("2 tb", 2 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "m",
            "1x",
            "-2",
            "1e9",
            "1mm",
            "1ib",
            "9999999999999p",
            "1.2.3",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_limits() {
        let words = [
            "update",
            "--memory",
            "64m",
            "--memory-swap",
            "-1",
            "--cpu-quota",
            "-1",
            "--cpuset-cpus",
            "0",
            "--pids-limit",
            "-1",
            "--blkio-weight",
            "500",
            "--cpu-share",
            "2",
            "--cpu-idle",
            "0",
            "one",
        ];
        let args = Update::try_parse_from(words).unwrap().args;
        let raw = serde_json::from_value(args.given()).unwrap();
        let limits = Resources::check(Some(&raw)).unwrap();
        assert_eq!(
            limits.words().join(", "),
            "memory 67108864, memory.swap -1, pids -1, cpu.quota_us -1, cpu.shares 2, cpu.cpus 0, \
             cpu.idle 0, io.weight 500"
        );
        let args = Update::try_parse_from(["update", "one"]).unwrap().args;
        let raw = serde_json::from_value(args.given()).unwrap();
        assert_eq!(Resources::check(Some(&raw)).unwrap(), Resources::default());
    }
}
