//! Columns of text that stand one under the other.

/// Rows as lines: each column is as wide as its widest cell, with two spaces between.
pub(super) fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "bé", "c"], ["long", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(lines(&rows), ["a     bé  c", "long  b"]);
        assert!(lines::<2>(&[]).is_empty());
    }
}
