//! The order of the decision, case by case, on tables small enough to see.

use super::capability::{counted_level, decide_capability, is_of_overlay};
use super::file::*;
use super::kernel::decide_bpf;
use super::process::{Target, decide_ptrace, decide_signal, decide_signal_owner, wanted_of_trace};
use super::*;
use crate::abi::*;
use crate::errno::{EACCES, EPERM};
use crate::lookup::{CapabilityUse, Lookup};
use crate::magic;
use crate::socket::{Asked, NameKey, SocketAnswer, UnixRule};

mod objects;
#[path = "tests/rename.rs"]
mod rename;

const P: PolicyId = PolicyId(7);
const DEV: u32 = kernel_dev(8, 1);

/// Tables as slices: slow and obvious.
#[derive(Default)]
struct Tables<'a> {
    files: &'a [(u64, FileRule)],
    supers: &'a [(u32, SuperRule)],
    devices: &'a [(DeviceKey, RightsRule)],
    mounts: &'a [(MountKey, MountRule)],
    header: PolicyHeader,
    capability: Option<CapabilityRule>,
    process: Option<ProcessRule>,
    ioctls: &'a [IoctlKey],
    uses: u32,
}

impl Lookup for Tables<'_> {
    fn policy(&self, _: PolicyId) -> Option<PolicyHeader> {
        Some(self.header)
    }
    fn file(&self, key: InodeKey) -> Option<FileRule> {
        (key.policy == P && key.dev == DEV)
            .then(|| {
                self.files
                    .iter()
                    .find(|(ino, _)| *ino == key.ino)
                    .map(|(_, rule)| *rule)
            })
            .flatten()
    }
    fn super_block(&self, key: SuperKey) -> Option<SuperRule> {
        self.supers
            .iter()
            .find(|(dev, _)| *dev == key.dev)
            .map(|(_, rule)| *rule)
    }
    fn device(&self, key: DeviceKey) -> Option<RightsRule> {
        self.devices
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, rule)| *rule)
    }
    fn mount(&self, key: MountKey) -> Option<MountRule> {
        self.mounts
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, rule)| *rule)
    }
    fn capability(&self, _: CapabilityKey, syscall: Option<u32>) -> Option<CapabilityUse> {
        self.capability.map(|rule| rule.used_in(syscall))
    }
    fn process(&self, _: ProcessKey) -> Option<ProcessRule> {
        self.process
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
    fn grant(&self, _: GrantKey) -> Option<RightsRule> {
        None
    }
    fn ioctl(&self, key: IoctlKey) -> bool {
        self.ioctls.contains(&key)
    }
    fn uses_of_device(&self, _: u32) -> u32 {
        self.uses
    }
}

fn rule(rights: Rights, rule: u32) -> FileRule {
    FileRule {
        rights,
        flags: 0,
        rule,
        generation: 0,
        use_count: 0,
        reserved: 0,
    }
}

fn stored() -> FileObject {
    FileObject {
        dev: DEV,
        super_block: 1,
        magic: 0xef53,
        super_flags: 0,
        of_process: false,
        passes_over: file_flags::BACKING,
    }
}

fn decide(tables: &Tables<'_>, object: &FileObject, chain: &[u64], want: Rights) -> Verdict {
    effective_rights(tables, P, object, &mut chain.iter().copied().peekable()).decide(want)
}

#[test]
fn the_nearest_rule_decides_even_where_a_farther_one_gives_more() {
    let files = [(2, rule(Rights::ALL, 0)), (20, rule(Rights::READ, 1))];
    let tables = Tables {
        files: &files,
        ..Tables::default()
    };
    assert_eq!(
        decide(&tables, &stored(), &[21, 20, 2], Rights::READ),
        Verdict::allow(1)
    );
    let refused = decide(&tables, &stored(), &[21, 20, 2], Rights::WRITE);
    assert_eq!(refused, Verdict::refuse(EACCES, Reason::NotInGrant, 1));
    assert_eq!(
        decide(&tables, &stored(), &[30, 2], Rights::WRITE),
        Verdict::allow(0)
    );
}

#[test]
fn an_unnamed_object_is_refused_with_the_errno_of_its_kind() {
    let tables = Tables::default();
    assert_eq!(
        decide(&tables, &stored(), &[9, 2], Rights::READ).errno,
        EACCES
    );
    assert_eq!(
        decide(&tables, &stored(), &[9, 2], Rights::CHMOD).errno,
        EPERM
    );
}

#[test]
fn a_chain_longer_than_the_bound_is_refused() {
    let files = [(1, rule(Rights::ALL, 0))];
    let tables = Tables {
        files: &files,
        ..Tables::default()
    };
    let mut deep = [5u64; 80];
    deep[MAX_DEPTH as usize] = 1;
    assert_eq!(
        decide(&tables, &stored(), &deep, Rights::READ).reason,
        Reason::TooDeep
    );
    deep[MAX_DEPTH as usize - 1] = 1;
    assert!(decide(&tables, &stored(), &deep, Rights::READ).allowed());
}

#[test]
fn bpffs_is_core_whatever_is_granted() {
    let files = [(2, rule(Rights::ALL, 0))];
    let supers = [(
        DEV,
        SuperRule {
            kind: super_kind::RUNTIME,
            magic: magic::BPF_FS,
            address: 0,
            rights: Rights::NONE,
            rule: NO_RULE,
        },
    )];
    let tables = Tables {
        files: &files,
        supers: &supers,
        ..Tables::default()
    };
    let object = FileObject {
        magic: magic::BPF_FS,
        ..stored()
    };
    let verdict = decide(&tables, &object, &[2], Rights::READ);
    assert_eq!(verdict.reason, Reason::Core);
    let header = PolicyHeader {
        audit: u32::MAX,
        ..PolicyHeader::default()
    };
    assert!(
        verdict.enforced(&header, Section::Files),
        "audit mode must not open the core"
    );
}

#[test]
fn an_own_procfs_gives_processes_but_not_the_kernel() {
    let supers = [(
        DEV,
        SuperRule {
            kind: super_kind::RUNTIME,
            magic: magic::PROC,
            address: 0,
            rights: Rights::NONE,
            rule: NO_RULE,
        },
    )];
    let tables = Tables {
        supers: &supers,
        ..Tables::default()
    };
    let kernel = FileObject {
        magic: magic::PROC,
        ..stored()
    };
    assert!(decide(&tables, &kernel, &[2], Rights::READ).allowed());
    assert!(!decide(&tables, &kernel, &[2], Rights::WRITE).allowed());
    let process = FileObject {
        of_process: true,
        ..kernel
    };
    assert!(decide(&tables, &process, &[2], Rights::WRITE).allowed());
}

#[test]
fn a_reused_device_number_is_not_own() {
    let rule = SuperRule {
        kind: super_kind::CONTAINER,
        magic: magic::TMPFS,
        address: 9,
        rights: Rights::NONE,
        rule: NO_RULE,
    };
    let supers = [(DEV, rule)];
    let tables = Tables {
        supers: &supers,
        ..Tables::default()
    };
    let own = FileObject {
        magic: magic::TMPFS,
        super_block: 9,
        ..stored()
    };
    assert!(decide(&tables, &own, &[2], Rights::READ).allowed());
    let others = [
        FileObject {
            super_block: 10,
            ..own
        },
        FileObject {
            magic: 0xef53,
            ..own
        },
    ];
    for object in others {
        assert!(
            !decide(&tables, &object, &[2], Rights::READ).allowed(),
            "{object:?}"
        );
    }
}

#[test]
fn a_backing_rule_holds_only_behind_an_overlay() {
    let backing = FileRule {
        flags: file_flags::BACKING,
        ..rule(Rights::ALL, NO_RULE)
    };
    let files = [(2, backing)];
    let tables = Tables {
        files: &files,
        ..Tables::default()
    };
    assert!(!decide(&tables, &stored(), &[2], Rights::READ).allowed());
    let object = FileObject {
        passes_over: 0,
        ..stored()
    };
    assert!(decide(&tables, &object, &[2], Rights::READ).allowed());
}

#[test]
fn devices_go_by_number_then_by_major() {
    let key = |minor| DeviceKey {
        policy: P,
        class: device_class::BLOCK,
        major: 8,
        minor,
    };
    let some = RightsRule {
        rights: Rights::READ,
        rule: 3,
    };
    let devices = [
        (key(ANY_MINOR), some),
        (
            key(1),
            RightsRule {
                rights: Rights::NONE,
                rule: 4,
            },
        ),
    ];
    let tables = Tables {
        devices: &devices,
        ..Tables::default()
    };
    let ask = |number, want| decide_device(&tables, P, device_class::BLOCK, number, false, want);
    assert!(ask((8, 2), Rights::READ).allowed());
    assert!(!ask((8, 2), Rights::WRITE).allowed());
    assert_eq!(ask((8, 1), Rights::READ).rule, 4);
    assert_eq!(ask((9, 0), Rights::READ), Verdict::no_grant(EACCES));
    assert!(!decide_device(&tables, P, device_class::CHAR, (8, 2), false, Rights::READ).allowed());
}

#[test]
fn a_capability_goes_with_its_system_call() {
    let mut syscalls = [0; 8];
    syscalls[165 / 64] = 1 << (165 % 64);
    let known = CapabilityRule {
        syscalls,
        all: 0,
        rule: 5,
    };
    let tables = Tables {
        capability: Some(known),
        ..Tables::default()
    };
    let ask = |syscall, level| decide_capability(&tables, P, 21, syscall, level);
    assert!(ask(Some(165), 0).allowed());
    for other in [Some(166), Some(512 + 165), None] {
        assert_eq!(ask(other, 0).errno, EPERM, "{other:?}");
    }
    assert!(ask(None, 1).allowed(), "its own user namespace");
    let everywhere = CapabilityRule {
        syscalls: [0; 8],
        all: 1,
        rule: 5,
    };
    let tables = Tables {
        capability: Some(everywhere),
        ..Tables::default()
    };
    assert!(decide_capability(&tables, P, 21, None, 0).allowed());
}

const NO_PROCESS: ProcessRule = ProcessRule {
    signals: 0,
    ptrace: 0,
    rule: NO_RULE,
    limits: 0,
    namespaces: 0,
    exec: 0,
    reserved: 0,
};

/// Tracing in a system call that is not told apart.
fn trace(tables: &Tables<'_>, target: &Target, mode: u32) -> Verdict {
    decide_ptrace(tables, P, target, wanted_of_trace(mode, None), None)
}

#[test]
fn processes_are_own_or_named_by_executable() {
    let named = ProcessRule {
        signals: 1 << 15,
        ptrace: ptrace::READ,
        rule: 2,
        ..NO_PROCESS
    };
    let tables = Tables {
        process: Some(named),
        ..Tables::default()
    };
    let host = Target {
        subject: None,
        exe_dev: DEV,
        exe_ino: 5,
    };
    assert!(decide_signal(&tables, P, &host, 15).allowed());
    assert_eq!(decide_signal(&tables, P, &host, 9).errno, EPERM);
    assert!(trace(&tables, &host, 0x9).allowed());
    assert!(!trace(&tables, &host, 0x12).allowed());
    let in_container = |policy, state| Target {
        subject: Some(Subject { policy, state }),
        ..host
    };
    assert!(decide_signal(&tables, P, &in_container(P, state::ENFORCED), 9).allowed());
    assert!(trace(&tables, &in_container(P, state::ENFORCED), 0x12).allowed());
    let pending = trace(&tables, &in_container(P, state::PENDING), 0x9);
    assert_eq!(pending.reason, Reason::Core);
    let other = in_container(PolicyId(23), state::ENFORCED);
    assert_eq!(decide_signal(&tables, P, &other, 15).reason, Reason::Core);
    assert_eq!(trace(&tables, &other, 0x9).reason, Reason::Core);
}

#[test]
fn type_names_hash_like_the_kernel_side_reads_them() {
    let mut bytes = [0u8; TYPE_NAME_MAX];
    bytes[..5].copy_from_slice(b"tmpfs");
    assert_eq!(type_hash(&bytes), type_hash_of("tmpfs"));
    assert_ne!(type_hash_of("tmpfs"), type_hash_of("ramfs"));
    assert_eq!(
        type_hash_of("a-very-long-file-system-name"),
        type_hash_of("a-very-long-fil")
    );
}

#[test]
fn only_what_an_overlay_does_behind_its_files_is_the_kernels_own() {
    let plain = PolicyHeader::default();
    let header = PolicyHeader {
        kernel: crate::abi::kernel::OVERLAY_ROOT,
        ..plain
    };
    let openat = Some(257);
    assert!(is_of_overlay(&header, 21, openat, true));
    assert!(
        !is_of_overlay(&header, 21, openat, false),
        "its own credentials"
    );
    assert!(!is_of_overlay(&plain, 21, openat, true), "no overlay");
    assert!(
        !is_of_overlay(&header, 16, openat, true),
        "not a file capability"
    );
    assert!(
        !is_of_overlay(&header, 21, Some(426), true),
        "a personality of io_uring"
    );
    assert!(
        !is_of_overlay(&header, 21, None, true),
        "a worker of io_uring"
    );
}

#[test]
fn no_grant_of_bpf_reaches_objects_of_others() {
    let header = PolicyHeader {
        bpf_commands: u64::MAX,
        ..PolicyHeader::default()
    };
    for command in [7, 13, 14, 29, 30, 34] {
        assert_eq!(
            decide_bpf(&header, command).reason,
            Reason::Core,
            "{command}"
        );
    }
    assert!(decide_bpf(&header, 0).allowed());
    assert!(!decide_bpf(&header, 64).allowed());
    assert!(!decide_bpf(&PolicyHeader::default(), 0).allowed());
}

#[test]
fn a_file_signals_only_its_own_process_among_those_of_the_host() {
    let shared = PolicyHeader::default();
    for named in [Some(0), Some(70), Some(-70)] {
        assert!(
            decide_signal_owner(&shared, named, 70).allowed(),
            "{named:?}"
        );
    }
    for named in [Some(1), Some(-1), Some(71), None] {
        assert_eq!(
            decide_signal_owner(&shared, named, 70).errno,
            EPERM,
            "{named:?}"
        );
    }
    let private = PolicyHeader {
        kernel: crate::abi::kernel::PRIVATE_PID,
        ..shared
    };
    assert!(decide_signal_owner(&private, None, 70).allowed());
}

#[test]
fn entering_a_namespace_of_others_is_a_use_over_the_host() {
    assert_eq!(
        counted_level(1, 0, Some(308)),
        0,
        "setns from the initial namespace"
    );
    assert_eq!(counted_level(1, 0, None), 0, "a call that cannot be told");
    assert_eq!(
        counted_level(1, 0, Some(1)),
        1,
        "writing a map of its own child"
    );
    assert_eq!(
        counted_level(2, 1, Some(308)),
        2,
        "from within one of its own"
    );
}

mod mounts;
mod processes;
