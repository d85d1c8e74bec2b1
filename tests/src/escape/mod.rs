//! Attempts to get out of a policy, as tables: what each tries, how, and what must refuse it.
//!
//! The suite in `tests/escape` makes each attempt three times in equally privileged containers:
//! without a policy, where it must succeed; there as an ordinary user; and under a policy that
//! grants nothing of the kind, where it must be refused with the errno that the ordinary user got.
//! `docs/reference/escape.md` and `docs/reference/errno.md` are made from these tables.
//!
//! Reading order: [`Attempt`], then one module for each class.

mod exhausting;
mod kernel;
mod network;
mod object;
mod plain;
mod racing;
mod subject;
mod tampering;
mod writing;

use crate::hooks::governing;

/// A set of attempts that try the same kind of thing.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Short name.
    pub name: &'static str,
    /// What its attempts have in common, in words.
    pub about: &'static str,
    /// The attempts.
    pub attempts: &'static [Attempt],
}

/// Every class.
pub const CLASSES: &[Class] = &[
    plain::CLASS,
    subject::CLASS,
    object::CLASS,
    writing::CLASS,
    network::CLASS,
    kernel::CLASS,
    tampering::CLASS,
    exhausting::CLASS,
    racing::CLASS,
];

/// One way that somebody may try to get out.
///
/// The actions are those of the probe, done in turn. Words in braces stand for objects that are
/// made for each time that it is tried:
///
/// - `{plot}`: a directory of the host that no line names, with `file`, `second`, `open` (for
///   everyone), `program`, `swap`, `directory`, `private`, `symlink`; `{bare}`: its host name
/// - `{ro}`, `{rw}`: such directories, with the right to read and with all rights
/// - `{own}`: a directory of the container's
/// - `{pid}`: a process of the host, in `{plot}`, whose descriptor 2 is `{plot}/file`; `{address}`:
///   where its memory begins; `{gone}`: the number of one that has ended
/// - `{runtime}`: the `reeve` that runs the container; `{other}`: a process of another container
/// - `{cgroup}`: a cgroup outside of the container's
/// - `{state}`: Reeve's directory; `{pins}`: that of its pins; `{pin}`: one of them
/// - `{disk}`, `{disknumber}`: the host's disk; `{module}`: the file of a module
/// - `{hand}`: the socket of a process that hands out `{plot}/second`, open for writing
/// - `{port}`, `{name}` with `{namelength}`: services of the host, by port and by abstract name
/// - `{shm}`, `{sem}`, `{msg}`, `{key}`: objects of the host's, by number; `{queue}`: one by name
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Its name, unique.
    pub name: &'static str,
    /// What it tries, in words.
    pub tries: &'static str,
    /// Actions that all the steps are done in.
    pub within: &'static str,
    /// Its steps.
    pub steps: &'static [&'static str],
    /// What must be done on the machine once it has succeeded.
    pub after: &'static [&'static str],
    /// The hook that refuses it, by its name on the newest kernel.
    pub hook: &'static str,
    /// The hook that comes first on kernels before this one, where it is another.
    pub older_hook: Option<((u32, u32), &'static str)>,
    /// The errno of the refusal.
    pub errno: i32,
    /// What an ordinary user gets instead, and why that differs.
    pub differs: Option<Differs>,
    /// Why it is not refused yet.
    pub open: Option<&'static str>,
    /// The first kernel on which it can be tried, and why not before.
    pub since: Option<((u32, u32), &'static str)>,
}

/// The errno of an ordinary user, where it is another one.
#[derive(Clone, Copy, Debug)]
pub struct Differs {
    /// 0 where an ordinary user succeeds.
    pub errno: i32,
    /// Why.
    pub reason: &'static str,
    /// What it is on kernels before this one.
    pub before: Option<((u32, u32), i32)>,
}

/// An attempt that is refused by `hook` with `errno`.
const fn attempt(
    name: &'static str,
    tries: &'static str,
    steps: &'static [&'static str],
    hook: &'static str,
    errno: i32,
) -> Attempt {
    Attempt {
        name,
        tries,
        within: "",
        steps,
        after: &[],
        hook,
        older_hook: None,
        errno,
        differs: None,
        open: None,
        since: None,
    }
}

impl Attempt {
    const fn within(mut self, actions: &'static str) -> Self {
        self.within = actions;
        self
    }

    const fn after(mut self, actions: &'static [&'static str]) -> Self {
        self.after = actions;
        self
    }

    const fn differs(mut self, errno: i32, reason: &'static str) -> Self {
        self.differs = Some(Differs {
            errno,
            reason,
            before: None,
        });
        self
    }

    const fn older_hook(mut self, kernel: (u32, u32), hook: &'static str) -> Self {
        self.older_hook = Some((kernel, hook));
        self
    }

    const fn before(mut self, kernel: (u32, u32), errno: i32) -> Self {
        if let Some(differs) = &mut self.differs {
            differs.before = Some((kernel, errno));
        }
        self
    }

    const fn open(mut self, reason: &'static str) -> Self {
        self.open = Some(reason);
        self
    }

    const fn since(mut self, kernel: (u32, u32), reason: &'static str) -> Self {
        self.since = Some((kernel, reason));
        self
    }

    /// Why it cannot be tried on this kernel.
    pub fn not_on(&self, kernel: (u32, u32)) -> Option<&'static str> {
        let early = self.since.filter(|(since, _)| kernel < *since);
        early.map(|(_, reason)| reason)
    }

    /// The hook that refuses it on this kernel.
    pub fn hook(&self, kernel: (u32, u32)) -> &'static str {
        let older = self.older_hook.filter(|(since, _)| kernel < *since);
        older.map_or_else(|| governing(self.hook), |(_, hook)| hook)
    }

    /// The errno of an ordinary user on this kernel.
    pub fn ordinary(&self, kernel: (u32, u32)) -> i32 {
        let Some(differs) = self.differs else {
            return self.errno;
        };
        let before = differs.before.filter(|(since, _)| kernel < *since);
        before.map_or(differs.errno, |(_, errno)| errno)
    }

    /// The action of the probe that does all of its steps.
    pub fn action(&self) -> String {
        let steps = self.steps.join(" -- ");
        format!("{} steps {steps}", self.within).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::CLASSES;

    #[test]
    fn every_name_is_there_once() {
        let attempts = || CLASSES.iter().flat_map(|class| class.attempts);
        let names: BTreeSet<&str> = attempts().map(|attempt| attempt.name).collect();
        assert_eq!(names.len(), attempts().count());
        assert!(names.len() >= 150, "{}", names.len());
    }

    #[test]
    fn every_attempt_says_what_it_does() {
        for attempt in CLASSES.iter().flat_map(|class| class.attempts) {
            assert!(!attempt.steps.is_empty(), "{}", attempt.name);
            assert!(!attempt.tries.is_empty(), "{}", attempt.name);
            assert!(attempt.errno > 0, "{}", attempt.name);
            assert!(!attempt.tries.contains('|'), "{}", attempt.name);
        }
    }
}
