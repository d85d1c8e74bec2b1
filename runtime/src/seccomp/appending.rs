//! The filter that holds descriptors to adding.
//!
//! Who may add to a file and not write it gets a descriptor that was opened with `O_APPEND`. The
//! kernel asks no LSM when such a descriptor is used to remove or to overwrite: by `fallocate`, by
//! `RWF_NOAPPEND` (6.9), and by either of them through rings of requests in memory. A container
//! whose policy has such a line goes without.

use super::{Action, Architecture, Condition, Filter, Flags, Operator, Profile, Rule};

/// `FALLOC_FL_KEEP_SIZE`: with it or without, room is made and nothing else.
const KEEP_SIZE: u64 = 1;
/// `RWF_NOAPPEND`.
const NOAPPEND: u64 = 0x20;

impl Filter {
    /// Refuses what would turn adding into writing, and allows everything else.
    pub(crate) fn holding_appending() -> Self {
        match Self::new(&profile(), Flags::default()) {
            Ok(filter) => filter,
            Err(_) => unreachable!("four rules are few"),
        }
    }
}

fn profile() -> Profile {
    let rule = |names: &[&str], errno: i32, alternatives| Rule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: Action::Errno(errno as u16),
        alternatives,
    };
    let if_ = |index, operator, value| {
        vec![vec![Condition {
            index,
            operator,
            value,
        }]]
    };
    let rings = [
        "io_setup",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ];
    Profile {
        default: Action::Allow,
        architectures: vec![Architecture::X86, Architecture::Arm],
        rules: vec![
            rule(
                &["fallocate"],
                libc::EPERM,
                if_(1, Operator::Greater, KEEP_SIZE),
            ),
            rule(
                &["pwritev2"],
                libc::EOPNOTSUPP,
                if_(5, Operator::MaskedEqual(NOAPPEND), NOAPPEND),
            ),
            rule(&rings, libc::ENOSYS, vec![vec![]]),
        ],
    }
}
