//! `reeve events`: what a container uses, and when its memory ends, as lines of JSON.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Error;
use super::pause::alive;
use crate::cgroup::{self, CgroupDirs, OomEvent, OomWatch, Stats};
use crate::spec::ContainerId;

/// Print what a container uses, and when it is out of memory, as lines of JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  reeve events web                # statistics every 5 seconds, and when memory runs out
  reeve events --stats web        # once")]
pub struct Args {
    /// Time between two lines, such as `500ms` or `1m30s`
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Print what it uses now, once
    #[arg(long)]
    stats: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: ContainerId,
}

/// One line.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a ContainerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// As other runtimes have it: the last two are always there.
#[derive(Serialize)]
struct Data {
    #[serde(flatten)]
    stats: Stats,
    intel_rdt: Nothing,
    network_interfaces: Option<Nothing>,
}

#[derive(Serialize)]
struct Nothing {}

pub(super) fn run(args: &Args, root: &Path) -> Result<ExitCode, Error> {
    let state = alive(root, &args.id)?;
    if args.stats {
        print_stats(&args.id, &state.cgroups)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut watch = OomWatch::new(&state.cgroups)?;
    let mut due = Instant::now() + args.interval;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let going_on = match watch.wait(left)? {
            OomEvent::Oom => print(&Event {
                kind: "oom",
                id: &args.id,
                data: None,
            })?,
            OomEvent::Ended => false,
            OomEvent::Quiet if Instant::now() >= due => {
                due += args.interval;
                print_stats(&args.id, &state.cgroups)?
            }
            OomEvent::Quiet => true,
        };
        if !going_on {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print_stats(id: &ContainerId, dirs: &CgroupDirs) -> Result<bool, Error> {
    let data = Data {
        stats: cgroup::stats(dirs)?,
        intel_rdt: Nothing {},
        network_interfaces: None,
    };
    print(&Event {
        kind: "stats",
        id,
        data: Some(data),
    })
}

/// Prints a line; `false` if nobody reads any more.
fn print(event: &Event<'_>) -> Result<bool, Error> {
    let text = serde_json::to_string(event)?;
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// A time as numbers with units, from hours to milliseconds; more than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a time above zero, such as `500ms` or `1m30s`");
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let is_number = |char: char| char.is_ascii_digit() || char == '.';
        let unit_at = rest.find(|char| !is_number(char)).ok_or_else(bad)?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after.find(is_number).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(bad()),
        };
        let number: f64 = number.parse().map_err(|_| bad())?;
        all += Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
        rest = after;
    }
    // Sums of times stay far from overflowing below this.
    let most = Duration::from_secs(1 << 32);
    if all.is_zero() || all > most {
        Err(bad())
    } else {
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected_ms) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(expected_ms)),
                "{text}"
            );
        }
        for text in ["", "5", "s", "0s", "-1s", "1d", "1s2", "99999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_have_the_names_that_are_read() {
        let id: ContainerId = "one".parse().unwrap();
        let data = Data {
            stats: Stats::default(),
            intel_rdt: Nothing {},
            network_interfaces: None,
        };
        let event = Event {
            kind: "stats",
            id: &id,
            data: Some(data),
        };
        let line = serde_json::to_value(&event).unwrap();
        assert_eq!(
            (&line["type"], &line["id"]),
            (&"stats".into(), &"one".into())
        );
        for (key, value) in [
            ("/data/cpu/usage/kernel", 0.into()),
            ("/data/cpuset/sched_relax_domain_level", 0.into()),
            ("/data/memory/kernelTCP/limit", 0.into()),
            ("/data/hugetlb", serde_json::json!({})),
            ("/data/intel_rdt", serde_json::json!({})),
            ("/data/network_interfaces", serde_json::Value::Null),
        ] {
            assert_eq!(line.pointer(key), Some(&value), "{key}");
        }
        let oom = Event {
            kind: "oom",
            id: &id,
            data: None,
        };
        let line = serde_json::to_string(&oom).unwrap();
        assert_eq!(line, r#"{"type":"oom","id":"one"}"#);
    }
}
