//! Moves and links: none gives an object more rights than it had.

use super::file::Effective;
use super::{Reason, Verdict};
use crate::abi::file_flags;
use crate::errno::EXDEV;
use crate::rights::Rights;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// One of the two entries of a rename.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What may be done to the object.
    pub object: Effective,
    /// What may be done to the directory that holds it.
    pub directory: Effective,
    /// `i_mode` of the object; 0 if there is none.
    pub mode: u32,
}

/// What a refusal of a rename is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renaming {
    /// The answer.
    pub verdict: Verdict,
    /// The right that was asked for.
    pub want: Rights,
    /// It is about the object that was at the new name.
    pub of_new: bool,
}

/// Renaming `old` to `new`: both ways in an exchange; otherwise what is replaced is deleted.
#[inline(always)]
pub fn decide_rename(old: &Entry, new: &Entry, exchange: bool) -> Renaming {
    let mut renaming = Renaming {
        verdict: decide_leave(old, new.directory),
        want: Rights::RENAME,
        of_new: false,
    };
    if !renaming.verdict.allowed() || new.mode == 0 {
        return renaming;
    }
    renaming.of_new = true;
    if exchange {
        renaming.verdict = decide_leave(new, old.directory);
    } else {
        renaming.verdict = new.object.decide(Rights::DELETE);
        renaming.want = Rights::DELETE;
    }
    renaming
}

/// Moving the object of `entry` into `to`. A directory is moved as an entry of the directory above,
/// too: a grant on a directory is for what is in it, not for its own place.
#[inline(always)]
fn decide_leave(entry: &Entry, to: Effective) -> Verdict {
    let verdict = decide_move(Rights::RENAME, entry.object, to);
    if verdict.allowed() && entry.mode & S_IFMT == S_IFDIR {
        return entry.directory.decide(Rights::RENAME);
    }
    verdict
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
