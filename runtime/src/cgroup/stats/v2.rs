//! What version 2 counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::parse::{self, device, flat_keyed, list, nested_keyed, text};
use super::{
    BlkioEntry, BlkioStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats,
    PidsStats, Pressure, RdmaStats,
};
use crate::cgroup::files::{is_gone, number};
use crate::failure::{Called, Failure};

pub(super) fn cpu(dir: &Path, cpu: &mut CpuStats) -> Result<(), Failure> {
    let found = flat_keyed(&text(dir, "cpu.stat")?);
    let value = |name: &str| found.get(name).copied().unwrap_or_default();
    let time = |name: &str| value(name).saturating_mul(1000);
    cpu.usage.total = time("usage_usec");
    cpu.usage.user = time("user_usec");
    cpu.usage.kernel = time("system_usec");
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = time("throttled_usec");
    Ok(())
}

pub(super) fn cpuset(dir: &Path) -> CpusetStats {
    let numbers = |name: &str| list(&text(dir, name).unwrap_or_default());
    CpusetStats {
        cpus: numbers("cpuset.cpus.effective"),
        mems: numbers("cpuset.mems.effective"),
        ..CpusetStats::default()
    }
}

pub(super) fn memory(dir: &Path) -> Result<MemoryStats, Failure> {
    let raw = flat_keyed(&text(dir, "memory.stat")?);
    let events = flat_keyed(&text(dir, "memory.events")?);
    let swap_events = flat_keyed(&text(dir, "memory.swap.events")?);
    let value = |name: &str| number(&dir.join(name)).unwrap_or_default();
    let count = |events: &BTreeMap<String, u64>| events.get("max").copied().unwrap_or_default();
    let usage = MemoryEntry {
        limit: value("memory.max"),
        usage: value("memory.current"),
        max: value("memory.peak"),
        failcnt: count(&events),
    };
    // Version 1 counts memory and swap together, and so do those who read this.
    let swap = MemoryEntry {
        limit: value("memory.swap.max").saturating_add(usage.limit),
        usage: value("memory.swap.current").saturating_add(usage.usage),
        max: 0,
        failcnt: count(&swap_events),
    };
    let kernel = MemoryEntry {
        usage: raw.get("kernel").copied().unwrap_or_default(),
        ..MemoryEntry::default()
    };
    Ok(MemoryStats {
        cache: raw.get("file").copied().unwrap_or_default(),
        usage,
        swap,
        kernel,
        kernel_tcp: MemoryEntry::default(),
        raw,
        psi: None,
        events,
    })
}

pub(super) fn pids(dir: &Path) -> PidsStats {
    let limit = number(&dir.join("pids.max")).filter(|limit| *limit != u64::MAX);
    PidsStats {
        current: number(&dir.join("pids.current")).unwrap_or_default(),
        limit: limit.unwrap_or_default(),
    }
}

pub(super) fn blkio(dir: &Path) -> Result<BlkioStats, Failure> {
    let mut stats = BlkioStats::default();
    for (name, values) in nested_keyed(&text(dir, "io.stat")?) {
        let Some((major, minor)) = device(name) else {
            continue;
        };
        for (name, op, is_bytes) in [
            ("rbytes", "Read", true),
            ("wbytes", "Write", true),
            ("dbytes", "Discard", true),
            ("rios", "Read", false),
            ("wios", "Write", false),
            ("dios", "Discard", false),
        ] {
            let Some(value) = values.get(name).copied() else {
                continue;
            };
            let entry = BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value,
            };
            if is_bytes {
                stats.io_service_bytes_recursive.push(entry);
            } else {
                stats.io_serviced_recursive.push(entry);
            }
        }
    }
    Ok(stats)
}

pub(super) fn hugetlb(dir: &Path) -> Result<BTreeMap<String, HugetlbStats>, Failure> {
    page_sizes(dir, ".current", |size| {
        let events = text(dir, &format!("hugetlb.{size}.events")).unwrap_or_default();
        HugetlbStats {
            usage: number(&dir.join(format!("hugetlb.{size}.current"))).unwrap_or_default(),
            max: 0,
            failcnt: flat_keyed(&events).get("max").copied().unwrap_or_default(),
        }
    })
}

/// The sizes of huge pages for which a group has files `hugetlb.SIZE` and `suffix`.
pub(super) fn page_sizes(
    dir: &Path,
    suffix: &str,
    stats: impl Fn(&str) -> HugetlbStats,
) -> Result<BTreeMap<String, HugetlbStats>, Failure> {
    let call = || format!("readdir(\"{}\")", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if is_gone(&error) => return Ok(BTreeMap::new()),
        entries => entries.called(call)?,
    };
    let mut sizes = BTreeMap::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let size = name.to_str().and_then(|name| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            // `2MB.rsvd` is another number of the same size.
            (!size.contains('.')).then_some(size)
        });
        if let Some(size) = size {
            sizes.insert(size.to_owned(), stats(size));
        }
    }
    Ok(sizes)
}

pub(super) fn rdma(dir: &Path) -> Result<BTreeMap<String, RdmaStats>, Failure> {
    let text = text(dir, "rdma.current")?;
    let devices = nested_keyed(&text).map(|(name, values)| {
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let stats = RdmaStats {
            hca_handles: value("hca_handle"),
            hca_objects: value("hca_object"),
        };
        (name.to_owned(), stats)
    });
    Ok(devices.collect())
}

/// A pressure file; a kernel may be without them, or have them switched off.
pub(super) fn pressure(dir: &Path, file: &str) -> Option<Pressure> {
    parse::pressure(&text(dir, file).ok()?)
}
