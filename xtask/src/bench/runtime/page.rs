//! The tables in the documentation.

use std::fs;

use anyhow::{Context as _, Result};

use super::report::Report;
use crate::paths;

const PAGE: &str = "docs/benchmarks.md";

const BEGIN: &str = "<!-- cargo xtask bench runtime --write: begin -->";
const END: &str = "<!-- cargo xtask bench runtime --write: end -->";

/// Puts the report into the page, in the place of the one before.
pub(crate) fn write(report: &Report) -> Result<()> {
    let path = paths::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read `{PAGE}`"))?;
    let page = replaced(&page, &text(report))
        .with_context(|| format!("`{PAGE}` has no lines `{BEGIN}` and `{END}`"))?;
    fs::write(&path, page).with_context(|| format!("write `{PAGE}`"))?;
    println!("written to {PAGE}");
    Ok(())
}

fn text(report: &Report) -> String {
    let place = report.place().into_iter().map(|line| format!("- {line}\n"));
    let tables = report.tables();
    let tables = tables
        .iter()
        .map(|table| format!("\n{}", table.to_markdown()));
    place.chain(tables).collect()
}

/// The page with another text between its markers.
fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, replaced};

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("# A\n\n{BEGIN}\nold\n{END}\n\nB\n");
        let expected = format!("# A\n\n{BEGIN}\n\nnew\n\n{END}\n\nB\n");
        assert_eq!(replaced(&page, "new\n").as_ref(), Some(&expected));
        assert_eq!(replaced(&expected, "new\n"), Some(expected.clone()));
        assert_eq!(replaced("# A\n", "new"), None);
    }
}
