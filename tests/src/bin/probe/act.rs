//! The table of actions.

use std::ffi::CString;
use std::io;

use reeve_tests::outcome::Outcome;

use crate::detours::{calls, handing, places, uring};
use crate::{
    attributes, bpf, capabilities, compat, descriptors, entry, files, ipc, kernel, limits, mapping,
    mounts, names, owner, processes, see, sockets, storm, wrap,
};

/// Why an action did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A system call failed.
    Call(&'static str, i32),
    /// The action was given wrong arguments.
    Usage,
    /// What it ran elsewhere came to this.
    Elsewhere(Outcome),
}

impl Failure {
    /// The last failed system call of this thread, under this name.
    pub(crate) fn last(name: &'static str) -> Self {
        Self::from_io(name, &io::Error::last_os_error())
    }

    /// A failed call of the standard library.
    pub(crate) fn from_io(name: &'static str, error: &io::Error) -> Self {
        Self::Call(name, error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// What an action returns: something to tell, or nothing.
pub(crate) type Done = Result<String, Failure>;

/// Nothing to tell.
pub(crate) fn done() -> Done {
    Ok(String::new())
}

/// An action: name, arguments as its usage shows them, and what runs it with the words after its
/// name.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) run: fn(&[&str]) -> Done,
}

/// A row of a table of actions.
pub(crate) const fn action(
    name: &'static str,
    arguments: &'static str,
    run: fn(&[&str]) -> Done,
) -> Action {
    Action {
        name,
        arguments,
        run,
    }
}

const TABLES: &[&[Action]] = &[
    files::ACTIONS,
    names::ACTIONS,
    attributes::ACTIONS,
    mapping::ACTIONS,
    mounts::ACTIONS,
    processes::ACTIONS,
    owner::ACTIONS,
    limits::ACTIONS,
    compat::ACTIONS,
    capabilities::ACTIONS,
    kernel::ACTIONS,
    ipc::ACTIONS,
    bpf::ACTIONS,
    uring::ACTIONS,
    sockets::ACTIONS,
    descriptors::ACTIONS,
    entry::ACTIONS,
    see::ACTIONS,
    storm::ACTIONS,
    wrap::ACTIONS,
    calls::ACTIONS,
    places::ACTIONS,
    handing::ACTIONS,
];

/// Runs `words`, the first of which names the action.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let Some((name, arguments)) = words.split_first() else {
        return Outcome::Misused("an action is missing".to_owned());
    };
    let Some(action) = TABLES
        .iter()
        .copied()
        .flatten()
        .find(|action| action.name == *name)
    else {
        return Outcome::Misused(format!("no action `{name}`"));
    };
    match (action.run)(arguments) {
        Ok(detail) => Outcome::Done(detail),
        Err(Failure::Call(call, errno)) => Outcome::failed(call, errno),
        Err(Failure::Usage) => Outcome::Misused(format!("{name} {}", action.arguments)),
        Err(Failure::Elsewhere(outcome)) => outcome,
    }
}

/// Every action with its arguments.
pub(crate) fn usage() -> String {
    let mut text = "usage: probe ACTION ARGS… | probe script [-- ACTION ARGS…]…\n".to_owned();
    for action in TABLES.iter().copied().flatten() {
        text.push_str(&format!("  {} {}\n", action.name, action.arguments));
    }
    text
}

/// A path as the kernel takes it.
pub(crate) fn path(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::Usage)
}

/// A number, decimal, or octal with a leading zero, or hexadecimal with `0x`.
pub(crate) fn number(text: &str) -> Result<i64, Failure> {
    let parsed = if let Some(digits) = text.strip_prefix("0x") {
        i64::from_str_radix(digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        i64::from_str_radix(&text[1..], 8)
    } else {
        text.parse()
    };
    parsed.map_err(|_| Failure::Usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_action_is_there_twice() {
        let mut names: Vec<_> = TABLES
            .iter()
            .copied()
            .flatten()
            .map(|action| action.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(number("0644").ok(), Some(0o644));
        assert_eq!(number("0x1f").ok(), Some(31));
        assert_eq!(number("-1").ok(), Some(-1));
        assert!(number("many").is_err());
    }

    #[test]
    fn a_failed_open_tells_the_errno() {
        let outcome = run(&["open", "r", "/no/such/file"]);
        assert_eq!(outcome, Outcome::failed("openat", libc::ENOENT));
        assert!(matches!(run(&["open"]), Outcome::Misused(_)));
    }
}
