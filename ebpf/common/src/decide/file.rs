//! Files: whose object it is, which rule is nearest, and that no move gives an object more rights.

use super::{Reason, Verdict, file_errno};
use crate::abi::{
    ANY_MINOR, DeviceKey, FileRule, InodeKey, NO_RULE, PolicyId, RightsRule, SuperKey,
    device_class, file_flags,
};
use crate::errno::{EACCES, EPERM, EXDEV};
use crate::lookup::{Chain, Lookup, Step, Walked};
use crate::magic;
use crate::rights::Rights;

/// A file, directory or node as a hook sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileObject {
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Address of the `super_block`; 0 outside the kernel.
    pub super_block: u64,
    /// `super_block.s_magic`.
    pub magic: u32,
    /// `super_block.s_flags`.
    pub super_flags: u64,
    /// procfs only: the entry lies below a process's directory (`/proc/PID`), not among the
    /// kernel's own entries.
    pub of_process: bool,
    /// Opened with borrowed credentials, as overlayfs opens the file behind its own.
    pub backing: bool,
}

/// What a container may do to an object at its place, and by which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The rights.
    pub rights: Rights,
    /// Index of the grant, or [`NO_RULE`].
    pub rule: u32,
    /// What to say if a wanted right is not among them.
    pub reason: Reason,
    /// [`FileRule::flags`] of the rule.
    pub flags: u32,
    /// The rule is for the object itself, not for something above it.
    pub at_object: bool,
}

impl Effective {
    #[inline(always)]
    const fn own(rights: Rights) -> Self {
        Self {
            rights,
            rule: NO_RULE,
            reason: Reason::NoGrant,
            flags: 0,
            at_object: false,
        }
    }

    #[inline(always)]
    const fn none(reason: Reason) -> Self {
        Self {
            rights: Rights::NONE,
            rule: NO_RULE,
            reason,
            flags: 0,
            at_object: false,
        }
    }

    /// Whether the object is the container's own.
    #[inline(always)]
    pub const fn is_own(self) -> bool {
        self.rights.0 == Rights::ALL.0 && self.rule == NO_RULE
    }

    /// Allows moving or removing the object itself, or refuses it: what holds the fixed core stays
    /// where it is.
    #[inline(always)]
    pub fn decide_place(self, want: Rights) -> Verdict {
        if self.at_object && self.flags & file_flags::PINNED != 0 {
            return Verdict::refuse(file_errno(want), Reason::Core, self.rule);
        }
        self.decide(want)
    }

    /// Setting times: to any value, or (`now`) to the present, as whoever writes does.
    #[inline(always)]
    pub fn decide_times(self, now: bool) -> Verdict {
        if now && self.rights.contains(Rights::WRITE) {
            return Verdict::allow(self.rule);
        }
        let verdict = self.decide(Rights::TIMES);
        match verdict.allowed() {
            false if now => Verdict::refuse(EACCES, verdict.reason, verdict.rule),
            _ => verdict,
        }
    }

    /// Allows `want` or refuses it with the errno of its kind.
    #[inline(always)]
    pub fn decide(self, want: Rights) -> Verdict {
        if self.rights.contains(want) {
            Verdict::allow(self.rule)
        } else {
            Verdict::refuse(file_errno(want), self.reason, self.rule)
        }
    }
}

/// The rights that `policy` gives over `object`, whose ancestors `chain` yields from the object
/// (or, for an entry about to be made, from its directory) to the root of the file system.
///
/// The order is the model: the fixed core, then what is the container's own, then the nearest rule.
#[inline(always)]
pub fn effective_rights<L: Lookup, C: Chain>(
    tables: &L,
    policy: PolicyId,
    object: &FileObject,
    chain: &mut C,
) -> Effective {
    // Pins of programs, maps and links: every way to switch enforcement off through a file system.
    if object.magic == magic::BPF_FS {
        return Effective::none(Reason::Core);
    }
    if object.super_flags & magic::SB_NOUSER != 0 {
        return Effective::own(Rights::ALL);
    }
    // Looking at a namespace gives nothing; joining one is a use of a capability.
    if object.magic == magic::NSFS {
        return Effective::own(Rights::READ);
    }
    if let Some(found) = tables.super_block(SuperKey {
        policy,
        dev: object.dev,
    }) && found.is(object.super_block, object.magic)
    {
        if !magic::shows_kernel(object.magic) {
            return Effective::own(Rights::ALL);
        }
        if object.magic == magic::PROC && object.of_process {
            return Effective::own(Rights::ALL);
        }
        return Effective::own(Rights::READ);
    }
    nearest_rule(tables, policy, object, chain)
}

#[inline(always)]
fn nearest_rule<L: Lookup, C: Chain>(
    tables: &L,
    policy: PolicyId,
    object: &FileObject,
    chain: &mut C,
) -> Effective {
    let mut nearest = Effective::none(Reason::NoGrant);
    let walked = chain.walk(&mut |step: Step| {
        let Some(rule) = tables.file(InodeKey {
            policy,
            dev: object.dev,
            ino: step.ino,
        }) else {
            return false;
        };
        if rule.flags & file_flags::BACKING != 0 && !object.backing
            || !is_for(tables, &rule, object.dev, step.generation)
        {
            return false;
        }
        nearest = Effective {
            rights: rule.rights,
            rule: rule.rule,
            reason: match rule.flags & file_flags::CORE {
                0 => Reason::NotInGrant,
                _ => Reason::Core,
            },
            flags: rule.flags,
            at_object: step.first,
        };
        true
    });
    match walked {
        Walked::Stopped => nearest,
        Walked::Top => Effective::none(Reason::NoGrant),
        Walked::TooDeep => Effective::none(Reason::TooDeep),
    }
}

/// Whether the rule was made for this very inode: numbers of deleted inodes and of file systems
/// that went away are given out again.
#[inline(always)]
fn is_for<L: Lookup>(tables: &L, rule: &FileRule, dev: u32, generation: u32) -> bool {
    if rule.generation != 0 && rule.generation != generation {
        return false;
    }
    rule.flags & file_flags::COUNTED == 0 || tables.uses_of_device(dev) == rule.use_count
}

/// Making a device node in a directory of the host: by its number, as opening it is.
#[inline(always)]
pub fn decide_node<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    class: u32,
    number: (u32, u32),
) -> Verdict {
    let verdict = decide_device(tables, policy, class, number, false, Rights::MKNOD);
    match verdict.allowed() {
        true => verdict,
        false => Verdict::refuse(EPERM, verdict.reason, verdict.rule),
    }
}

/// Opening a device node: decided by class and number, wherever the node lies. `own_pts`: the node
/// is in a devpts instance of the container's own, where the numbers are its own terminals.
#[inline(always)]
pub fn decide_device<L: Lookup>(
    tables: &L,
    policy: PolicyId,
    class: u32,
    (major, minor): (u32, u32),
    own_pts: bool,
    want: Rights,
) -> Verdict {
    if own_pts && class == device_class::CHAR {
        return Verdict::allow(NO_RULE);
    }
    let mut key = DeviceKey {
        policy,
        class,
        major,
        minor,
    };
    let mut found = tables.device(key);
    if found.is_none() {
        key.minor = ANY_MINOR;
        found = tables.device(key);
    }
    match found {
        Some(RightsRule { rights, rule }) if rights.contains(want) => Verdict::allow(rule),
        Some(RightsRule { rule, .. }) => Verdict::refuse(EACCES, Reason::NotInGrant, rule),
        None => Verdict::no_grant(EACCES),
    }
}

/// Moving or linking an object: `needed` (rename or link) at its old place, `create` in the new
/// directory, and no more rights there than here. `new_directory` are the rights that govern the
/// new place.
#[inline(always)]
pub fn decide_move(needed: Rights, old: Effective, new_directory: Effective) -> Verdict {
    let verdict = old.decide_place(needed);
    if !verdict.allowed() {
        return verdict;
    }
    let verdict = new_directory.decide(Rights::CREATE);
    if !verdict.allowed() {
        return verdict;
    }
    // Commands that a line names one by one are no rights to compare.
    let more_commands =
        new_directory.flags & file_flags::IOCTLS != 0 && new_directory.rule != old.rule;
    if new_directory.rights.minus(old.rights).is_empty() && !more_commands {
        Verdict::allow(old.rule)
    } else {
        Verdict::refuse(EXDEV, Reason::Widening, new_directory.rule)
    }
}
