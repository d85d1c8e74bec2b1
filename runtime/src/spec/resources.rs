//! Limits, in the units of the configuration.

use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxResources};
use serde::Serialize;

use super::{Error, Problem};

/// Limits of the container's cgroups; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Hard memory limit in bytes; −1 is unlimited.
    pub memory_limit: Option<i64>,
    /// Soft memory limit in bytes.
    pub memory_reservation: Option<i64>,
    /// Limit of memory and swap together in bytes, as version 1 counts.
    pub memory_swap: Option<i64>,
    /// Number of tasks; zero or less is unlimited.
    pub pids_limit: Option<i64>,
    /// Relative weight, 2 to 262144, as version 1 counts.
    pub cpu_shares: Option<u64>,
    /// Time per period in microseconds; −1 is unlimited.
    pub cpu_quota_us: Option<i64>,
    /// Period in microseconds.
    pub cpu_period_us: Option<u64>,
}

impl Resources {
    pub(super) fn check(raw: Option<&LinuxResources>) -> Result<Self, Error> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        let key = |name: &str| format!("linux.resources.{name}");
        let used = [
            ("blockIO", raw.block_io().is_some()),
            (
                "hugepageLimits",
                raw.hugepage_limits()
                    .as_ref()
                    .is_some_and(|all| !all.is_empty()),
            ),
            ("network", raw.network().is_some()),
            (
                "rdma",
                raw.rdma().as_ref().is_some_and(|all| !all.is_empty()),
            ),
            (
                "unified",
                raw.unified().as_ref().is_some_and(|all| !all.is_empty()),
            ),
        ];
        if let Some((name, _)) = used.iter().find(|(_, used)| *used) {
            return Err(Error::unsupported(key(name)));
        }
        check_devices(raw.devices().as_deref().unwrap_or_default())?;
        let mut resources = Self {
            pids_limit: raw.pids().map(|pids| pids.limit()),
            ..Self::default()
        };
        if let Some(memory) = raw.memory() {
            resources.take_memory(memory)?;
        }
        if let Some(cpu) = raw.cpu() {
            resources.take_cpu(cpu)?;
        }
        Ok(resources)
    }

    fn take_memory(&mut self, raw: &LinuxMemory) -> Result<(), Error> {
        let used = [
            ("kernel", raw.kernel().is_some()),
            ("kernelTCP", raw.kernel_tcp().is_some()),
            ("swappiness", raw.swappiness().is_some()),
            ("disableOOMKiller", raw.disable_oom_killer() == Some(true)),
        ];
        if let Some((name, _)) = used.iter().find(|(_, used)| *used) {
            return Err(Error::unsupported(format!("linux.resources.memory.{name}")));
        }
        for (name, value) in [
            ("limit", raw.limit()),
            ("reservation", raw.reservation()),
            ("swap", raw.swap()),
        ] {
            if let Some(value) = value.filter(|value| *value < -1) {
                let key = format!("linux.resources.memory.{name}");
                return Err(Error::invalid(key, Problem::OutOfRange(value)));
            }
        }
        // Zero is "not given" for engines that fill every key in.
        let given = |value: Option<i64>| value.filter(|value| *value != 0);
        self.memory_limit = given(raw.limit());
        self.memory_reservation = given(raw.reservation());
        self.memory_swap = given(raw.swap());
        if let (Some(swap), Some(limit)) = (self.memory_swap, self.memory_limit)
            && swap >= 0
            && limit >= 0
            && swap < limit
        {
            let key = "linux.resources.memory.swap";
            return Err(Error::invalid(key, Problem::OutOfRange(swap)));
        }
        Ok(())
    }

    fn take_cpu(&mut self, raw: &LinuxCpu) -> Result<(), Error> {
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let used = [
            ("idle", raw.idle().is_some()),
            ("burst", raw.burst().is_some()),
            ("realtimeRuntime", raw.realtime_runtime().is_some()),
            ("realtimePeriod", raw.realtime_period().is_some()),
            ("cpus", text(raw.cpus())),
            ("mems", text(raw.mems())),
        ];
        if let Some((name, _)) = used.iter().find(|(_, used)| *used) {
            return Err(Error::unsupported(format!("linux.resources.cpu.{name}")));
        }
        self.cpu_shares = raw.shares().filter(|shares| *shares != 0);
        self.cpu_quota_us = raw.quota().filter(|quota| *quota != 0);
        self.cpu_period_us = raw.period().filter(|period| *period != 0);
        Ok(())
    }
}

/// Device rules are not carried out by a cgroup program; opens of device nodes are governed by the
/// policy. The rule that every generated configuration starts with, "deny all", is what a policy
/// does anyway.
fn check_devices(rules: &[LinuxDeviceCgroup]) -> Result<(), Error> {
    for (at, rule) in rules.iter().enumerate() {
        let deny_all = !rule.allow()
            && rule
                .typ()
                .is_none_or(|typ| typ == oci_spec::runtime::LinuxDeviceType::A)
            && rule.major().is_none_or(|major| major < 0)
            && rule.minor().is_none_or(|minor| minor < 0);
        if !deny_all {
            return Err(Error::unsupported(format!("linux.resources.devices[{at}]")));
        }
        tracing::debug!(
            rule = at,
            "deny-all device rule left to the policy, which governs opens of device nodes"
        );
    }
    Ok(())
}
