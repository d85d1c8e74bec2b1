//! Limits: of the cgroup, of the process, and of the kernel's settings.

use super::run;

#[test]
fn cgroup() {
    let options = [
        "--memory=32m",
        "--memory-swap=48m",
        "--memory-reservation=16m",
        "--cpus=0.5",
        "--cpu-shares=512",
        "--cpuset-cpus=1",
        "--pids-limit=20",
    ];
    // Runtimes have changed how they turn shares into a weight: a line once, a curve now.
    let script = "cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.max; \
        case $(cat cpu.weight) in 20|59) echo half;; *) cat cpu.weight;; esac; \
        cat cpuset.cpus pids.max; \
        grep Cpus_allowed_list /proc/self/status; cat /proc/self/cgroup";
    run(&options, script).ok().prints(&[
        "33554432",
        "16777216",
        "16777216",
        "50000 100000",
        "half",
        "1",
        "20",
        "Cpus_allowed_list:\t1",
        "0::/",
    ]);
}

/// The kernel ends who takes too much.
#[test]
fn out_of_memory() {
    let options = ["--memory=16m", "--memory-swap=16m"];
    run(&options, "exec tail /dev/zero").exits(137);
}

#[test]
fn process_and_kernel() {
    let options = [
        "--ulimit=nofile=77:88",
        "--ulimit=core=0",
        "--oom-score-adj=123",
        "--sysctl=net.ipv4.ip_forward=1",
        "--sysctl=kernel.msgmax=4096",
        "--sysctl=fs.mqueue.msg_max=5",
    ];
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; \
        cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax fs/mqueue/msg_max";
    run(&options, script)
        .ok()
        .prints(&["77", "88", "0", "123", "1", "4096", "5"]);
}
