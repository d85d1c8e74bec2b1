//! The table, with or without the ornaments of a terminal.

use reeve_tests::Outcome;
use reeve_tests::outcome::errno_name;

use crate::attempts::Tried;

/// How things are shown.
pub(crate) struct Style {
    ornate: bool,
    colour: bool,
}

impl Style {
    /// Colours and lines for a terminal, plain text for anything else.
    pub(crate) fn of(terminal: bool) -> Self {
        Self {
            ornate: terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A line above a part.
    pub(crate) fn heading(&self, text: &str) -> String {
        if self.colour {
            self.paint("1", text)
        } else {
            format!("== {text}")
        }
    }

    /// The last line.
    pub(crate) fn verdict(&self, good: bool, text: &str) -> String {
        self.paint(if good { "1;32" } else { "1;31" }, text)
    }
}

/// A row: an attempt in each column.
pub(crate) struct Row {
    title: &'static str,
    cells: [Vec<Outcome>; 3],
}

/// Puts the columns side by side.
pub(crate) fn side_by_side(free: &[Tried], user: &[Tried], held: &[Tried]) -> Vec<Row> {
    let columns = free.iter().zip(user).zip(held);
    columns
        .map(|((free, user), held)| Row {
            title: free.title,
            cells: [
                free.outcomes.clone(),
                user.outcomes.clone(),
                held.outcomes.clone(),
            ],
        })
        .collect()
}

impl Row {
    fn succeeded_free(&self) -> bool {
        self.cells[0].iter().all(Outcome::is_done)
    }

    /// Refused under the policy, every action with the errno that the unprivileged user got.
    fn refused_alike(&self) -> bool {
        let [_, user, held] = &self.cells;
        let errnos = |cell: &[Outcome]| cell.iter().map(Outcome::errno).collect::<Vec<_>>();
        held.iter()
            .all(|outcome| outcome.errno().is_some_and(|errno| errno != 0))
            && errnos(user) == errnos(held)
    }

    /// The row shows what it should.
    pub(crate) fn holds(&self) -> bool {
        self.succeeded_free() && self.refused_alike()
    }
}

/// A cell in words; what its actions agree in is said once.
fn words(outcomes: &[Outcome]) -> String {
    let mut shown: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Done(_) => "done".to_owned(),
            Outcome::Failed { errno, .. } => errno_name(*errno).to_owned(),
            Outcome::Killed(signal) => format!("signal {signal}"),
            Outcome::Misused(_) => "misused".to_owned(),
        })
        .collect();
    shown.dedup();
    shown.join(", ")
}

const HEADS: [&str; 4] = ["attempt", "no policy", "unprivileged user", "under policy"];

/// The whole table.
pub(crate) fn render(rows: &[Row], style: &Style) -> String {
    let lines: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let [free, user, held] = &row.cells;
            [row.title.to_owned(), words(free), words(user), words(held)]
        })
        .collect();
    let mut widths = HEADS.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let rule = |left: &str, middle: &str, right: &str| {
        let bars = widths.map(|width| "─".repeat(width + 2));
        format!("{left}{}{right}\n", bars.join(middle))
    };
    let mut text = String::new();
    if style.ornate {
        text.push_str(&rule("┌", "┬", "┐"));
    }
    text.push_str(&line(
        &HEADS.map(str::to_owned),
        widths,
        style,
        |_, cell| cell,
    ));
    text.push_str(&if style.ornate {
        rule("├", "┼", "┤")
    } else {
        plain_rule(widths)
    });
    for (cells, row) in lines.iter().zip(rows) {
        text.push_str(&line(cells, widths, style, |column, cell| match column {
            0 => cell,
            1 if row.succeeded_free() => style.paint("33", &cell),
            2 => cell,
            3 if row.refused_alike() => style.paint("32", &cell),
            _ => style.paint("1;31", &cell),
        }));
    }
    if style.ornate {
        text.push_str(&rule("└", "┴", "┘"));
    }
    text
}

fn plain_rule(widths: [usize; 4]) -> String {
    format!("{}\n", widths.map(|width| "-".repeat(width)).join("  "))
}

/// A line of padded cells; `paint` gets each cell after padding, so that colours do not count as
/// width.
fn line(
    cells: &[String; 4],
    widths: [usize; 4],
    style: &Style,
    paint: impl Fn(usize, String) -> String,
) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, width))| paint(column, format!("{cell:width$}")))
        .collect();
    if style.ornate {
        format!("│ {} │\n", padded.join(" │ "))
    } else {
        format!("{}\n", padded.join("  ").trim_end())
    }
}

/// The outcome in a sentence.
pub(crate) fn verdict(rows: &[Row], backup: bool) -> String {
    let free = rows.iter().filter(|row| row.succeeded_free()).count();
    let held = rows.iter().filter(|row| row.refused_alike()).count();
    let backup = if backup {
        "the backup is good"
    } else {
        "the backup FAILED"
    };
    format!(
        "{backup}; without a policy {free} of {} attempts succeed, under the policy {held} of {} \
         are refused as for an unprivileged user",
        rows.len(),
        rows.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(free: Outcome, user: i32, held: i32) -> Row {
        let refused = |errno| vec![Outcome::failed("mount", errno)];
        Row {
            title: "mount a tmpfs",
            cells: [vec![free], refused(user), refused(held)],
        }
    }

    fn done() -> Outcome {
        Outcome::Done(String::new())
    }

    #[test]
    fn a_row_holds_only_if_every_column_is_right() {
        assert!(row(done(), libc::EPERM, libc::EPERM).holds());
        assert!(!row(done(), libc::EPERM, libc::EACCES).holds());
        assert!(
            !row(
                Outcome::failed("mount", libc::EPERM),
                libc::EPERM,
                libc::EPERM
            )
            .holds()
        );
        let mut through = row(done(), libc::EPERM, libc::EPERM);
        through.cells[2] = vec![done()];
        assert!(!through.holds());
    }

    #[test]
    fn the_plain_table_is_aligned() {
        let style = Style {
            ornate: false,
            colour: false,
        };
        let text = render(&[row(done(), libc::EPERM, libc::EPERM)], &style);
        let expected = "attempt        no policy  unprivileged user  under policy\n\
                        -------------  ---------  -----------------  ------------\n\
                        mount a tmpfs  done       EPERM              EPERM\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_terminal_gets_lines() {
        let style = Style {
            ornate: true,
            colour: false,
        };
        let text = render(&[row(done(), libc::EPERM, libc::EPERM)], &style);
        let widths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
    }
}
