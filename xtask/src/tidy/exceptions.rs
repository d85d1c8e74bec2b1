//! The list of what may be larger than the rules allow.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::Finding;
use crate::paths;

const FILE: &str = "xtask/tidy-exceptions.txt";

/// Lines of `RULE PATH SIZE` or `RULE PATH::FUNCTION SIZE`.
///
/// The size is exact: what grew is a finding, and what shrank must be lowered or removed here, so
/// that it stays small.
pub(crate) struct Exceptions {
    left: BTreeMap<(String, String), Exception>,
}

struct Exception {
    size: usize,
    complaint: Option<String>,
}

impl Exceptions {
    /// Reads the list.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(paths::root().join(FILE));
        Exceptions::parse(&text.with_context(|| format!("read `{FILE}`"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut left = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                [rule, what, size] => {
                    let size = size.parse();
                    let size = size.with_context(|| format!("{FILE}:{}: size", index + 1))?;
                    let complaint = Some(format!("{FILE}:{}: remove: not needed", index + 1));
                    let key = (rule.to_owned(), what.to_owned());
                    left.insert(key, Exception { size, complaint });
                }
                _ => bail!("{FILE}:{}: want `RULE PATH[::FUNCTION] SIZE`", index + 1),
            }
        }
        Ok(Exceptions { left })
    }

    /// True if `finding` in `path` is in the list, and no larger than it says.
    pub(crate) fn covers(&mut self, path: &str, finding: &Finding) -> bool {
        let Some((part, size)) = &finding.size else {
            return false;
        };
        let what = if part.is_empty() {
            path.to_owned()
        } else {
            format!("{path}::{part}")
        };
        let rule = finding.rule;
        let Some(exception) = self.left.get_mut(&(rule.to_owned(), what.clone())) else {
            return false;
        };
        exception.complaint = (*size < exception.size)
            .then(|| format!("{FILE}: lower `{rule} {what} {}` to {size}", exception.size));
        *size <= exception.size
    }

    /// What is wrong with the list, once every file was looked at.
    pub(crate) fn complaints(self) -> impl Iterator<Item = String> {
        self.left
            .into_values()
            .filter_map(|exception| exception.complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::Exceptions;
    use crate::tidy::Finding;

    fn function(lines: usize) -> Finding {
        let size = Some(("f".to_owned(), lines));
        Finding {
            rule: "function-lines",
            line: 1,
            message: String::new(),
            size,
        }
    }

    fn exceptions() -> Exceptions {
        Exceptions::parse("# why\n\nfunction-lines a.rs::f 90\n").expect("the list is well-formed")
    }

    #[test]
    fn an_exact_exception_covers_silently() {
        let mut list = exceptions();
        assert!(list.covers("a.rs", &function(90)));
        assert_eq!(list.complaints().count(), 0);
    }

    #[test]
    fn the_list_only_shrinks() {
        let mut list = exceptions();
        assert!(
            !list.covers("a.rs", &function(91)),
            "a function grew beyond its exception"
        );
        let mut list = exceptions();
        assert!(list.covers("a.rs", &function(80)));
        let complaints: Vec<String> = list.complaints().collect();
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].ends_with("to 80"), "{}", complaints[0]);
        assert_eq!(
            exceptions().complaints().count(),
            1,
            "an unused exception passed"
        );
    }

    #[test]
    fn other_files_are_not_covered() {
        assert!(!exceptions().covers("b.rs", &function(80)));
    }
}
