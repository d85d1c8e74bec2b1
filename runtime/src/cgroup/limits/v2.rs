//! What version 2 has for each limit (`Documentation/admin-guide/cgroup-v2.rst`).

use super::convert::{cpu_weight, io_weight, or_max};
use super::{Controller, Current, Error, Setting};
use crate::spec::{BlockIo, Cpu, DeviceRate, Memory, Resources};

/// In the order in which they are written.
///
/// # Errors
/// A limit that version 2 has not.
pub(super) fn settings(
    controller: Controller,
    limits: &Resources,
    now: &impl Current,
) -> Result<Vec<Setting>, Error> {
    match controller {
        Controller::Memory => memory(&limits.memory, now),
        Controller::Cpu => cpu(&limits.cpu, now),
        Controller::Cpuset => Ok(super::v1::cpuset(&limits.cpu)),
        Controller::Pids => Ok(pids(limits)),
        Controller::Io => block_io(&limits.block_io, now),
        Controller::Hugetlb => Ok(hugetlb(limits)),
        Controller::NetCls => Err(Error::OnlyVersion1("network.classID")),
        Controller::NetPrio => Err(Error::OnlyVersion1("network.priorities")),
        Controller::Rdma => Ok(rdma(limits)),
    }
}

fn memory(memory: &Memory, now: &impl Current) -> Result<Vec<Setting>, Error> {
    if memory.swappiness.is_some() {
        return Err(Error::OnlyVersion1("memory.swappiness"));
    }
    if memory.disable_oom_killer {
        return Err(Error::OnlyVersion1("memory.disableOOMKiller"));
    }
    if let Some(bytes) = memory.kernel_tcp {
        tracing::debug!(
            bytes,
            "linux.resources.memory.kernelTCP is part of memory.limit"
        );
    }
    let mut settings = Vec::new();
    let limit = memory.limit;
    settings.extend(limit.map(|all| Setting::new("memory.limit", "memory.max", or_max(all))));
    let low = memory.reservation;
    settings.extend(low.map(|all| Setting::new("memory.reservation", "memory.low", or_max(all))));
    settings.extend(swap(memory, now)?.map(|value| {
        // Without swap there is none to use.
        let none = value < 1;
        Setting::new("memory.swap", "memory.swap.max", or_max(value)).optional_if(none)
    }));
    Ok(settings)
}

/// Version 1 counts memory and swap together, version 2 swap alone; −1 is unlimited.
fn swap(memory: &Memory, now: &impl Current) -> Result<Option<i64>, Error> {
    let both = match (memory.swap, memory.limit) {
        (None, Some(..0)) => return Ok(Some(-1)),
        (None, _) => return Ok(None),
        (Some(both), _) if both < 0 => return Ok(Some(-1)),
        (Some(both), _) => both,
    };
    // An update may change one of the two.
    let limit = memory
        .limit
        .or_else(|| now.text("memory.max")?.trim().parse().ok());
    match limit {
        Some(limit) if (0..=both).contains(&limit) => Ok(Some(both - limit)),
        _ => Err(Error::SwapAlone),
    }
}

fn cpu(cpu: &Cpu, now: &impl Current) -> Result<Vec<Setting>, Error> {
    if cpu.realtime_runtime_us.is_some() {
        return Err(Error::OnlyVersion1("cpu.realtimeRuntime"));
    }
    if cpu.realtime_period_us.is_some() {
        return Err(Error::OnlyVersion1("cpu.realtimePeriod"));
    }
    let mut settings = Vec::new();
    settings.extend(super::v1::idle(cpu));
    // A group that only runs when idle has the least weight, and takes no other.
    if cpu.idle != Some(true) {
        let weight = cpu.shares.map(cpu_weight);
        settings.extend(weight.map(|value| Setting::new("cpu.shares", "cpu.weight", value)));
    }
    if cpu.quota_us.is_some() || cpu.period_us.is_some() {
        let quota = cpu.quota_us.map(or_max).or_else(|| {
            let text = now.text("cpu.max")?;
            text.split(' ').next().map(str::to_owned)
        });
        let mut value = quota.unwrap_or_else(|| "max".to_owned());
        // The kernel keeps a period that is not written.
        if let Some(period) = cpu.period_us {
            value = format!("{value} {period}");
        }
        let key = if cpu.quota_us.is_some() {
            "cpu.quota"
        } else {
            "cpu.period"
        };
        settings.push(Setting::new(key, "cpu.max", value));
    }
    let burst = cpu.burst_us;
    settings
        .extend(burst.map(|value| {
            Setting::new("cpu.burst", "cpu.max.burst", value).optional_if(value == 0)
        }));
    Ok(settings)
}

pub(super) fn pids(limits: &Resources) -> Vec<Setting> {
    let limit = limits.pids_limit.into_iter();
    limit
        .map(|limit| Setting::new("pids.limit", "pids.max", or_max(limit)))
        .collect()
}

fn block_io(io: &BlockIo, now: &impl Current) -> Result<Vec<Setting>, Error> {
    let leaf = io
        .weight_devices
        .iter()
        .any(|one| one.leaf_weight.is_some());
    if leaf || io.leaf_weight.is_some() {
        return Err(Error::OnlyVersion1("blockIO.leafWeight"));
    }
    let mut settings = Vec::new();
    // BFQ keeps the scale of version 1.
    let bfq = now.has("io.bfq.weight");
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let scaled = |weight: u16| {
        if bfq {
            u64::from(weight)
        } else {
            io_weight(weight)
        }
    };
    let weight = io.weight.map(scaled);
    settings.extend(weight.map(|value| Setting::new("blockIO.weight", file, value)));
    for one in &io.weight_devices {
        settings.extend(one.weight.map(scaled).map(|value| {
            let line = format!("{} {value}", one.device);
            Setting::new("blockIO.weightDevice", file, line)
        }));
    }
    for (key, name, rates) in [
        ("blockIO.throttleReadBpsDevice", "rbps", &io.read_bps),
        ("blockIO.throttleWriteBpsDevice", "wbps", &io.write_bps),
        ("blockIO.throttleReadIOPSDevice", "riops", &io.read_iops),
        ("blockIO.throttleWriteIOPSDevice", "wiops", &io.write_iops),
    ] {
        let line = |one: &DeviceRate| match one.rate {
            0 => format!("{} {name}=max", one.device),
            rate => format!("{} {name}={rate}", one.device),
        };
        settings.extend(
            rates
                .iter()
                .map(|one| Setting::new(key, "io.max", line(one))),
        );
    }
    Ok(settings)
}

fn hugetlb(limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    for one in &limits.hugepages {
        let (key, size, limit) = ("hugepageLimits", &one.page_size, or_max(one.limit));
        settings.push(Setting::new(key, format!("hugetlb.{size}.max"), &limit));
        let reserved = format!("hugetlb.{size}.rsvd.max");
        settings.push(Setting::new(key, reserved, &limit).optional_if(true));
    }
    settings
}

pub(super) fn rdma(limits: &Resources) -> Vec<Setting> {
    let number = |limit: Option<u32>| limit.map_or("max".to_owned(), |limit| limit.to_string());
    let lines = limits.rdma.iter().map(|one| {
        let (handles, objects) = (number(one.handles), number(one.objects));
        format!("{} hca_handle={handles} hca_object={objects}", one.device)
    });
    lines
        .map(|line| Setting::new("rdma", "rdma.max", line))
        .collect()
}
