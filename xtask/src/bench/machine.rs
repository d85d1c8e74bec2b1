//! The machine that a benchmark ran on.

use std::fs;
use std::num::NonZero;
use std::thread;

use anyhow::Result;
use serde::Serialize;

use crate::cmd::Cmd;

/// What a reader has to know of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Model of the processor.
    pub(crate) processor: String,
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// Memory, in MiB.
    pub(crate) memory_mib: u64,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// Processes that were running or waiting for a processor, over the last minute, before the
    /// benchmark began.
    pub(crate) load: String,
    /// Day, in UTC: `2026-01-31`.
    pub(crate) date: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn read() -> Result<Self> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let load = text("/proc/loadavg");
        Ok(Machine {
            processor: field(&text("/proc/cpuinfo"), "model name").unwrap_or("unknown".to_owned()),
            processors: thread::available_parallelism().map_or(1, NonZero::get),
            memory_mib: memory_mib(&text("/proc/meminfo")),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            date: Cmd::new("date")
                .args(["-u", "+%Y-%m-%d"])
                .read()?
                .trim()
                .to_owned(),
        })
    }
}

fn memory_mib(meminfo: &str) -> u64 {
    let total = field(meminfo, "MemTotal").unwrap_or_default();
    let kib = total.trim_end_matches(" kB").parse().unwrap_or(0u64);
    kib / 1024
}

/// The value in the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::{field, memory_mib};

    #[test]
    fn fields_of_the_kernel_are_read() {
        assert_eq!(
            memory_mib("MemTotal:       24683520 kB\nMemFree: 1 kB\n"),
            24105
        );
        let cpuinfo = "processor\t: 0\nmodel name\t: A: b\n";
        assert_eq!(field(cpuinfo, "model name").as_deref(), Some("A: b"));
        assert_eq!(field("", "model name"), None);
    }
}
