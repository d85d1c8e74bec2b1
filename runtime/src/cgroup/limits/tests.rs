//! Which files get which values, in which order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// A group of which these files are known.
struct Fake(BTreeMap<&'static str, &'static str>);

impl Current for Fake {
    fn has(&self, file: &str) -> bool {
        self.0.contains_key(file)
    }

    fn text(&self, file: &str) -> Option<String> {
        self.0.get(file).map(|text| (*text).to_owned())
    }
}

fn limits(value: Value) -> Resources {
    Resources::check(Some(&serde_json::from_value(value).unwrap())).unwrap()
}

fn lines(settings: &[Setting]) -> Vec<String> {
    let lines = settings
        .iter()
        .map(|one| format!("{} {}", one.file, one.value));
    lines.collect()
}

fn v1(controller: Controller, value: Value, files: &[(&'static str, &'static str)]) -> Vec<String> {
    let now = Fake(files.iter().copied().collect());
    lines(&v1::settings(controller, &limits(value), &now))
}

fn v2(controller: Controller, value: Value, files: &[(&'static str, &'static str)]) -> Vec<String> {
    let now = Fake(files.iter().copied().collect());
    lines(&v2::settings(controller, &limits(value), &now).unwrap())
}

#[test]
fn weights_of_version_2() {
    for (shares, weight) in [
        (0, 1),
        (2, 1),
        (4, 2),
        (512, 59),
        (1024, 100),
        (2000, 170),
        (2048, 174),
        (262_143, 10_000),
        (262_144, 10_000),
        (u64::MAX, 10_000),
    ] {
        assert_eq!(cpu_weight(shares), weight, "{shares}");
    }
    let mut last = 0;
    for shares in 2..=262_144 {
        let weight = cpu_weight(shares);
        assert!(weight >= last, "{shares} has less than {}", shares - 1);
        last = weight;
    }
    assert_eq!(
        (io_weight(10), io_weight(500), io_weight(1000)),
        (1, 4950, 10_000)
    );
}

#[test]
fn memory_and_swap_never_cross_on_version_1() {
    let files = |now| [("memory.memsw.limit_in_bytes", now)];
    let both = json!({ "memory": { "limit": 100, "swap": 200 } });
    let swap_first = [
        "memory.memsw.limit_in_bytes 200",
        "memory.limit_in_bytes 100",
    ];
    let limit_first = [
        "memory.limit_in_bytes 100",
        "memory.memsw.limit_in_bytes 200",
    ];
    assert_eq!(
        v1(Controller::Memory, both.clone(), &files("150\n")),
        swap_first
    );
    assert_eq!(
        v1(Controller::Memory, both.clone(), &files("900\n")),
        limit_first
    );
    assert_eq!(
        v1(Controller::Memory, both, &files("9223372036854771712\n")),
        limit_first
    );
    let all = json!({ "memory": { "limit": -1 } });
    assert_eq!(
        v1(Controller::Memory, all, &files("150\n")),
        ["memory.memsw.limit_in_bytes -1", "memory.limit_in_bytes -1"]
    );
}

#[test]
fn version_2_counts_swap_alone() {
    let value = |swap: i64| json!({ "memory": { "limit": 1000, "reservation": 7, "swap": swap } });
    assert_eq!(
        v2(Controller::Memory, value(1500), &[]),
        ["memory.max 1000", "memory.low 7", "memory.swap.max 500"]
    );
    assert_eq!(
        v2(Controller::Memory, value(-1), &[])[2],
        "memory.swap.max max"
    );
    assert_eq!(
        v2(Controller::Memory, value(1000), &[])[2],
        "memory.swap.max 0"
    );
    let alone = json!({ "memory": { "swap": 1500 } });
    let now = [("memory.max", "1000\n")];
    assert_eq!(
        v2(Controller::Memory, alone.clone(), &now),
        ["memory.swap.max 500"]
    );
    for now in ["max\n", "2000\n"] {
        let now = Fake([("memory.max", now)].into());
        let error = v2::settings(Controller::Memory, &limits(alone.clone()), &now).unwrap_err();
        assert!(matches!(error, Error::SwapAlone));
    }
}

#[test]
fn processor_time() {
    let value =
        json!({ "cpu": { "shares": 1024, "quota": 50_000, "period": 80_000, "burst": 10 } });
    assert_eq!(
        v1(Controller::Cpu, value.clone(), &[]),
        [
            "cpu.shares 1024",
            "cpu.cfs_period_us 80000",
            "cpu.cfs_quota_us 50000",
            "cpu.cfs_burst_us 10"
        ]
    );
    assert_eq!(
        v2(Controller::Cpu, value, &[]),
        ["cpu.weight 100", "cpu.max 50000 80000", "cpu.max.burst 10"]
    );
    let now = [("cpu.max", "50000 100000\n")];
    let period = json!({ "cpu": { "period": 80_000 } });
    assert_eq!(v2(Controller::Cpu, period, &now), ["cpu.max 50000 80000"]);
    let quota = json!({ "cpu": { "quota": -1 } });
    assert_eq!(v2(Controller::Cpu, quota, &now), ["cpu.max max"]);
    let idle = json!({ "cpu": { "shares": 1024, "idle": 1 } });
    assert_eq!(v2(Controller::Cpu, idle.clone(), &[]), ["cpu.idle 1"]);
    assert_eq!(v1(Controller::Cpu, idle, &[]), ["cpu.idle 1"]);
}

#[test]
fn block_devices() {
    let value = json!({ "blockIO": {
        "weight": 500,
        "weightDevice": [ { "major": 8, "minor": 0, "weight": 10 } ],
        "throttleReadBpsDevice": [ { "major": 8, "minor": 0, "rate": 600 } ],
        "throttleWriteIOPSDevice": [ { "major": 8, "minor": 16, "rate": 0 } ],
    } });
    assert_eq!(
        v1(Controller::Io, value.clone(), &[("blkio.bfq.weight", "")]),
        [
            "blkio.bfq.weight 500",
            "blkio.bfq.weight_device 8:0 10",
            "blkio.throttle.read_bps_device 8:0 600",
            "blkio.throttle.write_iops_device 8:16 0"
        ]
    );
    assert_eq!(
        v2(Controller::Io, value.clone(), &[]),
        [
            "io.weight 4950",
            "io.weight 8:0 1",
            "io.max 8:0 rbps=600",
            "io.max 8:16 wiops=max"
        ]
    );
    assert_eq!(
        v2(Controller::Io, value, &[("io.bfq.weight", "")])[..2],
        ["io.bfq.weight 500", "io.bfq.weight 8:0 10"]
    );
}

#[test]
fn the_rest() {
    let value = json!({
        "pids": { "limit": -1 },
        "cpu": { "cpus": "0-1", "mems": "0" },
        "hugepageLimits": [ { "pageSize": "2MB", "limit": 4096 } ],
        "network": { "classID": 7, "priorities": [ { "name": "lo", "priority": 5 } ] },
        "rdma": { "mlx": { "hcaHandles": 3 } },
    });
    assert_eq!(v2(Controller::Pids, value.clone(), &[]), ["pids.max max"]);
    assert_eq!(
        v2(Controller::Cpuset, value.clone(), &[]),
        ["cpuset.cpus 0-1", "cpuset.mems 0"]
    );
    assert_eq!(
        v2(Controller::Hugetlb, value.clone(), &[]),
        ["hugetlb.2MB.max 4096", "hugetlb.2MB.rsvd.max 4096"]
    );
    assert_eq!(
        v1(Controller::Hugetlb, value.clone(), &[])[0],
        "hugetlb.2MB.limit_in_bytes 4096"
    );
    assert_eq!(
        v1(Controller::NetCls, value.clone(), &[]),
        ["net_cls.classid 7"]
    );
    assert_eq!(
        v1(Controller::NetPrio, value.clone(), &[]),
        ["net_prio.ifpriomap lo 5"]
    );
    let line = "rdma.max mlx hca_handle=3 hca_object=max";
    assert_eq!(v2(Controller::Rdma, value, &[]), [line]);
}

#[test]
fn what_version_2_has_not_is_named() {
    for (controller, value, key) in [
        (
            Controller::Memory,
            json!({ "memory": { "swappiness": 0 } }),
            "memory.swappiness",
        ),
        (
            Controller::Memory,
            json!({ "memory": { "disableOOMKiller": true } }),
            "memory.disableOOMKiller",
        ),
        (
            Controller::Cpu,
            json!({ "cpu": { "realtimeRuntime": 5 } }),
            "cpu.realtimeRuntime",
        ),
        (
            Controller::Io,
            json!({ "blockIO": { "leafWeight": 10 } }),
            "blockIO.leafWeight",
        ),
        (
            Controller::NetCls,
            json!({ "network": { "classID": 1 } }),
            "network.classID",
        ),
    ] {
        assert!(controller.is_needed(&limits(value.clone())), "{key}");
        let now = Fake(BTreeMap::new());
        let error = v2::settings(controller, &limits(value), &now).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
