//! Files: whose object it is, and which rule is nearest.

use super::{Reason, Verdict, file_errno};
use crate::abi::{
    ANY_MINOR, DeviceKey, FileRule, InodeKey, NO_RULE, PolicyId, RightsRule, SuperKey,
    device_class, file_flags, super_kind,
};
use crate::errno::{EACCES, EPERM};
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
    /// Rules with one of these [`FileRule::flags`] do not hold for it: [`file_flags::BACKING`],
    /// unless it is opened with borrowed credentials, as overlayfs opens the file behind its own.
    pub passes_over: u32,
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
    /// How far above the object that lies which the rule is for; 0 for the object itself.
    pub depth: u32,
}

impl Effective {
    #[inline(always)]
    const fn own(rights: Rights) -> Self {
        Self {
            rights,
            rule: NO_RULE,
            reason: Reason::NoGrant,
            flags: 0,
            depth: u32::MAX,
        }
    }

    #[inline(always)]
    const fn none(reason: Reason) -> Self {
        Self {
            rights: Rights::NONE,
            rule: NO_RULE,
            reason,
            flags: 0,
            depth: u32::MAX,
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
        if self.depth == 0 && self.flags & file_flags::PINNED != 0 {
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
    let mut otherwise = Effective::none(Reason::NoGrant);
    if let Some(found) = tables.super_block(SuperKey {
        policy,
        dev: object.dev,
    }) && found.is(object.super_block, object.magic)
    {
        if found.kind != super_kind::GRANTED {
            return owned(object);
        }
        otherwise = Effective {
            rights: found.rights,
            rule: found.rule,
            ..Effective::none(Reason::NotInGrant)
        };
    }
    nearest_rule(tables, policy, object, chain, otherwise)
}

/// The rights over what the container itself mounted: all, but over views of the kernel.
#[inline(always)]
fn owned(object: &FileObject) -> Effective {
    if !magic::shows_kernel(object.magic) || object.magic == magic::PROC && object.of_process {
        Effective::own(Rights::ALL)
    } else {
        Effective::own(Rights::READ)
    }
}

/// The nearest rule's rights, or `otherwise` where none is up to the root of the file system.
#[inline(always)]
fn nearest_rule<L: Lookup, C: Chain>(
    tables: &L,
    policy: PolicyId,
    object: &FileObject,
    chain: &mut C,
    otherwise: Effective,
) -> Effective {
    let (mut nearest, mut depth) = (FileRule::default(), 0);
    let walked = chain.walk(&mut |step: Step| {
        let Some(rule) = tables.file(InodeKey {
            policy,
            dev: object.dev,
            ino: step.ino,
        }) else {
            return false;
        };
        if rule.flags & object.passes_over | of_another_inode(rule.generation, step.generation) != 0
        {
            return false;
        }
        (nearest, depth) = (rule, step.depth);
        true
    });
    match walked {
        Walked::Stopped => by_rule(tables, object, &nearest, depth),
        Walked::Top => otherwise,
        Walked::TooDeep => Effective::none(Reason::TooDeep),
    }
}

/// Not 0 if the rule was made for another inode than this: numbers of deleted inodes are given out
/// again. A number, because the verifier goes each way of every branch of a walk.
#[inline(always)]
pub(super) const fn of_another_inode(made_for: u32, generation: u32) -> u32 {
    let known = ((made_for as u64).wrapping_neg() >> 32) as u32;
    (made_for ^ generation) & known
}

/// Whether the device number was given out again since the rule was made: all that rules say of it
/// is about another file system.
#[inline(always)]
pub(super) fn of_another_device<L: Lookup>(
    tables: &L,
    dev: u32,
    flags: u32,
    use_count: u32,
) -> bool {
    flags & file_flags::COUNTED != 0 && tables.uses_of_device(dev) != use_count
}

/// What the nearest rule gives, `depth` steps above the object.
#[inline(always)]
fn by_rule<L: Lookup>(tables: &L, object: &FileObject, rule: &FileRule, depth: u32) -> Effective {
    if of_another_device(tables, object.dev, rule.flags, rule.use_count) {
        return Effective::none(Reason::NoGrant);
    }
    Effective {
        rights: rule.rights,
        rule: rule.rule,
        reason: match rule.flags & file_flags::CORE {
            0 => Reason::NotInGrant,
            _ => Reason::Core,
        },
        flags: rule.flags,
        depth,
    }
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
