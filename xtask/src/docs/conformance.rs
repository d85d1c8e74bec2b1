//! `docs/reference/conformance.md`: each clause of the runtime specification with the tests that
//! declare to cover it.
//!
//! The clauses are a table of the suite; the declarations are read from its source, where they are
//! `covers(&["…"])` and `.known("runtime", "reason")` with nothing but literals.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};
use reeve_tests::oci::clauses::{Clause, TABLES, find};

use crate::paths;

const SUITE: &str = "tests/oci";

const OPENING: &str = "\
<!-- Made by `cargo xtask docs` from `tests/src/oci/clauses` and the tests in `tests/oci`. -->

# Conformance

Every field and clause of the OCI runtime specification 1.3 for Linux, and every command of the
command line that OCI runtimes have in common, with the tests that cover it, or why there is none.
The tests are in `tests/oci`. `cargo xtask test` runs them with `reeve`, and with the `crun` and
`runc` of Debian, so that a wrong test is found: on the machine itself, and in a machine that has
version 2 of control groups alone. `REEVE_TEST_RUNTIME` names any other runtime to run them with.
";

const DEVIATIONS: &str = "
## Known deviations

Where a runtime of Debian (crun 1.8.1, runc 1.1.5) is known to fail a test. It is an error of the
suite if the test passes.

| test | runtime | reason |
| --- | --- | --- |
";

/// What one test declares.
#[derive(Debug, Default, PartialEq, Eq)]
struct Declared {
    /// `module::function`.
    test: String,
    covers: Vec<String>,
    /// Runtime and reason.
    known: Vec<(String, String)>,
}

/// The whole page.
pub(crate) fn page() -> Result<String> {
    let declared = declarations()?;
    let mut tests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in &declared {
        for id in &test.covers {
            if find(id).is_none() {
                bail!(
                    "`{}` covers `{id}`, which is in no table of clauses",
                    test.test
                );
            }
            tests.entry(id).or_default().push(&test.test);
        }
    }
    let mut page = OPENING.to_owned();
    for table in TABLES {
        let (title, source) = (table.title, table.source);
        write!(
            page,
            "\n## {title}\n\n{source}\n\n| clause | tests |\n| --- | --- |\n"
        )
        .context("format a heading")?;
        for clause in table.clauses {
            let covering = tests.get(clause.id).map(Vec::as_slice);
            let row = row(clause, covering.unwrap_or_default())?;
            page.push_str(&row);
        }
    }
    page.push_str(DEVIATIONS);
    for test in &declared {
        for (runtime, reason) in &test.known {
            writeln!(page, "| `{}` | {runtime} | {reason} |", test.test)
                .context("format a deviation")?;
        }
    }
    Ok(page)
}

fn row(clause: &Clause, tests: &[&str]) -> Result<String> {
    let cell = match (clause.untested, tests) {
        (None, []) => bail!(
            "no test covers `{}`, and its row gives no reason",
            clause.id
        ),
        (Some(_), [test, ..]) => bail!("`{test}` covers `{}`, which needs no reason", clause.id),
        (Some(reason), []) => format!("none: {reason}"),
        (None, tests) => {
            let names: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
            names.join(", ")
        }
    };
    // A backtick in the id is a quotation within the clause.
    let id = match clause.id.contains('`') {
        true => clause.id.to_owned(),
        false => format!("`{}`", clause.id),
    };
    Ok(format!("| {id} | {cell} |\n"))
}

/// What all tests declare, in the order of their names.
fn declarations() -> Result<Vec<Declared>> {
    let dir = paths::root().join(SUITE);
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list `{SUITE}`"))? {
        let path = entry.with_context(|| format!("list `{SUITE}`"))?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let module = path.file_stem().unwrap_or_default().to_string_lossy();
        found.extend(of_module(&module, &text)?);
    }
    Ok(found)
}

/// What the tests of a module declare.
fn of_module(module: &str, text: &str) -> Result<Vec<Declared>> {
    let mut found = Vec::new();
    for test in text.split("#[test]\n").skip(1) {
        let name = test
            .split_once("fn ")
            .and_then(|(_, rest)| rest.split_once('('));
        let (name, _) = name.with_context(|| format!("a test without a name in `{module}`"))?;
        let declaration = test
            .split_once("covers(")
            .and_then(|(_, rest)| rest.split_once(".run("));
        let (declaration, _) =
            declaration.with_context(|| format!("`{module}::{name}` declares nothing"))?;
        let mut parts = declaration.split(".known");
        let covers = literals(parts.next().unwrap_or_default());
        let known = parts.filter_map(|part| {
            // `known_on(Cgroups::Version1, …)` has its literals after the condition.
            let mut words = literals(part.split(".needs").next()?).into_iter();
            Some((words.next()?, words.next()?))
        });
        found.push(Declared {
            test: format!("{module}::{name}"),
            covers: without_needs(covers, declaration),
            known: known.collect(),
        });
    }
    Ok(found)
}

/// The literals of `covers`, without those of a `needs` that follows at once.
fn without_needs(covers: Vec<String>, declaration: &str) -> Vec<String> {
    let list = declaration
        .split_once("])")
        .map_or(declaration, |(list, _)| list);
    let count = literals(list).len();
    covers.into_iter().take(count).collect()
}

/// The contents of the string literals in a piece of source without comments.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some((_, after)) = rest.split_once('"') {
        let mut text = String::new();
        let mut characters = after.char_indices();
        let mut end = after.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        found.push(text);
        rest = &after[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read() {
        let text = r#"//! A.
#[test]
fn one() {
    covers(&[
        "a.b",
        "c[]",
    ])
    .known("runc", "1.1 \"x\"")
    .known_on(Cgroups::Version1, "crun", "y")
    .needs(Need::File("/z"))
    .run(|| ());
}

#[test]
fn two() {
    covers(&["d"]).needs(Need::Controller("m")).run(|| ());
}
"#;
        let found = of_module("m", text).expect("declarations");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(found[0].test, "m::one");
        assert_eq!(found[0].covers, ["a.b", "c[]"]);
        assert_eq!(
            found[0].known,
            [pair("runc", "1.1 \"x\""), pair("crun", "y")]
        );
        assert_eq!(found[1].covers, ["d"]);
        assert!(found[1].known.is_empty());
        assert!(of_module("m", "#[test]\nfn three() {\n}\n").is_err());
    }

    #[test]
    fn an_empty_row_is_an_error_and_so_is_a_needless_reason() {
        let clause = |untested| Clause { id: "x", untested };
        assert!(row(&clause(None), &[]).is_err());
        assert!(row(&clause(Some("why")), &["a::b"]).is_err());
        assert_eq!(
            row(&clause(Some("why")), &[]).ok().as_deref(),
            Some("| `x` | none: why |\n")
        );
        assert_eq!(
            row(&clause(None), &["a::b"]).ok().as_deref(),
            Some("| `x` | `a::b` |\n")
        );
    }
}
