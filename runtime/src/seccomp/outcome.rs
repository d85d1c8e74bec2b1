//! From the rules of a profile to what happens on each number of one architecture.
//!
//! Where several rules are about one system call it goes as with runc over libseccomp:
//! - a rule that says the same as the default action says nothing;
//! - the first rule without conditions wins over all others, wherever they stand;
//! - else the first rule in the profile's order whose conditions hold.
//!
//! System calls that are newer than the profile answer ENOSYS, so that a program falls back to what
//! it did before the call existed, which it would not do on EPERM. Newer is what has a number above
//! the highest one that the profile names. Profiles that let through what they do not name, and
//! those whose default is ENOSYS anyway, need none of this.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::arch::{Architecture, X32_BIT};
use super::compile::{LONGEST, TooLong};
use super::profile::{Action, Condition, Operator, Profile, Rule};
use super::table::{Multiplexed, Table, private};

/// Answer to a system call of an architecture that is not in the profile: as with libseccomp.
pub(super) const BAD_ARCHITECTURE: Action = Action::KillThread;

/// ENOSYS, which is the same number everywhere that a table exists for.
const ENOSYS: Action = Action::Errno(38);

/// What happens on one system call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Whatever its arguments.
    Always(Action),
    /// The first clause that holds; none is the default action.
    First(Vec<Clause>),
}

/// Conditions that must all hold, at least one, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Clause {
    pub(super) conditions: Rc<[Condition]>,
    pub(super) action: Action,
}

#[derive(Default)]
struct Entry {
    always: Option<Action>,
    clauses: Vec<Clause>,
}

impl Entry {
    /// Adds what a rule says. A list of clauses that no program can hold is not made first.
    fn add(&mut self, alternatives: &[Rc<[Condition]>], action: Action) -> Result<(), TooLong> {
        if alternatives.iter().any(|conditions| conditions.is_empty()) {
            self.always.get_or_insert(action);
            return Ok(());
        }
        let instructions = self.clauses.len() + alternatives.len();
        if instructions > LONGEST {
            return Err(TooLong { instructions });
        }
        let conditions = alternatives.iter().cloned();
        let clauses = conditions.map(|conditions| Clause { conditions, action });
        self.clauses.extend(clauses);
        Ok(())
    }

    fn outcome(self, default: Action) -> Outcome {
        match self.always {
            Some(action) => Outcome::Always(action),
            None if self.clauses.is_empty() => Outcome::Always(default),
            None => Outcome::First(self.clauses),
        }
    }
}

/// What happens on each number: from a key up to the next one. The first key is 0. `None` if there
/// are no numbers of this architecture.
pub(super) fn outcomes(
    profile: &Profile,
    arch: Architecture,
) -> Result<Option<BTreeMap<u32, Outcome>>, TooLong> {
    let Some(table) = Table::of(arch) else {
        return Ok(None);
    };
    let mut entries: BTreeMap<u32, Entry> = BTreeMap::new();
    let mut highest = None;
    for rule in &profile.rules {
        let alternatives = effective(rule);
        for name in &rule.names {
            let Some(number) = table.number(name) else {
                tracing::debug!(name, ?arch, "system call unknown, its rule is ignored");
                continue;
            };
            if !private(arch).contains(&number) {
                highest = highest.max(Some(number));
            }
            // With the action of the default, a rule must not outrank the others either.
            if rule.action != profile.default {
                let entry = entries.entry(number).or_default();
                entry.add(&alternatives, rule.action)?;
            }
        }
    }
    multiplexed(profile, &table, &mut entries)?;
    let default = Outcome::Always(profile.default);
    let base = if arch == Architecture::X32 {
        X32_BIT
    } else {
        0
    };
    let mut starts = BTreeMap::from([(base, default.clone())]);
    for (number, entry) in entries {
        starts.insert(number, entry.outcome(profile.default));
        starts.entry(number + 1).or_insert(default.clone());
    }
    if let (true, Some(highest)) = (answers_enosys(profile.default), highest) {
        newer(&mut starts, arch, highest, default);
    }
    Ok(Some(starts))
}

/// Conditions that can fail. A mask without bits compares nothing.
fn effective(rule: &Rule) -> Vec<Rc<[Condition]>> {
    let alternatives = rule.alternatives.iter();
    alternatives
        .map(|conditions| {
            let conditions = conditions.iter().copied();
            conditions
                .filter(|condition| condition.operator != Operator::MaskedEqual(0))
                .collect()
        })
        .collect()
}

/// Rules for calls that can also be made through `socketcall` or `ipc`. Their arguments are in
/// memory there, where a filter cannot look, so conditions are dropped if that makes the filter
/// stricter, and the rule is if it would let more through.
fn multiplexed(
    profile: &Profile,
    table: &Table,
    entries: &mut BTreeMap<u32, Entry>,
) -> Result<(), TooLong> {
    for rule in &profile.rules {
        let alternatives = effective(rule);
        let conditional = alternatives.iter().all(|conditions| !conditions.is_empty());
        if rule.action == profile.default
            || conditional && !rule.action.is_stricter_than(profile.default)
        {
            continue;
        }
        for way in rule.names.iter().filter_map(|name| table.multiplexed(name)) {
            let Multiplexed { number, mask, call } = way;
            let condition = Condition {
                index: 0,
                operator: Operator::MaskedEqual(u64::from(mask)),
                value: u64::from(call),
            };
            let entry = entries.entry(number).or_default();
            entry.add(&[Rc::new([condition])], rule.action)?;
        }
    }
    Ok(())
}

fn answers_enosys(default: Action) -> bool {
    !matches!(default, Action::Allow | Action::Log | Action::Trace(_)) && default != ENOSYS
}

fn newer(starts: &mut BTreeMap<u32, Outcome>, arch: Architecture, highest: u32, default: Outcome) {
    let enosys = Outcome::Always(ENOSYS);
    let private = private(arch);
    if !private.is_empty() {
        starts.entry(private.start).or_insert(default.clone());
        if (highest..u32::MAX).contains(&private.end) {
            starts.insert(private.end, enosys.clone());
        }
    }
    if !private.contains(&(highest + 1)) {
        starts.insert(highest + 1, enosys.clone());
    }
    if matches!(arch, Architecture::S390 | Architecture::S390X) {
        // A call whose number needs more than a byte comes as number 0 if the kernel does not know
        // it.
        starts.insert(0, enosys);
        starts.entry(1).or_insert(default);
    }
}
