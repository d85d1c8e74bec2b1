//! The tables in the documentation.

use std::fs;

use anyhow::{Context as _, Result};

use super::table::Table;
use crate::paths;

const PAGE: &str = "docs/benchmarks.md";

/// Puts the results of a benchmark into the page, in the place of those before: where it was
/// measured, a line each, and tables.
pub(crate) fn write(bench: &str, place: &[String], tables: &[Table]) -> Result<()> {
    let path = paths::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read `{PAGE}`"))?;
    let page = replaced(&page, bench, &text(place, tables))
        .with_context(|| format!("`{PAGE}` has no place for `{bench}`"))?;
    fs::write(&path, page).with_context(|| format!("write `{PAGE}`"))?;
    println!("written to {PAGE}");
    Ok(())
}

fn text(place: &[String], tables: &[Table]) -> String {
    let place = place.iter().map(|line| format!("- {line}\n"));
    let tables = tables
        .iter()
        .map(|table| format!("\n{}", table.to_markdown()));
    place.chain(tables).collect()
}

/// The page with another text between the markers of a benchmark.
fn replaced(page: &str, bench: &str, text: &str) -> Option<String> {
    let marker = |word: &str| format!("<!-- cargo xtask bench {bench} --write: {word} -->");
    let (begin, end) = (marker("begin"), marker("end"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = |text: &str| {
            format!(
                "# A\n\n<!-- cargo xtask bench a --write: begin -->\n{text}\n\
                 <!-- cargo xtask bench a --write: end -->\n\nB\n"
            )
        };
        let expected = page("\nnew\n");
        assert_eq!(
            replaced(&page("old"), "a", "new\n").as_ref(),
            Some(&expected)
        );
        assert_eq!(replaced(&expected, "a", "new\n"), Some(expected.clone()));
        assert_eq!(replaced(&expected, "b", "new"), None);
    }
}
