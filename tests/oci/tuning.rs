//! Scheduling, priorities, personality, memory policy, cache allocation.

use serde_json::json;

use crate::support::{Bundle, Need, covers};

const CAP_SYS_NICE: u32 = 23;

#[test]
fn a_batch_process() {
    covers(&["process.scheduler.policy", "process.scheduler.nice"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .run(|| {
            let scheduler = json!({ "policy": "SCHED_BATCH", "nice": 7 });
            let seen = Bundle::new().set("process.scheduler", scheduler).see();
            assert_eq!(seen.0["scheduler"]["policy"], libc::SCHED_BATCH);
            assert_eq!(seen.0["scheduler"]["nice"], 7);
        });
}

#[test]
fn a_process_that_is_served_in_turn() {
    covers(&["process.scheduler.priority", "process.scheduler.flags"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .needs(Need::Capability(CAP_SYS_NICE))
        .needs(Need::CgroupV2)
        .run(|| {
            let flags = ["SCHED_FLAG_RESET_ON_FORK"];
            let scheduler = json!({ "policy": "SCHED_RR", "priority": 12, "flags": flags });
            let seen = Bundle::new().set("process.scheduler", scheduler).see();
            assert_eq!(seen.0["scheduler"]["policy"], libc::SCHED_RR);
            assert_eq!(seen.0["scheduler"]["priority"], 12);
            assert_eq!(seen.0["scheduler"]["flags"], 1);
        });
}

#[test]
fn a_process_with_a_deadline() {
    covers(&[
        "process.scheduler.runtime",
        "process.scheduler.deadline",
        "process.scheduler.period",
    ])
    .known("runc", "1.1.5 does not know the key")
    .known("crun", "1.8 does not know the key")
    .needs(Need::Capability(CAP_SYS_NICE))
    .needs(Need::CgroupV2)
    .run(|| {
        let scheduler = json!({
            "policy": "SCHED_DEADLINE",
            "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
        });
        let seen = Bundle::new().set("process.scheduler", scheduler).see();
        let found = &seen.0["scheduler"];
        assert_eq!(found["policy"], 6);
        assert_eq!(found["runtime"], 1_000_000);
        assert_eq!(found["deadline"], 50_000_000);
        assert_eq!(found["period"], 100_000_000);
    });
}

#[test]
fn an_unknown_policy_is_refused() {
    covers(&["process.scheduler.policy"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .run(|| {
            let scheduler = json!({ "policy": "SCHED_NOSUCH" });
            Bundle::new()
                .set("process.scheduler", scheduler)
                .run_refused();
        });
}

#[test]
fn priorities_of_reads_and_writes() {
    covers(&["process.ioPriority.class", "process.ioPriority.priority"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .run(|| {
            for (class, number) in [("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)] {
                let priority = json!({ "class": class, "priority": 6 });
                let seen = Bundle::new().set("process.ioPriority", priority).see();
                assert_eq!(seen.0["io_priority"], json!([number, 6]), "{class}");
            }
        });
}

#[test]
fn processors_of_a_joining_process() {
    covers(&[
        "process.execCPUAffinity.initial",
        "process.execCPUAffinity.final",
    ])
    .known("runc", "1.1.5 does not know the key")
    .known("crun", "1.8 does not know the key")
    .needs(Need::Processors(2))
    .run(|| {
        let affinity = json!({ "initial": "0-1", "final": "1" });
        let bundle = Bundle::waiting().set("process.execCPUAffinity", affinity);
        bundle.launch();
        assert_eq!(bundle.exec_see(&[]).status("Cpus_allowed_list"), "1");
    });
}

#[test]
fn processors_that_are_no_list_are_refused() {
    covers(&[
        "process.execCPUAffinity.initial",
        "process.execCPUAffinity.final",
    ])
    .known("runc", "1.1.5 does not know the key")
    .known("crun", "1.8 does not know the key")
    .run(|| {
        for list in ["x", "1-", "5-2", "0,,1"] {
            let bundle = Bundle::waiting();
            let bundle = bundle.set("process.execCPUAffinity", json!({ "initial": list }));
            let created = bundle.create_with(&[]);
            if created.status.success() {
                bundle.start();
                bundle.exec(&[], &["pid"]).refused();
            } else {
                created.refused();
            }
        }
    });
}

#[test]
fn a_personality() {
    covers(&["linux.personality.domain"])
        .known("runc", "1.1.5 does not know the key")
        .run(|| {
            const PER_LINUX32: u32 = 8;
            let bundle = Bundle::new().set("linux.personality", json!({ "domain": "LINUX32" }));
            let text = bundle.see().file("personality").trim().to_owned();
            assert_eq!(u32::from_str_radix(&text, 16), Ok(PER_LINUX32));
            let bundle = Bundle::new().set("linux.personality", json!({ "domain": "LINUX" }));
            assert_eq!(bundle.see().file("personality").trim(), "00000000");
        });
}

#[test]
fn an_unknown_personality_is_refused() {
    covers(&["linux.personality.domain"])
        .known("runc", "1.1.5 does not know the key")
        .run(|| {
            let bundle = Bundle::new().set("linux.personality", json!({ "domain": "MINIX" }));
            bundle
                .run_refused()
                .refused_naming(&["personality", "MINIX"]);
        });
}

#[test]
fn where_memory_comes_from() {
    covers(&[
        "linux.memoryPolicy.mode",
        "linux.memoryPolicy.nodes",
        "linux.memoryPolicy.flags",
    ])
    .known("runc", "1.1.5 does not know the key")
    .known("crun", "1.8 does not know the key")
    .needs(Need::File("/sys/devices/system/node/node0"))
    .run(|| {
        const MPOL_BIND: u32 = 2;
        const MPOL_F_STATIC_NODES: u32 = 1 << 15;
        let policy = json!({
            "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"],
        });
        let seen = Bundle::new().set("linux.memoryPolicy", policy).see();
        assert_eq!(
            seen.0["memory_policy"],
            json!([MPOL_BIND | MPOL_F_STATIC_NODES, 1])
        );
    });
}

#[test]
fn an_unknown_memory_policy_is_refused() {
    covers(&["linux.memoryPolicy.mode"])
        .known("runc", "1.1.5 does not know the key")
        .known("crun", "1.8 does not know the key")
        .run(|| {
            for policy in [
                json!({ "mode": "MPOL_NOSUCH" }),
                json!({ "mode": "MPOL_BIND", "nodes": "x" }),
            ] {
                Bundle::new()
                    .set("linux.memoryPolicy", policy)
                    .run_refused();
            }
        });
}

#[test]
fn caches() {
    covers(&[
        "linux.intelRdt.closID",
        "linux.intelRdt.schemata",
        "linux.intelRdt.l3CacheSchema",
        "linux.intelRdt.memBwSchema",
        "linux.intelRdt.enableMonitoring",
    ])
    .needs(Need::Resctrl)
    .run(|| {
        let schemata = std::fs::read_to_string("/sys/fs/resctrl/schemata").unwrap();
        let lines: Vec<&str> = schemata.lines().map(str::trim).collect();
        let bundle = Bundle::waiting();
        let rdt = json!({ "closID": bundle.id, "schemata": lines, "enableMonitoring": true });
        let bundle = bundle.set("linux.intelRdt", rdt);
        bundle.create();
        let group = std::path::Path::new("/sys/fs/resctrl").join(&bundle.id);
        let tasks = std::fs::read_to_string(group.join("tasks")).expect("the group");
        assert!(tasks.lines().any(|line| line == bundle.pid().to_string()));
        bundle.call("delete", &["--force"], &[]).succeeded();
        assert!(!group.exists());
    });
}

#[test]
fn caches_where_there_are_none_to_share_are_an_error() {
    covers(&["linux.intelRdt.l3CacheSchema", "linux.intelRdt.memBwSchema"])
        .known("crun", "1.8 passes over the key")
        .run(|| {
            if Need::Resctrl.unmet().is_some() {
                let rdt = json!({ "l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=20" });
                Bundle::new().set("linux.intelRdt", rdt).run_refused();
            }
        });
}
