//! Kernel settings: entries below `sys` of any procfs, by name.
//!
//! Inodes of procfs have no lasting identity, but their names are the kernel's own: nobody renames
//! or links there. A setting is known by a hash of its path below `sys`; a line for a directory
//! holds for everything below it.

use super::{Reason, Verdict};
use crate::abi::{GrantKey, NO_RULE, PolicyId, grant_kind};
use crate::errno::EACCES;
use crate::lookup::Lookup;
use crate::rights::Rights;

/// Parts that a name may have; what lies deeper is refused.
pub const PARTS: usize = 8;
/// Room for one part, with its NUL, in words of eight bytes.
pub const WORDS: usize = 8;

const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hash of one part, as zero-padded words. Without branches, for the verifier's sake.
#[inline(always)]
pub const fn part_hash(words: &[u64; WORDS]) -> u64 {
    let mut hash = SEED;
    let mut at = 0;
    while at < WORDS {
        hash = mixed(hash, words[at]);
        at += 1;
    }
    hash
}

#[inline(always)]
const fn mixed(hash: u64, word: u64) -> u64 {
    let sum = (hash ^ word).wrapping_mul(PRIME);
    sum ^ sum >> 29
}

/// [`part_hash`] of a text; of a longer one than fits, 0, which no entry has.
pub const fn part_hash_of(part: &[u8]) -> u64 {
    if part.is_empty() || part.len() >= WORDS * 8 - 1 {
        return 0;
    }
    let mut words = [0u64; WORDS];
    let mut at = 0;
    while at < part.len() {
        words[at / 8] |= (part[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    part_hash(&words)
}

/// Hash of the path that is `part` below `above`; [`TOP`] is above all.
#[inline(always)]
pub const fn below(above: u64, part: u64) -> u64 {
    mixed(above.rotate_left(7), part)
}

/// Hash of the empty path.
pub const TOP: u64 = SEED;
/// [`part_hash`] of the directory that holds all settings.
pub const SYS: u64 = part_hash_of(b"sys");
/// `kernel.ftrace_enabled`: 0 there stops every program on an LSM hook before 6.18.
const FTRACE_ENABLED: u64 = below(
    below(TOP, part_hash_of(b"kernel")),
    part_hash_of(b"ftrace_enabled"),
);

/// Where an entry lies below `sys`: hashes of its parts, its own first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SysctlPath {
    /// Those beyond `length` mean nothing.
    pub parts: [u64; PARTS],
    /// How many parts there are.
    pub length: usize,
}

/// Access to a setting. `held` is what the procfs itself gives: reading, where it is the
/// container's own.
#[inline(always)]
pub fn decide_sysctl<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    path: &SysctlPath,
    held: Rights,
    want: Rights,
) -> Verdict {
    let (mut rights, mut hash) = (held, tables.forget(TOP));
    let mut rule = tables.forget(NO_RULE.into()) as u32;
    let mut left = PARTS;
    while left > 0 {
        left -= 1;
        if left < path.length {
            hash = below(hash, path.parts[left]);
            let key = GrantKey {
                policy,
                kind: grant_kind::SYSCTL,
                number: hash,
            };
            if let Some(found) = tables.grant(key) {
                rights = rights | found.rights;
                rule = found.rule;
            }
        }
    }
    if hash == FTRACE_ENABLED && want.0 & !Rights::READ.0 != 0 {
        return Verdict::refuse(EACCES, Reason::Core, NO_RULE);
    }
    if rights.contains(want) {
        Verdict::allow(rule)
    } else if rule == NO_RULE {
        Verdict::no_grant(EACCES)
    } else {
        Verdict::refuse(EACCES, Reason::NotInGrant, rule)
    }
}
