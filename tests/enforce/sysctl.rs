//! Kernel settings, through any procfs.

use libc::EACCES;
use reeve_tests::PolicyText;

use crate::support::Contained;

#[test]
fn sysctl_granted() {
    let policy = PolicyText::new("sysctl").kernel(
        "sysctl: { read: [vm.dirty_ratio], write: [vm.dirty_expire_centisecs, net.ipv4.*] }",
    );
    let mut contained = Contained::start(policy);
    for action in [
        "open r /host/proc/sys/vm/dirty_ratio",
        "open r /proc/sys/vm/dirty_ratio",
        "open r /proc/sys/kernel/core_pattern",
        "open w /proc/sys/vm/dirty_expire_centisecs",
        "open trunc /proc/sys/vm/dirty_expire_centisecs",
        "open w /host/proc/sys/vm/dirty_expire_centisecs",
        "open w /host/proc/sys/net/ipv4/conf/all/forwarding",
        "open trunc /proc/sys/net/ipv4/ip_forward",
        "open rw /proc/sys/net/ipv4/ip_forward",
    ] {
        contained.allowed("file_open", action);
    }
    contained.end();
}

#[test]
fn sysctl_refused() {
    let policy = PolicyText::new("sysctl").kernel(
        "sysctl: { read: [vm.dirty_ratio], write: [vm.dirty_expire_centisecs, net.ipv4.*] }",
    );
    let mut contained = Contained::start(policy);
    for action in [
        "open r /host/proc/sys/vm/dirty_expire_centisecs",
        "open r /host/proc/sys/vm",
        "open r /host/proc/sys/kernel/core_pattern",
        "open w /proc/sys/vm/dirty_ratio",
        "open w /proc/sys/kernel/core_pattern",
        "open w /host/proc/sys/kernel/core_pattern",
        "open w /proc/sys/kernel/modprobe",
        "open w /host/proc/self/root/proc/sys/kernel/core_pattern",
        "open w /proc/sys/vm/dirty_bytes",
        // Not a setting, and governed as a file.
        "open w /proc/sysrq-trigger",
        "open w /proc/irq/default_smp_affinity",
    ] {
        contained.refused("file_open", EACCES, action);
    }
    contained.end();
}

/// No line opens the switch that ends enforcement, and a line for its directory leaves it out.
#[test]
fn the_switch_of_enforcement_is_core() {
    let policy = PolicyText::new("core")
        .kernel("sysctl: { write: [kernel.*] }")
        .audit();
    let mut contained = Contained::start(policy);
    contained.allowed("file_open", "open w /proc/sys/kernel/printk_ratelimit");
    contained.refused(
        "file_open",
        EACCES,
        "open w /proc/sys/kernel/ftrace_enabled",
    );
    contained.refused(
        "file_open",
        EACCES,
        "open w /host/proc/sys/kernel/ftrace_enabled",
    );
    contained.end();
}
