//! Limits, written where the controller is: in the version 1 hierarchy that has it, else in the
//! version 2 tree.

use std::fs;
use std::path::Path;

use super::{CgroupDirs, Error, Layout, write};
use crate::failure::Failure;
use crate::spec::{CgroupPath, Resources};

/// Default period of the CPU controller.
const PERIOD_US: u64 = 100_000;

/// A file of a cgroup and what to write to it.
type Setting = (&'static str, String);

pub(super) fn apply(
    layout: &Layout,
    dirs: &CgroupDirs,
    path: &CgroupPath,
    resources: &Resources,
) -> Result<(), Error> {
    for controller in ["memory", "pids", "cpu"] {
        let v1 = layout
            .v1(controller)
            .map(|one| one.root.join(path.relative()));
        let v2 = dirs.v2.as_deref().filter(|_| v1.is_none());
        let settings = match v1 {
            Some(_) => settings_v1(controller, resources),
            None => settings_v2(controller, resources),
        };
        if let (Some(dir), Some(root)) = (v2, layout.v2()) {
            let enabled = enable(controller, &root.root, dir);
            if !settings.is_empty() {
                enabled?;
            }
        }
        if settings.is_empty() {
            continue;
        }
        let dir = v1
            .as_deref()
            .or(v2)
            .ok_or(Error::NoController { controller })?;
        for (file, value) in settings {
            write(&dir.join(file), &value)?;
        }
    }
    Ok(())
}

/// Hands a controller down from the root of the version 2 tree to `dir`.
fn enable(controller: &'static str, root: &Path, dir: &Path) -> Result<(), Error> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    if !controllers
        .split_whitespace()
        .any(|known| known == controller)
    {
        return Err(Error::NoController { controller });
    }
    let mut above: Vec<_> = dir.ancestors().skip(1).collect();
    above.retain(|parent| parent.starts_with(root));
    for parent in above.into_iter().rev() {
        let file = parent.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).unwrap_or_default();
        if enabled.split_whitespace().any(|known| known == controller) {
            continue;
        }
        write(&file, &format!("+{controller}")).map_err(|source: Failure| Error::NotEnabled {
            controller,
            at: parent.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn settings_v1(controller: &str, limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    match controller {
        "memory" => {
            settings.extend(number("memory.limit_in_bytes", limits.memory_limit));
            settings.extend(number(
                "memory.soft_limit_in_bytes",
                limits.memory_reservation,
            ));
            settings.extend(number("memory.memsw.limit_in_bytes", limits.memory_swap));
        }
        "pids" => settings.extend(limits.pids_limit.map(|limit| ("pids.max", pids(limit)))),
        _ => {
            settings.extend(limits.cpu_shares.map(|all| ("cpu.shares", all.to_string())));
            let period = limits.cpu_period_us;
            settings.extend(period.map(|all| ("cpu.cfs_period_us", all.to_string())));
            settings.extend(number("cpu.cfs_quota_us", limits.cpu_quota_us));
        }
    }
    settings
}

fn settings_v2(controller: &str, limits: &Resources) -> Vec<Setting> {
    let mut settings = Vec::new();
    match controller {
        "memory" => {
            let bytes = |value: Option<i64>| value.map(or_max);
            settings.extend(bytes(limits.memory_limit).map(|all| ("memory.max", all)));
            settings.extend(bytes(limits.memory_reservation).map(|all| ("memory.low", all)));
            settings.extend(swap_v2(limits).map(|all| ("memory.swap.max", all)));
        }
        "pids" => settings.extend(limits.pids_limit.map(|limit| ("pids.max", pids(limit)))),
        _ => {
            let weight = limits.cpu_shares.map(cpu_weight);
            settings.extend(weight.map(|weight| ("cpu.weight", weight.to_string())));
            if limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some() {
                let quota = limits.cpu_quota_us.map_or("max".to_owned(), or_max);
                let period = limits.cpu_period_us.unwrap_or(PERIOD_US);
                settings.push(("cpu.max", format!("{quota} {period}")));
            }
        }
    }
    settings
}

fn number(file: &'static str, value: Option<i64>) -> Option<Setting> {
    value.map(|value| (file, value.to_string()))
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

fn pids(limit: i64) -> String {
    or_max(if limit == 0 { -1 } else { limit })
}

/// Version 1 counts memory and swap together, version 2 swap alone.
fn swap_v2(limits: &Resources) -> Option<String> {
    let both = limits.memory_swap?;
    match limits.memory_limit {
        _ if both < 0 => Some("max".to_owned()),
        Some(memory) if memory >= 0 => Some((both - memory).to_string()),
        _ => None,
    }
}

/// Shares, 2 to 262144 with 1024 as the default, as a weight, 1 to 10000: the scale that runc and
/// the kernel's documentation use.
fn cpu_weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9_999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_has_its_own_units() {
        let limits = Resources {
            memory_limit: Some(1000),
            memory_swap: Some(1500),
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            pids_limit: Some(0),
            ..Resources::default()
        };
        assert_eq!(
            settings_v2("memory", &limits),
            [
                ("memory.max", "1000".to_owned()),
                ("memory.swap.max", "500".to_owned())
            ]
        );
        assert_eq!(
            settings_v2("cpu", &limits),
            [
                ("cpu.weight", "39".to_owned()),
                ("cpu.max", "50000 100000".to_owned())
            ]
        );
        assert_eq!(
            settings_v2("pids", &limits),
            [("pids.max", "max".to_owned())]
        );
        assert_eq!(cpu_weight(2), 1);
        assert_eq!(cpu_weight(262_144), 10_000);
    }
}
