//! `docs/reference/hooks.md`, from the table of hooks that the loader attaches.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use ebpf_common::hooks::{HOOKS, HookInfo};

const OPENING: &str = "\
<!-- Made by `cargo xtask docs` from `ebpf/common/src/hooks.rs`. -->

# LSM hooks

Every hook that Reeve attaches, what a container is allowed or refused there, and the section of its
policy that decides. A hook without a section keeps the books: whose process a task is, and which
file systems are the container's own. *Since* is the first supported kernel that has the hook. Each
hook has a test in which it lets an action through and one in which it refuses it.

| hook | since | section | governs | allow test | deny test |
| --- | --- | --- | --- | --- | --- |
";

/// The whole page.
pub(crate) fn page() -> Result<String> {
    let mut page = OPENING.to_owned();
    for hook in HOOKS {
        writeln!(page, "{}", row(hook)).context("format a row")?;
    }
    Ok(page)
}

fn row(hook: &HookInfo) -> String {
    let (major, minor) = hook.since;
    let section = match hook.section {
        Some(section) => format!("`{}`", format!("{section:?}").to_lowercase()),
        None => "–".to_owned(),
    };
    format!(
        "| `{}` | {major}.{minor} | {section} | {} | `{}` | `{}` |",
        hook.name, hook.governs, hook.allow_test, hook.deny_test
    )
}
