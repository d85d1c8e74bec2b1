//! What version 1 counts.

use std::collections::BTreeMap;
use std::path::Path;

use super::parse::{blkio as entries, flat_keyed, list, text};
use super::{BlkioStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats};
use crate::cgroup::files::number;
use crate::failure::Failure;

/// Nanoseconds of a clock tick (`USER_HZ`, which is 100 everywhere that Reeve runs).
const TICK_NS: u64 = 10_000_000;

pub(super) fn cpu(
    account: Option<&Path>,
    throttle: Option<&Path>,
    cpu: &mut CpuStats,
) -> Result<(), Failure> {
    if let Some(dir) = account {
        let usage = &mut cpu.usage;
        usage.total = number(&dir.join("cpuacct.usage")).unwrap_or_default();
        let each = text(dir, "cpuacct.usage_percpu")?;
        usage.percpu = each
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        // A heading, then `processor user system`.
        for line in text(dir, "cpuacct.usage_all")?.lines().skip(1) {
            let numbers = line.split_whitespace().map(|word| word.parse().ok());
            if let [_, Some(user), Some(kernel)] = numbers.collect::<Vec<Option<u64>>>()[..] {
                usage.percpu_user.push(user);
                usage.percpu_kernel.push(kernel);
            }
        }
        let ticks = flat_keyed(&text(dir, "cpuacct.stat")?);
        let time = |name: &str| {
            ticks
                .get(name)
                .map_or(0, |ticks| ticks.saturating_mul(TICK_NS))
        };
        (usage.user, usage.kernel) = (time("user"), time("system"));
    }
    if let Some(dir) = throttle {
        let found = flat_keyed(&text(dir, "cpu.stat")?);
        let value = |name: &str| found.get(name).copied().unwrap_or_default();
        cpu.throttling.periods = value("nr_periods");
        cpu.throttling.throttled_periods = value("nr_throttled");
        cpu.throttling.throttled_time = value("throttled_time");
    }
    Ok(())
}

pub(super) fn cpuset(dir: &Path) -> CpusetStats {
    let value = |name: &str| number(&dir.join(format!("cpuset.{name}"))).unwrap_or_default();
    let numbers = |name: &str| list(&text(dir, name).unwrap_or_default());
    let level = text(dir, "cpuset.sched_relax_domain_level").unwrap_or_default();
    CpusetStats {
        cpus: numbers("cpuset.cpus"),
        cpu_exclusive: value("cpu_exclusive"),
        mems: numbers("cpuset.mems"),
        mem_hardwall: value("mem_hardwall"),
        mem_exclusive: value("mem_exclusive"),
        memory_migrate: value("memory_migrate"),
        memory_spread_page: value("memory_spread_page"),
        memory_spread_slab: value("memory_spread_slab"),
        memory_pressure: value("memory_pressure"),
        sched_load_balance: value("sched_load_balance"),
        sched_relax_domain_level: level.trim().parse().unwrap_or_default(),
    }
}

pub(super) fn memory(dir: &Path) -> Result<MemoryStats, Failure> {
    let raw = flat_keyed(&text(dir, "memory.stat")?);
    let entry = |kind: &str| {
        let value = |name: &str| number(&dir.join(format!("memory.{kind}{name}")));
        MemoryEntry {
            limit: value("limit_in_bytes").unwrap_or_default(),
            usage: value("usage_in_bytes").unwrap_or_default(),
            max: value("max_usage_in_bytes").unwrap_or_default(),
            failcnt: value("failcnt").unwrap_or_default(),
        }
    };
    let mut events = flat_keyed(&text(dir, "memory.oom_control")?);
    events.retain(|name, _| name == "oom_kill");
    Ok(MemoryStats {
        cache: raw.get("cache").copied().unwrap_or_default(),
        usage: entry(""),
        swap: entry("memsw."),
        kernel: entry("kmem."),
        kernel_tcp: entry("kmem.tcp."),
        raw,
        psi: None,
        events,
    })
}

/// BFQ counts more than the throttling layer, where a device is under it.
pub(super) fn blkio(dir: &Path) -> Result<BlkioStats, Failure> {
    let first = |names: [&str; 3]| -> Result<Vec<_>, Failure> {
        for name in names {
            let found = entries(&text(dir, &format!("blkio.{name}"))?);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    };
    let bfq = |name: &str| -> Result<Vec<_>, Failure> {
        let (bfq, plain) = (format!("bfq.{name}"), name.to_owned());
        first([&bfq, &plain, &plain])
    };
    Ok(BlkioStats {
        io_service_bytes_recursive: first([
            "bfq.io_service_bytes_recursive",
            "throttle.io_service_bytes_recursive",
            "throttle.io_service_bytes",
        ])?,
        io_serviced_recursive: first([
            "bfq.io_serviced_recursive",
            "throttle.io_serviced_recursive",
            "throttle.io_serviced",
        ])?,
        io_queued_recursive: bfq("io_queued_recursive")?,
        io_service_time_recursive: bfq("io_service_time_recursive")?,
        io_wait_time_recursive: bfq("io_wait_time_recursive")?,
        io_merged_recursive: bfq("io_merged_recursive")?,
        io_time_recursive: bfq("time_recursive")?,
        sectors_recursive: bfq("sectors_recursive")?,
        psi: None,
    })
}

pub(super) fn hugetlb(dir: &Path) -> Result<BTreeMap<String, HugetlbStats>, Failure> {
    super::v2::page_sizes(dir, ".usage_in_bytes", |size| {
        let value = |name: &str| number(&dir.join(format!("hugetlb.{size}.{name}")));
        HugetlbStats {
            usage: value("usage_in_bytes").unwrap_or_default(),
            max: value("max_usage_in_bytes").unwrap_or_default(),
            failcnt: value("failcnt").unwrap_or_default(),
        }
    })
}
