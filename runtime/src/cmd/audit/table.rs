//! Entries below each other, with the columns aligned.

use std::fmt::Write as _;

use crate::audit::{Record, printable};
use crate::cmd::table::aligned;

const HEAD: [&str; 8] = [
    "TIME",
    "CONTAINER",
    "PID",
    "COMMAND",
    "VERDICT",
    "ERRNO",
    "ACTION",
    "OBJECT",
];

/// A table that is printed in parts. Each is aligned by itself, so that not all of a long log is
/// held in memory.
#[derive(Default)]
pub(super) struct Table {
    begun: bool,
}

impl Table {
    /// The next rows, below the head if they are the first. Why, and what would allow it, is below
    /// each row.
    pub(super) fn rows(&mut self, records: &[Record]) -> String {
        if records.is_empty() {
            return String::new();
        }
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(records.iter().map(row));
        let table = aligned(&rows);
        let mut lines = table.lines();
        let mut text = String::new();
        let head = lines.next().filter(|_| !self.begun);
        self.begun = true;
        if let Some(head) = head {
            text.push_str(head);
            text.push('\n');
        }
        for (line, record) in lines.zip(records) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}\n  {}", record.why());
            if let Some(allow) = &record.allow {
                let _ = writeln!(text, "  to allow: {}", printable(allow));
            }
        }
        text
    }
}

fn row(record: &Record) -> [String; 8] {
    [
        record.time(),
        printable(&record.container),
        record.pid.to_string(),
        printable(&record.comm),
        printable(&record.verdict),
        printable(&record.errno),
        printable(&record.action),
        printable(&record.object),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::view::View;
    use super::*;
    use crate::audit::{RuleText, sample};

    #[test]
    fn one_head_and_nothing_that_a_terminal_would_obey() {
        let mut table = Table::default();
        assert_eq!(table.rows(&[]), "");
        let first = table.rows(&[sample("web", "/etc/shadow\u{1b}[2J")]);
        assert_eq!(
            first,
            "TIME        CONTAINER   PID         COMMAND     VERDICT     ERRNO       ACTION      \
             OBJECT\n\
             00:00:01    web         7           sh          refused     EACCES      write       \
             /etc/shadow\u{fffd}[2J\n\
             \x20 no grant names it\n\
             \x20 to allow: files: []\n"
        );
        assert!(!table.rows(&[sample("web", "/x")]).contains("TIME"));
        let mut record = sample("w\u{1b}", "/x\u{202e}");
        record.rule = Some(RuleText {
            line: 1,
            text: "a\u{1b}[2J".to_owned(),
        });
        (record.verdict, record.errno) = ("\u{1b}".to_owned(), "\u{1b}".to_owned());
        (record.action, record.comm) = ("\u{1b}".to_owned(), "\u{9b}".to_owned());
        record.allow = Some("\u{1b}".to_owned());
        let mut view = View::default();
        view.add(&record);
        let shown = record.to_string() + &table.rows(std::slice::from_ref(&record));
        for text in [shown, view.draw(24, 200)] {
            assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
        }
    }
}
