//! Every field and clause of the runtime specification 1.3 for Linux, and every command of the
//! command line that runtimes have in common.
//!
//! A test names the rows that it covers with [`super::case::covers`]; a row that can have no test
//! says why. `docs/reference/conformance.md` is made of both.

mod command_line;
mod config;
mod linux;
mod resources;
mod runtime;

/// One field or clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// A field as a path into `config.json`, or a short name.
    pub id: &'static str,
    /// Why it has no test, if it has none.
    pub untested: Option<&'static str>,
}

/// The clauses of one part of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Heading of the part.
    pub title: &'static str,
    /// Where it is specified.
    pub source: &'static str,
    /// Its clauses, in the order of the source.
    pub clauses: &'static [Clause],
}

/// Everything.
pub const TABLES: &[Table] = &[
    runtime::BUNDLE,
    runtime::STATE,
    runtime::OPERATIONS,
    runtime::ENVIRONMENT,
    config::PROCESS,
    config::MOUNTS,
    config::HOOKS,
    linux::NAMESPACES,
    linux::DEVICES,
    resources::RESOURCES,
    linux::SECCOMP,
    linux::OTHER,
    command_line::COMMANDS,
    command_line::BAD_INPUT,
];

/// The clause of this name.
pub fn find(id: &str) -> Option<&'static Clause> {
    let all = TABLES.iter().flat_map(|table| table.clauses);
    all.into_iter().find(|clause| clause.id == id)
}

/// A row that tests cover.
const fn row(id: &'static str) -> Clause {
    Clause { id, untested: None }
}

/// A row without a test, with the reason.
const fn no_test(id: &'static str, reason: &'static str) -> Clause {
    Clause {
        id,
        untested: Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clause_is_there_twice_and_every_reason_says_something() {
        let all = TABLES.iter().flat_map(|table| table.clauses);
        let mut ids: Vec<&str> = all.clone().map(|clause| clause.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for clause in all {
            assert!(clause.untested.is_none_or(|reason| reason.len() > 10));
        }
    }
}
