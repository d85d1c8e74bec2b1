//! Tables, for terminals and for pages.

/// A table whose first column is of words and whose others are of numbers.
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Table {
            title: title.into(),
            header: header.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row, which is filled up with empty cells.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// Adds a line below the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// For a terminal.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let line = self.padded(row).join("  ");
            text.push_str(&format!("  {}\n", line.trim_end()));
        }
        for note in &self.notes {
            text.push_str(&format!("  {note}\n"));
        }
        text
    }

    /// For a page.
    pub(crate) fn to_markdown(&self) -> String {
        let dashes = |(column, width): (usize, usize)| match column {
            0 => "-".repeat(width),
            _ => format!("{}:", "-".repeat(width.max(2) - 1)),
        };
        let rule: Vec<String> = self.widths().into_iter().enumerate().map(dashes).collect();
        let mut text = format!("### {}\n\n", capitalised(&self.title));
        let header = self.padded(&self.header);
        let rows = self.rows.iter().map(|row| self.padded(row));
        for row in [header, rule].into_iter().chain(rows) {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        for note in &self.notes {
            text.push_str(&format!("\n{}\n", capitalised(note)));
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let rows = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max();
        (0..self.header.len())
            .map(|column| width(column).unwrap_or(0))
            .collect()
    }

    fn padded(&self, row: &[String]) -> Vec<String> {
        let cells = row.iter().zip(self.widths()).enumerate();
        cells
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect()
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A name of a program in code stays as it is.
        Some(first) if first != '`' => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new("times", &["", "ms"]);
        table.row(["reeve".to_owned(), "9.5".to_owned()]);
        table.row(["crun".to_owned(), "20.25".to_owned()]);
        table.row(["none".to_owned()]);
        table.note("noise is large");
        table
    }

    #[test]
    fn numbers_align_at_the_right_on_a_terminal() {
        let expected = "times\n            ms\n  reeve    9.5\n  crun   20.25\n  none\n  \
                        noise is large\n";
        assert_eq!(table().to_text(), expected);
    }

    #[test]
    fn a_page_has_a_heading_a_rule_and_the_same_cells() {
        let expected = "### Times\n\n|       |    ms |\n| ----- | ----: |\n| reeve |   9.5 |\n\
                        | crun  | 20.25 |\n| none  |       |\n\nNoise is large\n";
        assert_eq!(table().to_markdown(), expected);
    }
}
