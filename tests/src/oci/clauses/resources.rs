//! `linux.cgroupsPath` and `linux.resources`.

use super::{Table, no_test, row};

/// Why fields that only old kernels know have no test of an effect.
const GONE: &str = "kernels since 5.16 have no such limit; runtimes ignore or refuse it";

/// Control groups.
pub(super) const RESOURCES: Table = Table {
    title: "Control groups and resources",
    source: "config-linux.md",
    clauses: &[
        row("linux.cgroupsPath: absolute"),
        row("linux.cgroupsPath: relative"),
        row("linux.cgroupsPath: absent"),
        row("linux.resources.devices[].allow"),
        row("linux.resources.devices[].type"),
        row("linux.resources.devices[].major, minor"),
        row("linux.resources.devices[].access"),
        row("linux.resources.devices: in the order listed"),
        row("linux.resources.memory.limit"),
        row("linux.resources.memory.limit: holds"),
        row("linux.resources.memory.limit: -1"),
        row("linux.resources.memory.reservation"),
        row("linux.resources.memory.swap"),
        row("linux.resources.memory.swap: below the limit is refused"),
        no_test("linux.resources.memory.kernel", GONE),
        row("linux.resources.memory.kernelTCP"),
        row("linux.resources.memory.swappiness"),
        row("linux.resources.memory.disableOOMKiller"),
        no_test(
            "linux.resources.memory.useHierarchy",
            "always on since Linux 5.11; the file refuses any other value",
        ),
        row("linux.resources.memory.checkBeforeUpdate"),
        row("linux.resources.cpu.shares"),
        row("linux.resources.cpu.quota"),
        row("linux.resources.cpu.period"),
        row("linux.resources.cpu.burst"),
        row("linux.resources.cpu.idle"),
        no_test(
            "linux.resources.cpu.realtimeRuntime",
            "the test kernels have RT group scheduling switched off",
        ),
        no_test(
            "linux.resources.cpu.realtimePeriod",
            "the test kernels have RT group scheduling switched off",
        ),
        row("linux.resources.cpu.cpus"),
        row("linux.resources.cpu.mems"),
        row("linux.resources.blockIO.weight"),
        no_test(
            "linux.resources.blockIO.leafWeight",
            "kernels since 5.0 have no such file",
        ),
        row("linux.resources.blockIO.weightDevice[]"),
        row("linux.resources.blockIO.throttleReadBpsDevice[]"),
        row("linux.resources.blockIO.throttleWriteBpsDevice[]"),
        row("linux.resources.blockIO.throttleReadIOPSDevice[]"),
        row("linux.resources.blockIO.throttleWriteIOPSDevice[]"),
        row("linux.resources.hugepageLimits[]"),
        row("linux.resources.network.classID"),
        row("linux.resources.network.priorities[]"),
        row("linux.resources.pids.limit"),
        row("linux.resources.pids.limit: holds"),
        row("linux.resources.pids.limit: -1"),
        no_test(
            "linux.resources.rdma",
            "needs an RDMA device, which no test machine has",
        ),
        row("linux.resources.unified"),
        row("linux.resources.unified: an unknown file is an error"),
    ],
};
