//! Limits as properties of a unit (`org.freedesktop.systemd1(5)`, `systemd.resource-control(5)`).
//!
//! Those that systemd has not (huge pages, burst, …) are written to the files only. It does not
//! touch what it has no property for.

use super::bus::Value;
use crate::cgroup::devices;
use crate::cgroup::limits::{cpu_weight, io_weight};
use crate::spec::Resources;

/// "Infinity", for every number.
const UNLIMITED: u64 = u64::MAX;

/// Default period of the CPU controller in microseconds.
const PERIOD_US: u64 = 100_000;

/// The properties of what is given.
pub(super) fn of(limits: &Resources, pure_v2: bool) -> Vec<(String, Value)> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    let bytes = |value: i64| Value::U64(u64::try_from(value).unwrap_or(UNLIMITED));
    let memory = &limits.memory;
    let max = if pure_v2 { "MemoryMax" } else { "MemoryLimit" };
    all.extend(memory.limit.map(|limit| (max, bytes(limit))));
    if pure_v2 {
        all.extend(memory.reservation.map(|limit| ("MemoryLow", bytes(limit))));
        let swap = match (memory.swap, memory.limit) {
            (Some(both), Some(limit)) if both >= limit && limit >= 0 => Some(both - limit),
            (Some(both), _) if both < 0 => Some(both),
            _ => None,
        };
        all.extend(swap.map(|swap| ("MemorySwapMax", bytes(swap))));
    }
    all.extend(limits.pids_limit.map(|limit| ("TasksMax", bytes(limit))));
    all.extend(cpu(limits, pure_v2));
    if let Some(weight) = limits.block_io.weight {
        all.push(if pure_v2 {
            ("IOWeight", Value::U64(io_weight(weight)))
        } else {
            ("BlockIOWeight", Value::U64(weight.into()))
        });
    }
    if !limits.devices.is_empty()
        && let Some(allowed) = devices::for_systemd(&limits.devices)
    {
        all.push(("DevicePolicy", Value::Text("strict".to_owned())));
        all.push(("DeviceAllow", Value::Pairs(allowed)));
    }
    let named = all.into_iter();
    named
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn cpu(limits: &Resources, pure_v2: bool) -> Vec<(&'static str, Value)> {
    let cpu = &limits.cpu;
    let mut all = Vec::new();
    all.extend(cpu.shares.map(|shares| {
        if pure_v2 {
            ("CPUWeight", Value::U64(cpu_weight(shares)))
        } else {
            ("CPUShares", Value::U64(shares))
        }
    }));
    if let Some(quota) = cpu.quota_us {
        let period = cpu.period_us.unwrap_or(PERIOD_US);
        let quota = u64::try_from(quota).map_or(UNLIMITED, |quota| {
            // It keeps whole per cents of a second; less than asked for would be less than given.
            (quota.saturating_mul(1_000_000) / period)
                .div_ceil(10_000)
                .saturating_mul(10_000)
        });
        all.push(("CPUQuotaPerSecUSec", Value::U64(quota)));
    }
    if pure_v2 {
        let period = cpu.period_us;
        all.extend(period.map(|period| ("CPUQuotaPeriodUSec", Value::U64(period))));
        for (name, list) in [
            ("AllowedCPUs", &cpu.cpus),
            ("AllowedMemoryNodes", &cpu.mems),
        ] {
            let mask = list.as_deref().and_then(mask);
            all.extend(mask.map(|mask| (name, Value::Bytes(mask))));
        }
    }
    all
}

/// A list of numbers and ranges as a mask, the lowest in the first bit of the first byte; `None`
/// for a form that has no such mask.
fn mask(list: &str) -> Option<Vec<u8>> {
    /// As many processors as Linux can have.
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        for number in first..=last.min(MOST) {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn properties(value: serde_json::Value, pure_v2: bool) -> Vec<(String, Value)> {
        let raw = serde_json::from_value(value).unwrap();
        of(&Resources::check(Some(&raw)).unwrap(), pure_v2)
    }

    #[test]
    fn limits_have_the_names_of_their_version() {
        let value = json!({
            "memory": { "limit": 1000, "reservation": 5, "swap": 1500 },
            "cpu": { "shares": 1024, "quota": 50_500, "period": 100_000, "cpus": "0,9-10" },
            "pids": { "limit": -1 },
            "blockIO": { "weight": 10 },
        });
        let v2 = properties(value.clone(), true);
        for (name, value) in [
            ("MemoryMax", Value::U64(1000)),
            ("MemoryLow", Value::U64(5)),
            ("MemorySwapMax", Value::U64(500)),
            ("TasksMax", Value::U64(u64::MAX)),
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPerSecUSec", Value::U64(510_000)),
            ("CPUQuotaPeriodUSec", Value::U64(100_000)),
            ("AllowedCPUs", Value::Bytes(vec![1, 6])),
            ("IOWeight", Value::U64(1)),
        ] {
            assert!(v2.contains(&(name.to_owned(), value)), "{name}");
        }
        let v1 = properties(value, false);
        let names: Vec<_> = v1.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "MemoryLimit",
                "TasksMax",
                "CPUShares",
                "CPUQuotaPerSecUSec",
                "BlockIOWeight"
            ]
        );
    }

    #[test]
    fn devices_are_a_list_of_what_is_allowed() {
        let deny = json!({ "allow": false, "access": "rwm" });
        let fuse = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" });
        let found = properties(json!({ "devices": [deny, fuse] }), true);
        assert_eq!(
            found[0],
            ("DevicePolicy".to_owned(), Value::Text("strict".to_owned()))
        );
        let Value::Pairs(allowed) = &found[1].1 else {
            panic!("{found:?}")
        };
        assert_eq!(allowed[0], ("/dev/char/10:229".to_owned(), "rw".to_owned()));
        assert!(allowed.contains(&("char-*".to_owned(), "m".to_owned())));
        let all = json!({ "allow": true, "access": "rwm" });
        assert!(properties(json!({ "devices": [all] }), true).is_empty());
    }
}
