//! `linux.resources`, field by field: the file of the control group that shows it.

use std::fs;

use serde_json::{Value, json};

use crate::support::cgroup::{Shows, check, read, shows};
use crate::support::{Bundle, Cgroups, Need, covers};

/// A created container with these resources has them in its control group.
#[track_caller]
fn limited(key: &str, value: Value, wanted: &[Shows]) {
    let bundle = Bundle::waiting().set(&format!("linux.resources.{key}"), value);
    bundle.create();
    wanted.iter().for_each(|wanted| check(&bundle, wanted));
}

#[test]
fn memory() {
    covers(&["linux.resources.memory.limit"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let wanted = shows(
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory.max", "67108864"),
            );
            limited("memory", json!({ "limit": 67_108_864 }), &[wanted]);
        });
}

#[test]
fn memory_that_is_used_up() {
    covers(&["linux.resources.memory.limit: holds"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let memory = json!({ "limit": 32 << 20, "swap": 32 << 20 });
            let bundle = Bundle::doing(&["fork fill 100", "fork fill 1"]);
            let ended = bundle.set("linux.resources.memory", memory).run();
            let outcomes = ended.outcomes();
            assert_eq!(
                outcomes[0],
                reeve_tests::Outcome::Killed(libc::SIGKILL),
                "{}",
                ended.story()
            );
            assert!(outcomes[1].is_done());
        });
}

#[test]
fn memory_without_a_limit() {
    covers(&["linux.resources.memory.limit: -1"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let wanted = shows(
                ("memory", "memory.limit_in_bytes", "9223372036854771712"),
                ("memory.max", "max"),
            );
            limited("memory", json!({ "limit": -1 }), &[wanted]);
        });
}

#[test]
fn memory_that_is_reserved() {
    covers(&["linux.resources.memory.reservation"])
        .needs(Need::Controller("memory"))
        .run(|| {
            let wanted = shows(
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
                ("memory.low", "33554432"),
            );
            limited(
                "memory",
                json!({ "limit": 67_108_864, "reservation": 33_554_432 }),
                &[wanted],
            );
        });
}

#[test]
fn memory_with_swap() {
    covers(&["linux.resources.memory.swap"])
        .needs(Need::Controller("memory"))
        .run(|| {
            // In version 1 both together, in version 2 the swap alone.
            let wanted = shows(
                ("memory", "memory.memsw.limit_in_bytes", "100663296"),
                ("memory.swap.max", "33554432"),
            );
            limited(
                "memory",
                json!({ "limit": 67_108_864, "swap": 100_663_296 }),
                &[wanted],
            );
        });
}

#[test]
fn less_swap_than_memory_is_refused() {
    covers(&["linux.resources.memory.swap: below the limit is refused"])
        .known("crun", "1.8 leaves the cgroup behind")
        .needs(Need::Controller("memory"))
        .run(|| {
            let memory = json!({ "limit": 67_108_864, "swap": 33_554_432 });
            Bundle::new()
                .set("linux.resources.memory", memory)
                .run_refused();
        });
}

#[test]
fn memory_of_tcp() {
    covers(&["linux.resources.memory.kernelTCP"])
        .known("runc", "1.1.5 passes over it")
        .needs(Need::CgroupV1)
        .run(|| {
            let wanted = Shows {
                v1: Some(("memory", "memory.kmem.tcp.limit_in_bytes", "16777216")),
                v2: None,
            };
            limited("memory", json!({ "kernelTCP": 16_777_216 }), &[wanted]);
        });
}

#[test]
fn how_soon_is_swapped() {
    covers(&["linux.resources.memory.swappiness"])
        .needs(Need::CgroupV1)
        .run(|| {
            let wanted = Shows {
                v1: Some(("memory", "memory.swappiness", "23")),
                v2: None,
            };
            limited("memory", json!({ "swappiness": 23 }), &[wanted]);
        });
}

#[test]
fn no_killer_when_memory_runs_out() {
    covers(&["linux.resources.memory.disableOOMKiller"])
        .needs(Need::CgroupV1)
        .run(|| {
            let wanted = Shows {
                v1: Some(("memory", "memory.oom_control", "oom_kill_disable 1")),
                v2: None,
            };
            limited(
                "memory",
                json!({ "limit": 67_108_864, "disableOOMKiller": true }),
                &[wanted],
            );
        });
}

#[test]
fn a_limit_below_the_use_is_refused() {
    covers(&["linux.resources.memory.checkBeforeUpdate"])
        .known("runc", "1.1.5 checks with the option of `update` only")
        .needs(Need::CgroupV2)
        .run(|| {
            let memory = json!({ "limit": 1 << 30, "checkBeforeUpdate": true });
            let bundle = Bundle::doing(&["block 15", "fill 64", "until 15"]);
            let bundle = bundle.set("linux.resources.memory", memory);
            bundle.launch();
            let resources = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
            bundle.file("resources.json", &resources.to_string());
            let path = bundle.at("resources.json");
            bundle
                .call("update", &["--resources", &path], &[])
                .refused();
            assert_eq!(bundle.status(), "running");
        });
}

#[test]
fn shares_of_processors() {
    covers(&["linux.resources.cpu.shares"])
        .needs(Need::Controller("cpu"))
        .run(|| {
            // Version 2: 1 + (shares - 2) * 9999 / 262142.
            // The most of either: in between, runtimes differ in how shares become a weight.
            let wanted = shows(("cpu", "cpu.shares", "262144"), ("cpu.weight", "10000"));
            limited("cpu", json!({ "shares": 262_144 }), &[wanted]);
        });
}

#[test]
fn time_of_processors() {
    covers(&["linux.resources.cpu.quota", "linux.resources.cpu.period"])
        .needs(Need::Controller("cpu"))
        .run(|| {
            let wanted = [
                shows(
                    ("cpu", "cpu.cfs_quota_us", "20000"),
                    ("cpu.max", "20000 50000"),
                ),
                shows(
                    ("cpu", "cpu.cfs_period_us", "50000"),
                    ("cpu.max", "20000 50000"),
                ),
            ];
            limited("cpu", json!({ "quota": 20_000, "period": 50_000 }), &wanted);
        });
}

#[test]
fn time_of_processors_without_an_end() {
    covers(&["linux.resources.cpu.quota"])
        .known_on(
            Cgroups::Version1,
            "crun",
            "1.8 takes the number for an unsigned one",
        )
        .needs(Need::Controller("cpu"))
        .run(|| {
            let wanted = shows(("cpu", "cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000"));
            limited("cpu", json!({ "quota": -1, "period": 100_000 }), &[wanted]);
        });
}

#[test]
fn time_that_was_saved() {
    covers(&["linux.resources.cpu.burst"])
        .known("runc", "1.1.5 passes over it")
        .known("crun", "1.8 passes over it")
        .needs(Need::Controller("cpu"))
        .needs(Need::Kernel(5, 14))
        .run(|| {
            let cpu = json!({ "quota": 20_000, "period": 50_000, "burst": 10_000 });
            let wanted = shows(
                ("cpu", "cpu.cfs_burst_us", "10000"),
                ("cpu.max.burst", "10000"),
            );
            limited("cpu", cpu, &[wanted]);
        });
}

#[test]
fn only_what_nobody_else_uses() {
    covers(&["linux.resources.cpu.idle"])
        .known("runc", "1.1.5 passes over it")
        .needs(Need::Controller("cpu"))
        .needs(Need::Kernel(5, 15))
        .run(|| {
            let wanted = shows(("cpu", "cpu.idle", "1"), ("cpu.idle", "1"));
            limited("cpu", json!({ "idle": 1 }), &[wanted]);
        });
}

#[test]
fn which_processors() {
    covers(&["linux.resources.cpu.cpus", "linux.resources.cpu.mems"])
        .needs(Need::Controller("cpuset"))
        .run(|| {
            let wanted = [
                shows(("cpuset", "cpuset.cpus", "0"), ("cpuset.cpus", "0")),
                shows(("cpuset", "cpuset.mems", "0"), ("cpuset.mems", "0")),
            ];
            limited("cpu", json!({ "cpus": "0", "mems": "0" }), &wanted);
            let cpu = json!({ "cpus": "0", "mems": "0" });
            let seen = Bundle::new().set("linux.resources.cpu", cpu).see();
            assert_eq!(seen.status("Cpus_allowed_list"), "0");
        });
}

#[test]
fn processors_that_are_not_there() {
    covers(&["linux.resources.cpu.cpus"])
        .known("crun", "1.8 leaves the cgroup behind")
        .needs(Need::CgroupV1)
        .run(|| {
            let bundle = Bundle::new().set("linux.resources.cpu", json!({ "cpus": "4000" }));
            bundle.run_refused();
        });
}

#[test]
fn the_number_of_processes() {
    covers(&["linux.resources.pids.limit"])
        .needs(Need::Controller("pids"))
        .run(|| {
            let wanted = shows(("pids", "pids.max", "37"), ("pids.max", "37"));
            limited("pids", json!({ "limit": 37 }), &[wanted]);
        });
}

#[test]
fn one_process_too_many() {
    covers(&["linux.resources.pids.limit: holds"])
        .needs(Need::Controller("pids"))
        .run(|| {
            let bundle = Bundle::new().set("linux.resources.pids", json!({ "limit": 1 }));
            let bundle = bundle.actions(&["block 15", "answer", "fork pid", "fork fork pid"]);
            let ended = bundle
                .set("linux.resources.pids", json!({ "limit": 2 }))
                .run();
            let outcomes = ended.outcomes();
            assert!(outcomes[2].is_done(), "{}", ended.story());
            assert_eq!(outcomes[3].errno(), Some(libc::EAGAIN), "{}", ended.story());
        });
}

#[test]
fn processes_without_a_limit() {
    covers(&["linux.resources.pids.limit: -1"])
        .known_on(
            Cgroups::Version1,
            "crun",
            "1.8 writes the number, which is refused",
        )
        .needs(Need::Controller("pids"))
        .run(|| {
            let wanted = shows(("pids", "pids.max", "max"), ("pids.max", "max"));
            limited("pids", json!({ "limit": -1 }), &[wanted]);
        });
}

#[test]
fn pages_of_other_sizes() {
    covers(&["linux.resources.hugepageLimits[]"])
        .needs(Need::Controller("hugetlb"))
        .run(|| {
            let wanted = shows(
                ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
                ("hugetlb.2MB.max", "4194304"),
            );
            limited(
                "hugepageLimits",
                json!([{ "pageSize": "2MB", "limit": 4_194_304 }]),
                &[wanted],
            );
        });
}

#[test]
fn the_class_of_packets() {
    covers(&["linux.resources.network.classID"])
        .needs(Need::Controller("net_cls"))
        .run(|| {
            let wanted = Shows {
                v1: Some(("net_cls", "net_cls.classid", "1048577")),
                v2: None,
            };
            limited("network", json!({ "classID": 1_048_577 }), &[wanted]);
        });
}

#[test]
fn the_priority_of_packets() {
    covers(&["linux.resources.network.priorities[]"])
        .needs(Need::Controller("net_prio"))
        .run(|| {
            let wanted = Shows {
                v1: Some(("net_prio", "net_prio.ifpriomap", "lo 5")),
                v2: None,
            };
            let priorities = json!([{ "name": "lo", "priority": 5 }]);
            limited("network", json!({ "priorities": priorities }), &[wanted]);
        });
}

/// Major and minor number of a whole disk of this machine.
fn disk() -> Option<(u64, u64)> {
    let entries = fs::read_dir("/sys/block").ok()?.flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.path()).collect();
    names.sort();
    let whole = |name: &str| {
        ["vd", "sd", "nvme"]
            .iter()
            .any(|kind| name.starts_with(kind))
    };
    let disk = names.into_iter().find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(whole)
    })?;
    let text = fs::read_to_string(disk.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The limit of one kind shows in its file.
#[track_caller]
fn throttled(key: &str, v1: &str, v2: &str) {
    let (major, minor) = disk().expect("a disk");
    let list = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
    let bundle = Bundle::waiting().set(&format!("linux.resources.blockIO.{key}"), list);
    bundle.create();
    match Cgroups::of_host() {
        Cgroups::Version1 => {
            let found = read(&bundle, "blkio", v1);
            assert_eq!(found, format!("{major}:{minor} 1048576"));
        }
        Cgroups::Version2 => {
            let found = read(&bundle, "", "io.max");
            assert!(found.starts_with(&format!("{major}:{minor} ")), "{found:?}");
            assert!(found.contains(&format!("{v2}=1048576")), "{found:?}");
        }
    }
}

#[test]
fn bytes_read() {
    covers(&["linux.resources.blockIO.throttleReadBpsDevice[]"])
        .needs(Need::Controller("io"))
        .run(|| {
            throttled(
                "throttleReadBpsDevice",
                "blkio.throttle.read_bps_device",
                "rbps",
            )
        });
}

#[test]
fn bytes_written() {
    covers(&["linux.resources.blockIO.throttleWriteBpsDevice[]"])
        .needs(Need::Controller("io"))
        .run(|| {
            throttled(
                "throttleWriteBpsDevice",
                "blkio.throttle.write_bps_device",
                "wbps",
            )
        });
}

#[test]
fn reads() {
    covers(&["linux.resources.blockIO.throttleReadIOPSDevice[]"])
        .needs(Need::Controller("io"))
        .run(|| {
            throttled(
                "throttleReadIOPSDevice",
                "blkio.throttle.read_iops_device",
                "riops",
            )
        });
}

#[test]
fn writes() {
    covers(&["linux.resources.blockIO.throttleWriteIOPSDevice[]"])
        .needs(Need::Controller("io"))
        .run(|| {
            throttled(
                "throttleWriteIOPSDevice",
                "blkio.throttle.write_iops_device",
                "wiops",
            )
        });
}

#[test]
fn the_weight_of_reads_and_writes() {
    covers(&["linux.resources.blockIO.weight"])
        .needs(Need::File("/sys/fs/cgroup/blkio/blkio.bfq.weight"))
        .run(|| {
            let wanted = Shows {
                v1: Some(("blkio", "blkio.bfq.weight", "321")),
                v2: None,
            };
            limited("blockIO", json!({ "weight": 321 }), &[wanted]);
        });
}

#[test]
fn the_weight_for_a_disk() {
    covers(&["linux.resources.blockIO.weightDevice[]"])
        .needs(Need::File("/sys/fs/cgroup/blkio/blkio.bfq.weight_device"))
        .run(|| {
            // A disk without that scheduler refuses the number: an error, never passed over.
            let (major, minor) = disk().expect("a disk");
            let list = json!([{ "major": major, "minor": minor, "weight": 432 }]);
            let bundle = Bundle::waiting().set("linux.resources.blockIO.weightDevice", list);
            let created = bundle.create_with(&[]);
            if created.status.success() {
                let found = read(&bundle, "blkio", "blkio.bfq.weight_device");
                assert!(found.contains(&format!("{major}:{minor} 432")), "{found:?}");
            } else {
                created.refused_naming(&["weight"]);
            }
        });
}

#[test]
fn files_by_their_names() {
    covers(&["linux.resources.unified"])
        .needs(Need::CgroupV2)
        .run(|| {
            let unified = json!({ "memory.high": "50331648", "pids.max": "55" });
            let bundle = Bundle::waiting().set("linux.resources.unified", unified);
            bundle.create();
            assert_eq!(read(&bundle, "", "memory.high"), "50331648");
            assert_eq!(read(&bundle, "", "pids.max"), "55");
        });
}

#[test]
fn a_file_that_does_not_exist_is_an_error() {
    covers(&["linux.resources.unified: an unknown file is an error"])
        .known_on(Cgroups::Version2, "crun", "1.8 leaves the cgroup behind")
        .needs(Need::CgroupV2)
        .run(|| {
            for name in ["memory.nosuch", "../cgroup.procs", "nosuch.max"] {
                let unified = json!({ name: "1" });
                Bundle::new()
                    .set("linux.resources.unified", unified)
                    .run_refused();
            }
        });
}
