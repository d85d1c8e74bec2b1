//! Which object a rule is for, and what may be done to one that is open.

use super::{P, Tables, decide, rule, stored};
use crate::Rights;
use crate::abi::{DeviceKey, FileRule, IoctlKey, RightsRule, device_class, file_flags};
use crate::decide::Reason;
use crate::decide::file::{Effective, effective_rights};
use crate::decide::ioctl::{decide_device_ioctl, decide_ioctl};
use crate::decide::rename::decide_move;
use crate::errno::{EACCES, EPERM, EXDEV};
use crate::lookup::{Chain, Step, Walked};

fn named_by(rule: u32, command: u32) -> IoctlKey {
    IoctlKey {
        policy: P,
        rule,
        command,
    }
}

#[test]
fn a_rule_holds_for_the_inode_that_it_was_made_for() {
    let made = FileRule {
        generation: 77,
        ..rule(Rights::READ, 1)
    };
    let files = [(20, made), (2, rule(Rights::NONE, 0))];
    let tables = Tables {
        files: &files,
        ..Tables::default()
    };
    struct Two(u32);
    impl Chain for Two {
        fn walk<V: FnMut(Step) -> bool>(&mut self, visit: &mut V) -> Walked {
            let mut visited = [20, 2].into_iter().map(|ino| {
                visit(Step {
                    ino,
                    generation: self.0,
                    depth: u32::from(ino != 20),
                })
            });
            match visited.any(|stopped| stopped) {
                true => Walked::Stopped,
                false => Walked::Top,
            }
        }
    }
    let rights = |generation| effective_rights(&tables, P, &stored(), &mut Two(generation)).rights;
    assert_eq!(rights(77), Rights::READ);
    assert_eq!(rights(78), Rights::NONE);
}

#[test]
fn a_rule_ends_with_the_file_system_whose_number_is_used_again() {
    let counted = FileRule {
        flags: file_flags::COUNTED,
        use_count: 3,
        ..rule(Rights::READ, 1)
    };
    let files = [(2, counted)];
    for (uses, allowed) in [(3, true), (4, false)] {
        let tables = Tables {
            files: &files,
            uses,
            ..Tables::default()
        };
        let verdict = decide(&tables, &stored(), &[9, 2], Rights::READ);
        assert_eq!(verdict.allowed(), allowed, "{uses}");
    }
}

#[test]
fn commands_are_free_named_or_refused() {
    let (free, named, other, flags) = (0x541b, 0x4004_9409, 0x4c00, 0x4008_6602);
    let ioctls = [named_by(4, named)];
    let tables = Tables {
        ioctls: &ioctls,
        ..Tables::default()
    };
    let ask = |rights, rule, with, command| {
        let effective = Effective {
            rights,
            rule,
            reason: Reason::NotInGrant,
            flags: with,
            depth: 1,
        };
        decide_ioctl(&tables, P, effective, command).errno
    };
    assert_eq!(ask(Rights::NONE, 4, 0, free), 0);
    assert_eq!(ask(Rights::READ, 4, file_flags::IOCTLS, named), 0);
    assert_eq!(ask(Rights::READ, 5, file_flags::IOCTLS, named), EPERM);
    assert_eq!(ask(Rights::READ, 4, 0, named), EPERM);
    assert_eq!(ask(Rights::WRITE, 4, file_flags::IOCTLS, other), EPERM);
    assert_eq!(ask(Rights::IOCTL, 4, 0, other), 0);
    assert_eq!(ask(Rights::IOCTL, 4, 0, flags), EPERM);
    assert_eq!(ask(Rights::FLAGS, 4, 0, flags), 0);
}

#[test]
fn commands_of_a_device_go_by_its_line() {
    let key = |minor| DeviceKey {
        policy: P,
        class: device_class::BLOCK,
        major: 7,
        minor,
    };
    let rights = |rights, rule| RightsRule { rights, rule };
    let devices = [
        (key(0), rights(Rights::READ, 2)),
        (key(1), rights(Rights::READ | Rights::IOCTL, 3)),
    ];
    let ioctls = [named_by(2, 0x4c00)];
    let tables = Tables {
        devices: &devices,
        ioctls: &ioctls,
        ..Tables::default()
    };
    let ask = |minor, command| {
        decide_device_ioctl(&tables, P, device_class::BLOCK, (7, minor), false, command).errno
    };
    assert_eq!(ask(0, 0x4c00), 0);
    assert_eq!(ask(0, 0x4c01), EPERM);
    assert_eq!(ask(0, 0x1268), 0);
    assert_eq!(ask(1, 0x4c01), 0);
    assert_eq!(ask(2, 0x4c00), EPERM);
}

#[test]
fn times_are_set_by_their_right_and_to_now_by_writers() {
    let with = |rights| Effective {
        rights,
        rule: 1,
        reason: Reason::NotInGrant,
        flags: 0,
        depth: 1,
    };
    assert!(with(Rights::TIMES).decide_times(false).allowed());
    assert!(with(Rights::TIMES).decide_times(true).allowed());
    assert!(with(Rights::WRITE).decide_times(true).allowed());
    assert_eq!(with(Rights::WRITE).decide_times(false).errno, EPERM);
    assert_eq!(with(Rights::READ).decide_times(true).errno, EACCES);
}

#[test]
fn what_holds_the_core_is_not_moved_and_more_commands_are_widening() {
    let with = |flags, rule, depth| Effective {
        rights: Rights::ALL,
        rule,
        reason: Reason::NotInGrant,
        flags,
        depth,
    };
    let new = with(0, 1, 1);
    assert!(decide_move(Rights::RENAME, with(0, 1, 0), new).allowed());
    let pinned = decide_move(Rights::RENAME, with(file_flags::PINNED, 1, 0), new);
    assert_eq!(pinned.reason, Reason::Core);
    assert!(decide_move(Rights::RENAME, with(file_flags::PINNED, 1, 1), new).allowed());
    let commands = with(file_flags::IOCTLS, 2, 1);
    assert_eq!(decide_move(Rights::RENAME, new, commands).errno, EXDEV);
    assert!(decide_move(Rights::RENAME, commands, commands).allowed());
}
