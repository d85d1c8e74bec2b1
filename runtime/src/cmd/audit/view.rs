//! `reeve audit --follow` on a terminal: one screen, on which repeated entries are one.

use std::fmt::Write as _;

use rustix::termios::tcgetwinsize;

use crate::audit::{Counted, Record, printable};

/// Groups that are remembered: those that were last added to.
const GROUPS_MAX: usize = 256;

/// To the upper left corner, and everything below away.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Entries that differ in nothing but when they came and from which process.
struct Group {
    /// The last of them.
    last: Record,
    count: u64,
}

impl Group {
    fn holds(&self, record: &Record) -> bool {
        let key = |one: &Record| (one.section.clone(), one.errno.clone(), one.rule.clone());
        self.last.object == record.object
            && self.last.container == record.container
            && self.last.action == record.action
            && self.last.verdict == record.verdict
            && key(&self.last) == key(record)
    }
}

/// The screen.
#[derive(Default)]
pub(super) struct View {
    /// The one that was last added to is the last one.
    groups: Vec<Group>,
    entries: u64,
    missing: u64,
    unread: usize,
    changed: bool,
    drawn: bool,
}

impl View {
    /// Adds an entry to its group.
    pub(super) fn add(&mut self, record: &Record) {
        self.changed = true;
        self.entries += 1;
        let known = self.groups.iter().position(|group| group.holds(record));
        let count = known.map_or(0, |at| self.groups.remove(at).count);
        if self.groups.len() == GROUPS_MAX {
            self.groups.remove(0);
        }
        self.groups.push(Group {
            last: record.clone(),
            count: count + 1,
        });
    }

    /// Says what is not in the log.
    pub(super) fn set_missing(&mut self, counted: impl Iterator<Item = Counted>) {
        let missing = counted.map(|one| one.suppressed + one.lost).sum();
        self.changed |= missing != self.missing;
        self.missing = missing;
    }

    /// Says how many lines of the log cannot be read.
    pub(super) fn set_unread(&mut self, unread: usize) {
        self.changed |= unread != self.unread;
        self.unread = unread;
    }

    /// What to write to the terminal; nothing if it would be the same as before.
    pub(super) fn draw_if_changed(&mut self) -> String {
        if self.drawn && !self.changed {
            return String::new();
        }
        self.changed = false;
        self.drawn = true;
        let size = tcgetwinsize(std::io::stdout()).ok();
        let size = size.filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        format!("{CLEAR}{}", self.draw(rows.into(), columns.into()))
    }

    /// The screen's lines, the newest groups first, as many as there is room for.
    pub(super) fn draw(&self, rows: usize, columns: usize) -> String {
        let mut head = format!("{} entries", self.entries);
        // Writing to a string cannot fail.
        if self.missing > 0 {
            let _ = write!(head, "; {} more were not recorded", self.missing);
        }
        if self.unread > 0 {
            let _ = write!(head, "; {} cannot be read", self.unread);
        }
        let mut lines = vec![head];
        for group in self.groups.iter().rev() {
            let more = of_group(group);
            // The last line is the cursor's.
            if lines.len() + more.len() + 1 > rows {
                break;
            }
            lines.extend(more);
        }
        let cut = lines
            .iter()
            .map(|line| line.chars().take(columns).collect());
        let mut text = cut.collect::<Vec<String>>().join("\n");
        text.push('\n');
        text
    }
}

fn of_group(group: &Group) -> Vec<String> {
    let last = &group.last;
    let mut line = format!("{} {:>6}×  ", last.time(), group.count);
    // Writing to a string cannot fail.
    let _ = write!(
        line,
        "{}  {}  {} {} ({})  {}",
        last.container, last.verdict, last.action, last.object, last.errno, last.comm
    );
    let line = printable(&line);
    let mut lines = vec![line, format!("                  {}", last.why())];
    if let Some(allow) = &last.allow {
        lines.push(format!("                  to allow: {}", printable(allow)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sample;

    #[test]
    fn repeats_are_one_and_the_newest_comes_first() {
        let mut view = View::default();
        for object in ["/a", "/b", "/a", "/a"] {
            view.add(&sample("web", object));
        }
        view.add(&sample("db", "/b"));
        let text = view.draw(24, 200);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "5 entries");
        view.set_unread(2);
        assert!(
            view.draw(24, 200)
                .starts_with("5 entries; 2 cannot be read\n")
        );
        assert!(lines[1].contains("1×") && lines[1].contains("db"), "{text}");
        assert!(lines[4].contains("3×") && lines[4].contains("/a"), "{text}");
        assert_eq!(lines.len(), 1 + 3 * 3);
        assert_eq!(view.draw(6, 10).lines().count(), 1 + 3);
        assert!(
            view.draw(6, 10)
                .lines()
                .all(|line| line.chars().count() <= 10)
        );
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_drawn_twice() {
        let mut view = View::default();
        for number in 0..2 * GROUPS_MAX {
            view.add(&sample("web", &number.to_string()));
        }
        assert_eq!(view.groups.len(), GROUPS_MAX);
        assert!(view.draw_if_changed().starts_with(CLEAR));
        assert_eq!(view.draw_if_changed(), "");
    }
}
