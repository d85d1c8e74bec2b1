//! Tables in the form that other runtimes print.

/// Columns are at least this wide, padding included.
const MIN_WIDTH: usize = 12;

/// Blanks between a column's widest cell and the next column.
const PADDING: usize = 3;

/// Rows below each other, with the columns aligned. Nothing follows the last column.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        (cells.max().unwrap_or_default() + PADDING).max(MIN_WIDTH)
    });
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_never_touch() {
        let rows = [
            ["ID", "PID", "X"],
            ["a-long-identifier", "1", "y"],
            ["b", "22", ""],
        ];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            aligned(&rows),
            "ID                  PID         X\n\
             a-long-identifier   1           y\n\
             b                   22"
        );
    }
}
