//! `docs/reference/escape.md` and `docs/reference/errno.md`, from the tables of attempts.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use reeve_tests::escape::{Attempt, CLASSES};
use reeve_tests::outcome::errno_name;

const ATTEMPTS: &str = "\
<!-- Made by `cargo xtask docs` from `tests/src/escape`. -->

# Attempts to get out

What an attacker may try who holds every capability and shares the host's namespaces, and the hook
that refuses it. The suite `tests/escape` makes each attempt in earnest: without a policy, where it
must succeed; and under a policy that grants nothing of the kind, where it must be refused and the
audit log must name the hook. Which errno it gets is in [errno.md](errno.md). *Open* are those that
still succeed; it is an error of the suite when one of them does not.
";

const ERRNOS: &str = "\
<!-- Made by `cargo xtask docs` from `tests/src/escape`. -->

# Errno of a refusal

A refused caller shall see what an ordinary user sees: the errno of each attempt in
[escape.md](escape.md) under a policy, with every capability, is that of the same attempt by a user
without privileges and without a policy. The suite `tests/escape` compares the two.

## Where they differ

| attempt | under a policy | ordinary user | reason |
| --- | --- | --- | --- |
";

const SAME: &str = "
## Where they are the same

| errno | attempts |
| --- | --- |
";

fn all() -> impl Iterator<Item = &'static Attempt> {
    CLASSES.iter().flat_map(|class| class.attempts)
}

/// The page of attempts.
pub(crate) fn attempts() -> Result<String> {
    let mut page = ATTEMPTS.to_owned();
    let open = all().filter(|attempt| attempt.open.is_some()).count();
    let count = all().count();
    write!(page, "\n{count} attempts, {open} of them open.\n").context("format a count")?;
    for class in CLASSES {
        let about = class.about;
        write!(
            page,
            "\n## {}\n\n{about}\n\n| attempt | tries | refused by |\n| --- | --- | --- |\n",
            class.name
        )
        .context("format a heading")?;
        for attempt in class.attempts {
            writeln!(page, "{}", row(attempt)).context("format a row")?;
        }
    }
    Ok(page)
}

/// What it is on older kernels, if that is something else.
fn before(older: Option<((u32, u32), &str)>) -> String {
    older.map_or(String::new(), |((major, minor), what)| {
        format!(", `{what}` before {major}.{minor}")
    })
}

fn row(attempt: &Attempt) -> String {
    let refused = match attempt.open {
        Some(reason) => format!("**open**: {reason}"),
        None => format!("`{}`{}", attempt.hook, before(attempt.older_hook)),
    };
    let since = attempt.since.map_or(String::new(), |((major, minor), _)| {
        format!(", from {major}.{minor} on")
    });
    let (name, tries) = (attempt.name, attempt.tries);
    format!("| `{name}` | {tries}{since} | {refused} |")
}

/// The page of errnos.
pub(crate) fn errnos() -> Result<String> {
    let mut page = ERRNOS.to_owned();
    let closed = || all().filter(|attempt| attempt.open.is_none());
    for attempt in closed() {
        if let Some(ordinary) = attempt.differs {
            let (here, there) = (errno_name(attempt.errno), errno_name(ordinary.errno));
            let older = ordinary.before;
            let older = before(older.map(|(kernel, errno)| (kernel, errno_name(errno))));
            let (name, reason) = (attempt.name, ordinary.reason);
            writeln!(
                page,
                "| `{name}` | `{here}` | `{there}`{older} | {reason} |"
            )
            .context("format a row")?;
        }
    }
    page.push_str(SAME);
    let mut errnos: Vec<i32> = closed().map(|attempt| attempt.errno).collect();
    errnos.sort_unstable();
    errnos.dedup();
    for errno in errnos {
        let same = closed().filter(|row| row.errno == errno && row.differs.is_none());
        let names: Vec<String> = same.map(|row| format!("`{}`", row.name)).collect();
        if !names.is_empty() {
            writeln!(page, "| `{}` | {} |", errno_name(errno), names.join(", "))
                .context("format a row")?;
        }
    }
    Ok(page)
}
