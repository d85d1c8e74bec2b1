//! What version 1 has for each limit (`Documentation/admin-guide/cgroup-v1`).

use super::{Controller, Current, Setting};
use crate::spec::{BlockIo, Cpu, DeviceRate, Memory, NetworkClass, Resources};

/// In the order in which they are written.
pub(super) fn settings(
    controller: Controller,
    limits: &Resources,
    now: &impl Current,
) -> Vec<Setting> {
    match controller {
        Controller::Memory => memory(&limits.memory, now),
        Controller::Cpu => cpu(&limits.cpu),
        Controller::Cpuset => cpuset(&limits.cpu),
        Controller::Pids => super::v2::pids(limits),
        Controller::Io => block_io(&limits.block_io, now),
        Controller::Hugetlb => hugetlb(limits),
        Controller::NetCls | Controller::NetPrio => network(controller, &limits.network),
        Controller::Rdma => super::v2::rdma(limits),
    }
}

/// The limit of memory can never be above that of memory and swap, so whichever makes room goes
/// first.
fn memory(memory: &Memory, now: &impl Current) -> Vec<Setting> {
    let mut settings = Vec::new();
    let limit = memory
        .limit
        .map(|bytes| ("memory.limit", "memory.limit_in_bytes", bytes));
    // Unlimited memory with the old limit of memory and swap would still be limited.
    let swap = memory.swap.or(memory.limit.filter(|limit| *limit < 0));
    let swap = swap.map(|bytes| ("memory.swap", "memory.memsw.limit_in_bytes", bytes));
    let before = now.text("memory.memsw.limit_in_bytes");
    let before: Option<u64> = before.and_then(|text| text.trim().parse().ok());
    let raised = swap.is_some_and(|(.., bytes)| {
        u64::try_from(bytes).map_or(true, |bytes| before.is_some_and(|before| bytes >= before))
    });
    let ordered = if raised { [swap, limit] } else { [limit, swap] };
    for (key, file, bytes) in ordered.into_iter().flatten() {
        // Without accounting of swap there is no limit to lift.
        let optional = key == "memory.swap" && bytes < 0;
        settings.push(Setting::new(key, file, bytes).optional_if(optional));
    }
    let reservation = memory.reservation;
    settings.extend(
        reservation
            .map(|bytes| Setting::new("memory.reservation", "memory.soft_limit_in_bytes", bytes)),
    );
    // Kernels drop it by and by, and have counted the same memory in `memory.limit` all along.
    settings.extend(memory.kernel_tcp.map(|bytes| {
        Setting::new("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", bytes).optional_if(true)
    }));
    let swappiness = memory.swappiness;
    settings.extend(
        swappiness.map(|value| Setting::new("memory.swappiness", "memory.swappiness", value)),
    );
    if memory.disable_oom_killer {
        settings.push(Setting::new(
            "memory.disableOOMKiller",
            "memory.oom_control",
            1,
        ));
    }
    settings
}

fn cpu(cpu: &Cpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    // A group that only runs when idle has the least shares, and takes no others.
    settings.extend(idle(cpu));
    if cpu.idle != Some(true) {
        let shares = cpu.shares;
        settings.extend(shares.map(|value| Setting::new("cpu.shares", "cpu.shares", value)));
    }
    let period = cpu.period_us;
    settings.extend(period.map(|value| Setting::new("cpu.period", "cpu.cfs_period_us", value)));
    let quota = cpu.quota_us;
    settings.extend(quota.map(|value| Setting::new("cpu.quota", "cpu.cfs_quota_us", value)));
    let burst = cpu.burst_us;
    settings.extend(
        burst.map(|value| {
            Setting::new("cpu.burst", "cpu.cfs_burst_us", value).optional_if(value == 0)
        }),
    );
    let period = cpu.realtime_period_us;
    settings
        .extend(period.map(|value| Setting::new("cpu.realtimePeriod", "cpu.rt_period_us", value)));
    let runtime = cpu.realtime_runtime_us;
    settings.extend(
        runtime.map(|value| Setting::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", value)),
    );
    settings
}

pub(super) fn idle(cpu: &Cpu) -> Option<Setting> {
    let idle = cpu.idle?;
    Some(Setting::new("cpu.idle", "cpu.idle", u8::from(idle)).optional_if(!idle))
}

pub(super) fn cpuset(cpu: &Cpu) -> Vec<Setting> {
    let cpus = cpu
        .cpus
        .as_ref()
        .map(|list| Setting::new("cpu.cpus", "cpuset.cpus", list));
    let mems = cpu
        .mems
        .as_ref()
        .map(|list| Setting::new("cpu.mems", "cpuset.mems", list));
    cpus.into_iter().chain(mems).collect()
}

fn block_io(io: &BlockIo, now: &impl Current) -> Vec<Setting> {
    let mut settings = Vec::new();
    // The scheduler that gave the plain names left the kernel with 5.0; BFQ has its own.
    let bfq = !now.has("blkio.weight") && now.has("blkio.bfq.weight");
    let (weight, device) = if bfq {
        ("blkio.bfq.weight", "blkio.bfq.weight_device")
    } else {
        ("blkio.weight", "blkio.weight_device")
    };
    settings.extend(
        io.weight
            .map(|value| Setting::new("blockIO.weight", weight, value)),
    );
    settings.extend(
        io.leaf_weight
            .map(|value| Setting::new("blockIO.leafWeight", "blkio.leaf_weight", value)),
    );
    for one in &io.weight_devices {
        let line = |value: u16| format!("{} {value}", one.device);
        settings.extend(
            one.weight
                .map(line)
                .map(|line| Setting::new("blockIO.weightDevice", device, line)),
        );
        settings.extend(
            one.leaf_weight
                .map(line)
                .map(|line| Setting::new("blockIO.weightDevice", "blkio.leaf_weight_device", line)),
        );
    }
    for (key, file, rates) in [
        (
            "blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            &io.read_bps,
        ),
        (
            "blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            &io.write_bps,
        ),
        (
            "blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            &io.read_iops,
        ),
        (
            "blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            &io.write_iops,
        ),
    ] {
        let line = |one: &DeviceRate| format!("{} {}", one.device, one.rate);
        settings.extend(rates.iter().map(|one| Setting::new(key, file, line(one))));
    }
    settings
}

fn hugetlb(limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    for one in &limits.hugepages {
        let (key, size) = ("hugepageLimits", &one.page_size);
        settings.push(Setting::new(
            key,
            format!("hugetlb.{size}.limit_in_bytes"),
            one.limit,
        ));
        // Reserved pages are counted since Linux 5.7.
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        settings.push(Setting::new(key, reserved, one.limit).optional_if(true));
    }
    settings
}

fn network(controller: Controller, network: &NetworkClass) -> Vec<Setting> {
    if controller == Controller::NetCls {
        let class = network.class_id.into_iter();
        let classes = class.map(|class| Setting::new("network.classID", "net_cls.classid", class));
        return classes.collect();
    }
    let lines = network
        .priorities
        .iter()
        .map(|(name, value)| format!("{name} {value}"));
    let lines = lines.map(|line| Setting::new("network.priorities", "net_prio.ifpriomap", line));
    lines.collect()
}
