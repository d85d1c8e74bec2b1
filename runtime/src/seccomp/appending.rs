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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::table::Table;
    use crate::seccomp::tests::interpreter::{Call, answer};

    #[test]
    fn only_what_overwrites_is_refused() {
        let filter = Filter::new(&profile(), Flags::default()).expect("a filter");
        let ask = |arch, name: &str, args: &[u64]| {
            let number = Table::of(arch).and_then(|table| table.number(name));
            let call = Call::new(arch, number.expect(name), args);
            answer(&filter.program, &call).returned
        };
        let allow = Action::Allow.returned();
        let errno = |errno: i32| Action::Errno(errno as u16).returned();
        for arch in [Architecture::X86_64, Architecture::X86] {
            for (mode, wanted) in [
                (0, allow),
                (KEEP_SIZE, allow),
                (2 | KEEP_SIZE, errno(libc::EPERM)),
                (0x10, errno(libc::EPERM)),
            ] {
                assert_eq!(ask(arch, "fallocate", &[3, mode]), wanted, "{mode}");
            }
            let write = |flags| ask(arch, "pwritev2", &[3, 0, 1, 0, 0, flags]);
            assert_eq!(write(0x10), allow);
            assert_eq!(write(NOAPPEND), errno(libc::EOPNOTSUPP));
            assert_eq!(ask(arch, "io_uring_setup", &[]), errno(libc::ENOSYS));
            assert_eq!(ask(arch, "io_setup", &[]), errno(libc::ENOSYS));
            assert_eq!(ask(arch, "write", &[]), allow);
        }
    }
}
