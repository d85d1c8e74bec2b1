//! Groups as directories of files, and what is made of them.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn version_2() {
    let dir = group(&[
        (
            "cpu.stat",
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nthrottled_usec 1\n",
        ),
        ("memory.current", "4096\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "8192\n"),
        ("memory.swap.current", "1\n"),
        ("memory.swap.max", "0\n"),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n"),
        ("memory.stat", "anon 1\nfile 2\nkernel 3\n"),
        (
            "io.stat",
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n",
        ),
        ("pids.current", "2\n"),
        ("pids.max", "max\n"),
        ("hugetlb.2MB.current", "0\n"),
        ("hugetlb.2MB.rsvd.current", "0\n"),
        ("hugetlb.2MB.events", "max 4\n"),
        ("rdma.current", "mlx hca_handle=1 hca_object=20\n"),
        ("cpuset.cpus.effective", "0-2,5\n"),
    ]);
    let dir = dir.path();
    let mut cpu = CpuStats::default();
    v2::cpu(dir, &mut cpu).unwrap();
    assert_eq!((cpu.usage.total, cpu.usage.kernel), (5000, 2000));
    assert_eq!(
        (cpu.throttling.periods, cpu.throttling.throttled_time),
        (7, 1000)
    );
    let memory = v2::memory(dir).unwrap();
    assert_eq!(
        serde_json::to_value(memory).unwrap(),
        json!({
            "cache": 2,
            "usage": { "limit": u64::MAX, "usage": 4096, "max": 8192, "failcnt": 3 },
            "swap": { "limit": u64::MAX, "usage": 4097, "failcnt": 0 },
            "kernel": { "limit": 0, "usage": 3, "failcnt": 0 },
            "kernelTCP": { "limit": 0, "failcnt": 0 },
            "raw": { "anon": 1, "file": 2, "kernel": 3 },
            "event_count": { "low": 0, "high": 0, "max": 3, "oom": 2, "oom_kill": 1 },
        })
    );
    let io = v2::blkio(dir).unwrap();
    assert_eq!(io.io_service_bytes_recursive.len(), 3);
    assert_eq!(
        serde_json::to_value(&io.io_serviced_recursive[1]).unwrap(),
        json!({ "major": 8, "op": "Write", "value": 4 })
    );
    assert_eq!(
        v2::pids(dir),
        PidsStats {
            current: 2,
            limit: 0
        }
    );
    let pages = v2::hugetlb(dir).unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages["2MB"].failcnt, 4);
    assert_eq!(v2::rdma(dir).unwrap()["mlx"].hca_objects, 20);
    assert_eq!(v2::cpuset(dir).cpus, [0, 1, 2, 5]);
}

#[test]
fn version_1() {
    let dir = group(&[
        ("cpuacct.usage", "5000\n"),
        ("cpuacct.usage_percpu", "2000 3000 \n"),
        ("cpuacct.usage_all", "cpu user system\n0 1 2\n1 3 4\n"),
        ("cpuacct.stat", "user 2\nsystem 1\n"),
        (
            "cpu.stat",
            "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n",
        ),
        ("memory.usage_in_bytes", "7\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.kmem.usage_in_bytes", "5\n"),
        ("memory.stat", "cache 4\nhierarchical_memory_limit 9\n"),
        (
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n",
        ),
        (
            "blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 1\n8:0 Total 2\nTotal 2\n",
        ),
        ("hugetlb.1GB.usage_in_bytes", "3\n"),
    ]);
    let dir = dir.path();
    let mut cpu = CpuStats::default();
    v1::cpu(Some(dir), Some(dir), &mut cpu).unwrap();
    assert_eq!((cpu.usage.total, cpu.usage.user), (5000, 20_000_000));
    assert_eq!(cpu.usage.percpu_kernel, [2, 4]);
    assert_eq!(cpu.throttling.throttled_periods, 2);
    let memory = v1::memory(dir).unwrap();
    assert_eq!(
        (memory.cache, memory.usage.usage, memory.kernel.usage),
        (4, 7, 5)
    );
    assert_eq!(memory.events["oom_kill"], 6);
    let io = v1::blkio(dir).unwrap();
    let ops: Vec<_> = io
        .io_service_bytes_recursive
        .iter()
        .map(|one| one.op.as_str())
        .collect();
    assert_eq!(ops, ["Read", "Total"]);
    assert_eq!(v1::hugetlb(dir).unwrap()["1GB"].usage, 3);
}

#[test]
fn pressure() {
    let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n\
                full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    let pressure = parse::pressure(text).unwrap();
    assert_eq!(pressure.some.avg10, 1.5);
    assert_eq!((pressure.some.total, pressure.full.total), (77, 5));
    assert_eq!(parse::pressure(""), None);
}

#[test]
fn a_group_that_is_gone_counts_nothing() {
    let dirs = CgroupDirs {
        v2: Some("/sys/fs/cgroup/unified/reeve-test-none".into()),
        ..CgroupDirs::default()
    };
    let found = stats(&dirs).unwrap();
    assert_eq!(found, Stats::default());
    assert!(!Path::new("/sys/fs/cgroup/unified/reeve-test-none").exists());
}
