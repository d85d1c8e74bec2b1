//! What a container uses, in the units and under the names that runc prints: `reeve events` is read
//! by programs that expect them.

mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use super::controller::{Controller, Group, Groups};
use super::{CgroupDirs, Layout};
use crate::failure::Failure;

/// What a container uses. What its host does not count is zero or empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Processors and memory nodes.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub blkio: BlkioStats,
    /// Huge pages by size, such as `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// RDMA devices by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, RdmaStats>,
}

/// How long tasks waited for something (`Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: PressureLine,
    /// All tasks that had something to do waited.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PressureLine {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last 60 seconds.
    pub avg60: f64,
    /// Per cent of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds since the group was made.
    pub total: u64,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuStats {
    /// Time used.
    pub usage: CpuUsage,
    /// Time not had because of a quota.
    pub throttling: Throttling,
    /// Waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time used, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel, by processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In user mode, by processor (version 1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
}

/// What a quota took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Those in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Processors and memory nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpusetStats {
    /// Processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// Files of version 1, as they are.
    pub cpu_exclusive: u64,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// As above.
    pub mem_hardwall: u64,
    /// As above.
    pub mem_exclusive: u64,
    /// As above.
    pub memory_migrate: u64,
    /// As above.
    pub memory_spread_page: u64,
    /// As above.
    pub memory_spread_slab: u64,
    /// As above.
    pub memory_pressure: u64,
    /// As above.
    pub sched_load_balance: u64,
    /// As above.
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryStats {
    /// Pages of files.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// All memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, as version 1 counts.
    pub swap: MemoryEntry,
    /// The kernel's part.
    pub kernel: MemoryEntry,
    /// Buffers of TCP (version 1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
    /// How often what happened (`memory.events`; of version 1 `oom_kill` only).
    #[serde(rename = "event_count")]
    pub events: BTreeMap<String, u64>,
}

/// One kind of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// Limit; [`u64::MAX`] for none of version 2.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PidsStats {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 is unlimited.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlkioStats {
    /// Bytes moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations that were merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of the device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Waiting for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A number of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard` or `Total`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The number.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbStats {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there ever was (version 1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// One RDMA device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RdmaStats {
    /// Open handles.
    pub hca_handles: u64,
    /// Objects made.
    pub hca_objects: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What the container uses now. Each controller is asked where it is; one that is missing, as one
/// that the kernel removes meanwhile, counts nothing.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn stats(dirs: &CgroupDirs) -> Result<Stats, Failure> {
    let layout = &Layout::detect();
    let groups = Groups { layout, dirs };
    let mut stats = Stats::default();
    let v2 = dirs.v2.as_deref();
    match (groups.v1("cpuacct"), groups.v1("cpu"), v2) {
        // Time is counted in every version 2 group, with or without the controller.
        (None, None, Some(dir)) => v2::cpu(dir, &mut stats.cpu)?,
        (account, throttle, _) => v1::cpu(account, throttle, &mut stats.cpu)?,
    }
    match groups.find(Controller::Cpuset) {
        Some(Group::V1(dir)) => stats.cpuset = v1::cpuset(dir),
        Some(Group::V2(dir)) => stats.cpuset = v2::cpuset(dir),
        None => {}
    }
    match groups.find(Controller::Memory) {
        Some(Group::V1(dir)) => stats.memory = v1::memory(dir)?,
        Some(Group::V2(dir)) => stats.memory = v2::memory(dir)?,
        None => {}
    }
    if let Some(Group::V1(dir) | Group::V2(dir)) = groups.find(Controller::Pids) {
        stats.pids = v2::pids(dir);
    }
    match groups.find(Controller::Io) {
        Some(Group::V1(dir)) => stats.blkio = v1::blkio(dir)?,
        Some(Group::V2(dir)) => stats.blkio = v2::blkio(dir)?,
        None => {}
    }
    match groups.find(Controller::Hugetlb) {
        Some(Group::V1(dir)) => stats.hugetlb = v1::hugetlb(dir)?,
        Some(Group::V2(dir)) => stats.hugetlb = v2::hugetlb(dir)?,
        None => {}
    }
    if let Some(Group::V1(dir) | Group::V2(dir)) = groups.find(Controller::Rdma) {
        stats.rdma = v2::rdma(dir)?;
    }
    if let Some(dir) = v2 {
        stats.cpu.psi = v2::pressure(dir, "cpu.pressure");
        stats.memory.psi = v2::pressure(dir, "memory.pressure");
        stats.blkio.psi = v2::pressure(dir, "io.pressure");
    }
    Ok(stats)
}

#[cfg(test)]
mod tests;
