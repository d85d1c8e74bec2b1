//! One test of the conformance suite: what it covers, what it needs, who is known to fail it.
//!
//! ```ignore
//! covers(&["hostname"])
//!     .known("that", "2.0 sets it too late")
//!     .run(|| { … });
//! ```
//!
//! `cargo xtask docs` reads these calls from the source: keep the arguments literal.

use std::any::type_name;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::clauses;
use super::environment::{Cgroups, Need};
use super::runtime::Runtime;

/// What a line of a left-out test begins with, on standard output.
pub const SKIPPED: &str = "skipped";

/// A test that is being declared. Nothing happens before [`Case::run`].
#[must_use = "a case does nothing before `run`"]
#[derive(Debug)]
pub struct Case {
    covers: &'static [&'static str],
    known: Vec<Known>,
    needs: Vec<Need>,
}

/// A deviation of a runtime that this suite must not be changed for.
#[derive(Debug)]
struct Known {
    runtime: &'static str,
    only: Option<Cgroups>,
    reason: &'static str,
}

/// Declares a test for these clauses of the specification ([`clauses::TABLES`]).
pub fn covers(clauses: &'static [&'static str]) -> Case {
    Case {
        covers: clauses,
        known: Vec::new(),
        needs: Vec::new(),
    }
}

impl Case {
    /// The runtime of this name fails the test, for this reason. It is an error if it passes.
    pub fn known(self, runtime: &'static str, reason: &'static str) -> Self {
        self.known_if(runtime, None, reason)
    }

    /// As [`Case::known`], on machines with this kind of cgroups only.
    pub fn known_on(self, only: Cgroups, runtime: &'static str, reason: &'static str) -> Self {
        self.known_if(runtime, Some(only), reason)
    }

    fn known_if(
        mut self,
        runtime: &'static str,
        only: Option<Cgroups>,
        reason: &'static str,
    ) -> Self {
        self.known.push(Known {
            runtime,
            only,
            reason,
        });
        self
    }

    /// The test can only be done where this is.
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Does the test.
    ///
    /// # Panics
    ///
    /// If it fails, if a deviation that is known is none, or if a clause is not in the table.
    pub fn run<F: FnOnce()>(self, body: F) {
        for id in self.covers {
            assert!(clauses::find(id).is_some(), "no clause `{id}` in the table");
        }
        let name = test_name(type_name::<F>());
        if let Some(reason) = self.needs.iter().find_map(|need| need.unmet()) {
            tell(&format!("{SKIPPED} {name}: {reason}"));
            return;
        }
        let runtime = Runtime::under_test().expect("the runtime under test");
        let host = Cgroups::of_host();
        let known = self.known.iter().find(|known| {
            known.runtime == runtime.name && known.only.is_none_or(|only| only == host)
        });
        let Some(known) = known else { return body() };
        let failed = catch_unwind(AssertUnwindSafe(body)).is_err();
        assert!(
            failed,
            "{} {} passes, against what is known of it ({}): remove the remark",
            runtime.name, runtime.version, known.reason
        );
        tell(&format!(
            "known {name} fails with {}: {}",
            runtime.name, known.reason
        ));
    }
}

/// `oci::module::test::{{closure}}` without its ends.
fn test_name(closure: &str) -> &str {
    let name = closure.split("::{{closure}}").next().unwrap_or(closure);
    name.split_once("::").map_or(name, |(_, rest)| rest)
}

/// Writes a line past the capture of the test runner.
fn tell(line: &str) {
    // A closed output is the runner's to complain about.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_after_its_function() {
        fn name<F>(_: F) -> String {
            test_name(type_name::<F>()).to_owned()
        }
        let found = name(|| ());
        assert!(
            found.ends_with("tests::a_test_is_named_after_its_function"),
            "{found}"
        );
    }

    #[test]
    #[should_panic(expected = "no clause `nonsense`")]
    fn a_clause_that_is_not_in_the_table_is_refused() {
        covers(&["nonsense"]).run(|| ());
    }
}
