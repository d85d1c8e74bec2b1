//! What is named by a number: IPC, keys, sysctls, parts of the kernel; case by case.

use super::ipc::{decide_ipc, decide_key, decide_permission, of_command, of_mode};
use super::kernel::{decide_kernel_load, decide_lockdown, decide_switch};
use super::sysctl::*;
use super::*;
use crate::abi::*;
use crate::errno::{EACCES, EPERM};
use crate::lookup::{CapabilityUse, Lookup};
use crate::rights::ipc;
use crate::socket::{Asked, NameKey, SocketAnswer, UnixRule};

const P: PolicyId = PolicyId(7);

/// Kind, number, rights; the rule is the row's index.
struct Grants<'a>(&'a [(u32, u64, Rights)]);

impl Lookup for Grants<'_> {
    fn policy(&self, _: PolicyId) -> Option<PolicyHeader> {
        Some(PolicyHeader::default())
    }
    fn file(&self, _: InodeKey) -> Option<FileRule> {
        None
    }
    fn super_block(&self, _: SuperKey) -> Option<SuperRule> {
        None
    }
    fn device(&self, _: DeviceKey) -> Option<RightsRule> {
        None
    }
    fn mount(&self, _: MountKey) -> Option<MountRule> {
        None
    }
    fn capability(&self, _: CapabilityKey, _: Option<u32>) -> Option<CapabilityUse> {
        None
    }
    fn process(&self, _: ProcessKey) -> Option<ProcessRule> {
        None
    }
    fn module(&self, _: InodeKey) -> Option<RightsRule> {
        None
    }
    fn socket(&self, _: PolicyId, _: &Asked) -> Option<SocketAnswer> {
        None
    }
    fn unix_path(&self, _: InodeKey) -> Option<UnixRule> {
        None
    }
    fn unix_name(&self, _: NameKey) -> Option<UnixRule> {
        None
    }
    fn network(&self, _: PolicyId) -> Option<u32> {
        None
    }
    fn ioctl(&self, _: IoctlKey) -> bool {
        false
    }
    fn uses_of_device(&self, _: u32) -> u32 {
        0
    }
    fn grant(&self, key: GrantKey) -> Option<RightsRule> {
        let mut rows = (0..).zip(self.0);
        let found =
            rows.find(|(_, row)| key.policy == P && row.0 == key.kind && row.1 == key.number);
        found.map(|(rule, row)| RightsRule {
            rights: row.2,
            rule,
        })
    }
}

/// A path such as `net.ipv4.ip_forward`, as the kernel side walks it: the entry's own part first.
fn path(name: &str) -> SysctlPath {
    let mut parts = [0; PARTS];
    for (to, part) in parts.iter_mut().zip(name.rsplit('.')) {
        *to = part_hash_of(part.as_bytes());
    }
    let length = name.split('.').count();
    SysctlPath { parts, length }
}

/// Number of a path, from the top downwards.
fn number(name: &str) -> u64 {
    let parts = name.split('.').map(|part| part_hash_of(part.as_bytes()));
    parts.fold(TOP, below)
}

#[test]
fn a_sysctl_is_granted_by_its_name_or_a_directory_above_it() {
    let rows = [
        (grant_kind::SYSCTL, number("vm.dirty_ratio"), Rights::READ),
        (grant_kind::SYSCTL, number("net.ipv4"), Rights::WRITE),
    ];
    let decide = |name, held, want| decide_sysctl(&Grants(&rows), P, &path(name), held, want);
    assert!(decide("vm.dirty_ratio", Rights::NONE, Rights::READ).allowed());
    let refused = decide("vm.dirty_ratio", Rights::READ, Rights::WRITE);
    assert_eq!(refused, Verdict::refuse(EACCES, Reason::NotInGrant, 0));
    assert!(decide("net.ipv4.conf.all.forwarding", Rights::NONE, Rights::WRITE).allowed());
    assert_eq!(
        decide("net.ipv6.conf.all.forwarding", Rights::READ, Rights::WRITE),
        Verdict::no_grant(EACCES)
    );
    // What the container's own procfs gives stays.
    assert!(decide("kernel.hostname", Rights::READ, Rights::READ).allowed());
    assert!(!decide("kernel.hostname", Rights::NONE, Rights::READ).allowed());
    // The order of the parts counts.
    assert!(!decide("ipv4.net", Rights::NONE, Rights::WRITE).allowed());
}

#[test]
fn the_switch_of_all_programs_is_core() {
    let rows = [(grant_kind::SYSCTL, number("kernel"), Rights::ALL)];
    let decide = |name, want| decide_sysctl(&Grants(&rows), P, &path(name), Rights::NONE, want);
    assert!(decide("kernel.core_pattern", Rights::WRITE).allowed());
    assert!(decide("kernel.ftrace_enabled", Rights::READ).allowed());
    let refused = decide("kernel.ftrace_enabled", Rights::WRITE);
    assert_eq!(refused.reason, Reason::Core);
}

#[test]
fn parts_hash_as_the_kernel_side_reads_them() {
    assert_eq!(part_hash_of(b"sys"), SYS);
    let mut words = [0u64; WORDS];
    words[0] = u64::from_le_bytes(*b"ip_forwa");
    words[1] = u64::from_le_bytes(*b"rd\0\0\0\0\0\0");
    assert_eq!(part_hash(&words), part_hash_of(b"ip_forward"));
    assert_ne!(part_hash_of(b"a"), part_hash_of(b"b"));
    // One that the kernel side would have to cut has no hash.
    assert_eq!(part_hash_of(&[b'a'; 63]), 0);
    assert_ne!(part_hash_of(&[b'a'; 62]), 0);
}

#[test]
fn ipc_is_own_or_by_class() {
    let rows = [(
        grant_kind::IPC,
        u64::from(ipc_class::SHM),
        ipc::READ | ipc::CREATE,
    )];
    let decide = |class, own, want| decide_ipc(&Grants(&rows), P, class, own, want);
    assert!(decide(ipc_class::SHM, false, ipc::READ).allowed());
    assert!(decide(ipc_class::SHM, false, Rights::NONE).allowed());
    assert!(decide(ipc_class::SEM, true, ipc::CONTROL).allowed());
    let refused = decide(ipc_class::SHM, false, ipc::WRITE);
    assert_eq!(refused, Verdict::refuse(EACCES, Reason::NotInGrant, 0));
    let refused = decide(ipc_class::SHM, false, ipc::CONTROL);
    assert_eq!(refused.errno, EPERM);
    for want in [ipc::READ, Rights::NONE] {
        let refused = decide(ipc_class::SEM, false, want);
        assert_eq!(refused, Verdict::no_grant(EACCES));
    }
}

#[test]
fn receiving_is_decided_by_the_system_call() {
    let rows = [(grant_kind::IPC, u64::from(ipc_class::MSG), ipc::READ)];
    let decide = |rows, call, own| decide_permission(&Grants(rows), P, call, own, ipc::READ);
    assert!(decide(&rows, 70, false).allowed());
    assert!(!decide(&[], 70, false).allowed() && decide(&[], 70, true).allowed());
    // The hooks of the other classes decide in their calls.
    assert!(decide(&[], 30, false).allowed());
    // In a call that is not known, all classes must.
    assert!(!decide(&rows, u32::MAX, false).allowed());
    let all = [ipc_class::MSG, ipc_class::SHM, ipc_class::SEM];
    let all = all.map(|class| (grant_kind::IPC, u64::from(class), ipc::READ));
    assert!(decide(&all, u32::MAX, false).allowed());
}

#[test]
fn commands_want_what_they_do() {
    assert_eq!(of_command(ipc_class::SHM, 0), ipc::CONTROL);
    assert_eq!(of_command(ipc_class::SHM, 2), ipc::READ);
    assert_eq!(of_command(ipc_class::SHM, 11), ipc::CONTROL);
    assert_eq!(of_command(ipc_class::SEM, 11), ipc::READ);
    assert_eq!(of_command(ipc_class::SEM, 16), ipc::WRITE);
    assert_eq!(of_command(ipc_class::MSG, 11), ipc::READ);
    assert_eq!(of_mode(0o600), ipc::READ | ipc::WRITE);
    assert_eq!(of_mode(0o1000), Rights::NONE);
}

#[test]
fn a_key_that_is_possessed_is_refused_with_an_errno_that_holds() {
    let rows = [(grant_kind::IPC, u64::from(ipc_class::KEYS), ipc::SEARCH)];
    let decide = |own, need, possessed| decide_key(&Grants(&rows), P, own, need, possessed);
    assert!(decide(false, 4, false).allowed());
    assert!(decide(true, 2, false).allowed());
    assert_eq!(decide(false, 2, false).errno, EACCES);
    assert_eq!(decide(false, 2, true).errno, EPERM);
    assert_eq!(decide(false, 3, true).errno, EACCES);
    // Unlinking is decided by the keyring, what is deferred later; what is not known is refused.
    assert!(decide(false, 7, false).allowed() && decide(false, 10, false).allowed());
    assert!(!decide(false, 0, false).allowed() && !decide(false, 11, false).allowed());
}

#[test]
fn switches_are_off_but_for_user_namespaces() {
    let none = Grants(&[]);
    assert_eq!(
        decide_switch(&none, P, switch::SYSLOG),
        Verdict::no_grant(EPERM)
    );
    assert!(decide_switch(&none, P, switch::USERNS).allowed());
    let rows = [
        (grant_kind::SWITCH, u64::from(switch::SYSLOG), Rights::ALL),
        (grant_kind::SWITCH, u64::from(switch::USERNS), Rights::NONE),
        (grant_kind::SWITCH, u64::from(switch::KEXEC), Rights::ALL),
    ];
    let some = Grants(&rows);
    assert_eq!(decide_switch(&some, P, switch::SYSLOG), Verdict::allow(0));
    assert_eq!(decide_switch(&some, P, switch::USERNS).rule, 1);
    assert!(!decide_switch(&some, P, switch::USERNS).allowed());
    // Another kernel in the calls that load one; a module from memory never.
    assert!(decide_kernel_load(&some, P, 246).allowed());
    assert!(!decide_kernel_load(&some, P, 175).allowed());
    assert!(!decide_kernel_load(&none, P, 246).allowed());
}

#[test]
fn lockdown_decides_what_no_other_rule_does() {
    let rows = [(grant_kind::LOCKDOWN, 7, Rights::ALL)];
    let decide = |reason| decide_lockdown(&Grants(&rows), P, reason);
    assert!(decide(7).allowed());
    assert_eq!(decide(2), Verdict::no_grant(EPERM));
    for elsewhere in [0, 1, 3, 4, 10, 15, 22, 64] {
        assert!(decide(elsewhere).allowed(), "{elsewhere}");
    }
}
