//! What limits may say, and what is refused by name.

use serde_json::{Value, json};

use super::*;

fn check(value: Value) -> Result<Resources, Error> {
    Resources::check(Some(&serde_json::from_value(value).unwrap()))
}

fn message(value: Value) -> String {
    let error = check(value).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[test]
fn zero_is_not_given() {
    let limits = check(json!({
        "memory": { "limit": 0, "swap": 0, "reservation": 0, "kernel": 0 },
        "cpu": { "shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "" },
        "pids": { "limit": 0 },
        "blockIO": { "weight": 0 },
        "network": { "classID": 0, "priorities": [] },
        "hugepageLimits": [], "rdma": {}, "unified": {}, "devices": [],
    }));
    assert_eq!(limits.unwrap(), Resources::default());
}

#[test]
fn every_key_is_taken() {
    let limits = check(json!({
        "memory": { "limit": 4096, "swap": -1, "swappiness": 60, "kernelTCP": 5,
                    "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true },
        "cpu": { "shares": 2, "quota": -1, "burst": 0, "period": 1000, "realtimeRuntime": 5,
                 "realtimePeriod": 6, "cpus": "0-3,7", "mems": "0", "idle": 1 },
        "pids": { "limit": -1 },
        "blockIO": { "weight": 10, "leafWeight": 1000,
                     "weightDevice": [ { "major": 8, "minor": 0, "weight": 500 } ],
                     "throttleReadBpsDevice": [ { "major": 8, "minor": 0, "rate": 600 } ],
                     "throttleWriteIOPSDevice": [ { "major": 8, "minor": 16, "rate": 300 } ] },
        "hugepageLimits": [ { "pageSize": "2MB", "limit": 2097152 } ],
        "network": { "classID": 1048577, "priorities": [ { "name": "eth0", "priority": 5 } ] },
        "rdma": { "mlx5_1": { "hcaHandles": 3 } },
        "unified": { "memory.high": "1G", "cgroup.max.depth": "3" },
        "devices": [ { "allow": false, "access": "rwm" },
                     { "allow": true, "type": "c", "major": 10, "minor": -1, "access": "r" } ],
    }))
    .unwrap();
    let words = limits.words().join(", ");
    for expected in [
        "memory 4096, memory.swap -1, memory.kernel_tcp 5, memory.swappiness 60",
        "memory.no_oom_killer, pids -1, cpu.quota_us -1, cpu.period_us 1000, cpu.burst_us 0",
        "cpu.realtime_runtime_us 5, cpu.realtime_period_us 6, cpu.cpus 0-3,7, cpu.mems 0",
        "cpu.idle 1, io.weight 10, io.leaf_weight 1000, io.weight 8:0 500, io.read_bps 8:0 600",
        "io.write_iops 8:16 300, hugepages.2MB 2097152, network.class 0x100001",
        "network.priority eth0 5, rdma mlx5_1 3 max, cgroup.max.depth \"3\", memory.high \"1G\"",
        "deny device a *:* rwm, allow device c 10:* r",
    ] {
        assert!(words.contains(expected), "{expected} is not in {words}");
    }
}

/// Each with what its error says after `linux.resources.`.
fn wrong() -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({ "memory": { "limit": -2 } }),
            "memory.limit`: -2 is out of range",
        ),
        (
            json!({ "memory": { "limit": 2, "swap": 1 } }),
            "memory.swap`: 1 is out of range",
        ),
        (
            json!({ "memory": { "limit": -1, "swap": 1 } }),
            "memory.swap`: 1 is out of range",
        ),
        (
            json!({ "memory": { "swappiness": 201 } }),
            "memory.swappiness`: 201 is out of range",
        ),
        (
            json!({ "memory": { "useHierarchy": false } }),
            "memory.useHierarchy`: `false` is none of the accepted values",
        ),
        (
            json!({ "cpu": { "idle": 2 } }),
            "cpu.idle`: 2 is out of range",
        ),
        (
            json!({ "cpu": { "cpus": "0-1-2" } }),
            "cpu.cpus`: `0-1-2` is none of the accepted values",
        ),
        (
            json!({ "cpu": { "mems": "0\n1" } }),
            "cpu.mems`: `0\n1` is none of the accepted values",
        ),
        (
            json!({ "blockIO": { "weight": 9 } }),
            "blockIO.weight`: 9 is out of range",
        ),
        (
            json!({ "blockIO": { "throttleReadBpsDevice": [ { "major": -1, "rate": 1 } ] } }),
            "blockIO.throttleReadBpsDevice[0].major`: -1 is out of range",
        ),
        (
            json!({ "hugepageLimits": [ { "pageSize": "../x", "limit": 1 } ] }),
            "hugepageLimits[0].pageSize`: `../x` is none of the accepted values",
        ),
        (
            json!({ "network": { "priorities": [ { "name": "a b", "priority": 1 } ] } }),
            "network.priorities[0].name`: `a b` is none of the accepted values",
        ),
        (
            json!({ "rdma": { "a\nb": {} } }),
            "rdma`: `a\nb` is none of the accepted values",
        ),
        (
            json!({ "devices": [ { "allow": true, "access": "x" } ] }),
            "devices[0].access`: `x` is none of the accepted values",
        ),
        (
            json!({ "devices": [ { "allow": true, "type": "p" } ] }),
            "devices[0].type`: not a device type that can be made",
        ),
        (
            json!({ "devices": [ { "allow": true, "type": "b", "major": 4096 } ] }),
            "devices[0].major`: 4096 is out of range",
        ),
    ]
}

#[test]
fn wrong_values_are_named() {
    for (value, expected) in wrong() {
        let text = message(value);
        assert_eq!(text, format!("config.json: `linux.resources.{expected}"));
    }
}

#[test]
fn unified_names_one_file_of_a_controller() {
    for file in [
        "",
        "memory",
        ".high",
        "../memory.max",
        "a/memory.max",
        "memory.\nmax",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.kill",
        "cgroup.freeze",
        "cgroup.type",
        "cgroup.subtree_control",
    ] {
        assert!(
            check(json!({ "unified": { file: "1" } })).is_err(),
            "{file}"
        );
    }
    assert!(check(json!({ "unified": { "memory.oom.group": "1" } })).is_ok());
}

#[test]
fn a_device_rule_without_access_is_about_all() {
    let limits = check(json!({ "devices": [ { "allow": false } ] })).unwrap();
    assert!(limits.devices[0].is_about_all());
    let limits = check(json!({ "devices": [ { "allow": false, "access": "m" } ] })).unwrap();
    assert!(!limits.devices[0].is_about_all());
}
