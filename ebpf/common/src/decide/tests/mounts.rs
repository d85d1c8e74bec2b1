//! Mounts: type, flags, place, source and device; what may be done to them.

use super::{DEV, P, Tables, stored};
use crate::abi::{
    MountKey, MountRule, PolicyHeader, SOURCE_MAX, SuperRule, kernel_dev, mount_scope, narrowed,
    source_hash_of, super_kind, type_hash_of,
};
use crate::decide::mount::*;
use crate::decide::{Reason, effective_rights};
use crate::errno::EPERM;
use crate::magic;
use crate::rights::Rights;

const NEAR: u32 = kernel_dev(8, 5);

fn key(fs_type: u64, scope: u32, dev: u32, object: u64) -> MountKey {
    MountKey {
        fs_type,
        object,
        policy: P,
        dev,
        scope,
        reserved: 0,
    }
}

fn rule(required_flags: u64, narrowed: u32, files: Rights) -> MountRule {
    MountRule {
        required_flags,
        rule: 1,
        narrowed,
        files,
        reserved: 0,
    }
}

fn at(dev: u32, ino: u64, own: bool) -> Place {
    Place { dev, ino, own }
}

#[test]
fn mounts_need_the_type_the_flags_and_an_own_target() {
    let tmpfs = type_hash_of("tmpfs");
    let mounts = [(key(tmpfs, 0, 0, 0), rule(2, 0, Rights::NONE))];
    let tables = Tables {
        mounts: &mounts,
        ..Tables::default()
    };
    let good = MountRequest {
        fs_type: tmpfs,
        flags: 2 | 4,
        target: at(0, 9, true),
    };
    assert!(decide_mount(&tables, P, &good).allowed());
    let elsewhere = at(0, 9, false);
    for request in [
        MountRequest { flags: 4, ..good },
        MountRequest {
            target: elsewhere,
            ..good
        },
        MountRequest {
            fs_type: type_hash_of("ext4"),
            ..good
        },
        MountRequest {
            flags: 2 | ms::REMOUNT,
            ..good
        },
        MountRequest {
            flags: 2 | 1 << 20,
            ..good
        },
    ] {
        let verdict = decide_mount(&tables, P, &request);
        assert_eq!(verdict.errno, EPERM, "{request:?}");
    }
}

#[test]
fn a_line_with_targets_holds_there_and_nowhere_else() {
    let ext4 = type_hash_of("ext4");
    let line = rule(0, narrowed::TARGET, Rights::READ);
    let mounts = [
        (key(ext4, 0, 0, 0), line),
        (key(ext4, mount_scope::TARGET, DEV, 9), line),
    ];
    let tables = Tables {
        mounts: &mounts,
        ..Tables::default()
    };
    let on = |target| {
        let request = MountRequest {
            fs_type: ext4,
            flags: 0,
            target,
        };
        decide_mount(&tables, P, &request).allowed()
    };
    assert!(on(at(DEV, 9, false)));
    assert!(!on(at(DEV, 10, true)));
    assert!(!on(at(NEAR, 9, false)));
}

#[test]
fn a_super_block_is_of_the_named_device_and_read_only_where_asked() {
    let ext4 = type_hash_of("ext4");
    let line = rule(ms::RDONLY | 2, narrowed::DEVICE, Rights::READ);
    let mounts = [
        (key(ext4, 0, 0, 0), line),
        (key(ext4, mount_scope::DEVICE, NEAR, 0), line),
    ];
    let tables = Tables {
        mounts: &mounts,
        ..Tables::default()
    };
    let on = |device, flags| decide_super(&tables, P, ext4, device, flags).0.allowed();
    assert!(on(Some(NEAR), ms::RDONLY));
    assert!(!on(Some(NEAR), 0));
    assert!(!on(Some(DEV), ms::RDONLY));
    assert!(!on(None, ms::RDONLY));
    let parameter = |name| decide_parameter(&tables, P, ext4, type_hash_of(name), 0);
    assert!(parameter("data").allowed());
    assert!(parameter("source").allowed());
    assert!(!parameter("journal_path").allowed());
    assert!(!parameter("logdev").allowed());
}

#[test]
fn a_source_is_the_named_string() {
    let nfs = type_hash_of("nfs4");
    let line = rule(0, narrowed::SOURCE, Rights::READ);
    let named = source_hash_of("backup:/vol");
    let mounts = [
        (key(nfs, 0, 0, 0), line),
        (key(nfs, mount_scope::SOURCE, 0, named), line),
    ];
    let tables = Tables {
        mounts: &mounts,
        ..Tables::default()
    };
    let source = type_hash_of("source");
    let from = |hash| decide_parameter(&tables, P, nfs, source, hash).allowed();
    assert!(from(named));
    assert!(!from(source_hash_of("backup:/vol2")));
    assert!(!from(0));
    assert_eq!(source_hash_of(&"a".repeat(SOURCE_MAX)), 0);
    assert_eq!(source_hash_of(""), 0);
}

#[test]
fn a_detached_mount_has_the_attributes_that_lines_want() {
    let header = PolicyHeader {
        attach_attributes: 2,
        ..PolicyHeader::default()
    };
    assert!(decide_attributes(&header, 2 | 4).allowed());
    assert!(!decide_attributes(&header, 4).allowed());
    assert!(decide_attributes(&PolicyHeader::default(), 0).allowed());
}

#[test]
fn actions_are_on_named_mounts_or_own_ones() {
    let line = rule(0, 0, Rights::NONE);
    let action = |action: MountAction| action as u32 as u64;
    let scope = mount_scope::ACTION;
    let tmpfs = type_hash_of("tmpfs");
    let mounts = [
        (key(action(MountAction::Remount), scope, 0, 0), line),
        (key(action(MountAction::Umount), scope, DEV, 2), line),
        (key(tmpfs, 0, 0, 0), rule(2, 0, Rights::NONE)),
    ];
    let tables = Tables {
        mounts: &mounts,
        ..Tables::default()
    };
    let remount = |flags, own| decide_remount(&tables, P, tmpfs, flags, at(DEV, 2, own)).allowed();
    assert!(remount(2, true));
    assert!(!remount(0, true), "the flags of the line stay");
    assert!(!remount(2, false));
    let reconfigure = |own| decide_reconfigure(&tables, P, tmpfs, at(DEV, 2, own)).allowed();
    assert!(reconfigure(true) && !reconfigure(false));
    let moved = decide_action(&tables, P, MountAction::Move, at(DEV, 2, true));
    assert_eq!(moved.reason, Reason::NoGrant);
    let asked = UmountRequest {
        kind: 0,
        magic: magic::TMPFS,
        flags: 0,
        root: at(DEV, 2, false),
        seen_elsewhere: false,
    };
    let umount = |asked: UmountRequest| decide_umount(&tables, P, &asked);
    assert!(umount(asked).allowed(), "named by a line");
    let other = UmountRequest {
        root: at(DEV, 3, true),
        ..asked
    };
    assert!(!umount(other).allowed());
    let own = UmountRequest {
        kind: super_kind::CONTAINER,
        ..other
    };
    assert!(umount(own).allowed());
    let shared = UmountRequest {
        seen_elsewhere: true,
        ..own
    };
    assert!(!umount(shared).allowed());
    let forced = UmountRequest {
        kind: super_kind::GRANTED,
        flags: MNT_FORCE,
        ..own
    };
    assert!(!umount(forced).allowed());
    let pins = UmountRequest {
        magic: magic::BPF_FS,
        ..asked
    };
    assert_eq!(umount(pins).reason, Reason::Core);
}

#[test]
fn a_mounted_file_system_has_the_rights_of_its_line_under_nearer_rules() {
    let found = SuperRule {
        kind: super_kind::GRANTED,
        magic: 0xef53,
        address: 0,
        rights: Rights::READ,
        rule: 4,
    };
    let supers = [(DEV, found)];
    let nearer = super::rule(Rights::WRITE, 3);
    let files = [(6, nearer)];
    let tables = Tables {
        supers: &supers,
        files: &files,
        ..Tables::default()
    };
    let object = stored();
    let rights = |chain: &[u64]| {
        let mut chain = chain.iter().copied().peekable();
        effective_rights(&tables, P, &object, &mut chain)
    };
    assert_eq!(rights(&[9, 2]).rights, Rights::READ);
    assert_eq!(rights(&[9, 2]).rule, 4);
    assert_eq!(rights(&[9, 6, 2]).rights, Rights::WRITE);
}
