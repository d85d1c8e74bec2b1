//! Moves, links and exchanges.

use crate::Rights;
use crate::decide::file::Effective;
use crate::decide::rename::{Entry, decide_move, decide_rename};
use crate::decide::{Reason, Verdict};
use crate::errno::{EACCES, EXDEV};

#[test]
fn a_move_never_widens() {
    let reads = Effective {
        rights: Rights::READ | Rights::RENAME,
        rule: 0,
        reason: Reason::NoGrant,
        flags: 0,
        depth: 1,
    };
    let all = Effective {
        rights: Rights::ALL,
        rule: 1,
        reason: Reason::NoGrant,
        flags: 0,
        depth: 1,
    };
    assert_eq!(
        decide_move(Rights::RENAME, reads, all),
        Verdict::refuse(EXDEV, Reason::Widening, 1)
    );
    let drop = Effective {
        rights: Rights::CREATE,
        rule: 2,
        reason: Reason::NotInGrant,
        flags: 0,
        depth: 1,
    };
    assert!(decide_move(Rights::RENAME, all, drop).allowed());
    assert_eq!(decide_move(Rights::RENAME, all, reads).errno, EACCES);
    assert_eq!(decide_move(Rights::LINK, reads, all).errno, EACCES);
}

const FILE: u32 = 0o100_600;
const DIRECTORY: u32 = 0o040_700;
const NONE: u32 = 0;

#[test]
fn a_rename_asks_both_names() {
    let with = |rights, rule| Effective {
        rights,
        rule,
        reason: Reason::NotInGrant,
        flags: 0,
        depth: 1,
    };
    let entry = |rights: Rights, rule, mode| Entry {
        object: with(rights, rule),
        directory: with(rights, rule),
        mode,
    };
    let (all, kept) = (Rights::ALL, Rights::CREATE | Rights::RENAME);
    let errno = |old, new, exchange| decide_rename(&old, &new, exchange).verdict.errno;

    assert_eq!(errno(entry(all, 0, FILE), entry(all, 0, NONE), false), 0);
    // What is replaced is deleted.
    let replaced = decide_rename(&entry(all, 0, FILE), &entry(kept, 1, FILE), false);
    assert_eq!((replaced.of_new, replaced.want), (true, Rights::DELETE));
    assert_eq!(replaced.verdict.errno, EACCES);
    // An exchange moves both, and the other way would widen.
    assert_eq!(errno(entry(all, 0, FILE), entry(all, 1, FILE), true), 0);
    let widening = decide_rename(&entry(all, 0, FILE), &entry(kept, 1, FILE), true);
    assert_eq!((widening.verdict.errno, widening.of_new), (EXDEV, true));
    // A directory leaves the directory above it, which may be outside the grant.
    let inside = |mode| Entry {
        directory: with(Rights::CREATE, 2),
        ..entry(all, 0, mode)
    };
    assert_eq!(errno(inside(FILE), entry(all, 0, NONE), false), 0);
    assert_eq!(errno(inside(DIRECTORY), entry(all, 0, NONE), false), EACCES);
    assert_eq!(errno(entry(all, 0, FILE), inside(DIRECTORY), true), EACCES);
}
