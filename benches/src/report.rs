//! Medians, ratios taken round by round, and tables.

use std::fmt::Write;

/// The median of `values`; the mean of the two middle values if their number is even, 0 if there
/// are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The smallest and the greatest of `values`; zeros if there are none.
#[must_use]
pub fn range(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().min_by(f64::total_cmp);
    let most = values.iter().copied().max_by(f64::total_cmp);
    (least.unwrap_or(0.0), most.unwrap_or(0.0))
}

/// The median of `values[round] / others[round]`.
///
/// The rounds alternate between contenders, so a disturbance of the machine slows both sides of one
/// ratio; the ratio of two medians would not cancel it.
#[must_use]
pub fn median_ratio(values: &[f64], others: &[f64]) -> f64 {
    let ratios: Vec<f64> = values.iter().zip(others).map(|(value, other)| value / other).collect();
    median(&ratios)
}

/// For each round, the greatest value of all `series`; empty if there is none.
#[must_use]
pub fn best_by_round(series: &[&[f64]]) -> Vec<f64> {
    let rounds = series.iter().map(|values| values.len()).min().unwrap_or(0);
    let best = |round: usize| series.iter().map(|values| values[round]).fold(0.0, f64::max);
    (0..rounds).map(best).collect()
}

/// The mean of `values`; `NaN` if there are none.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A table of text: the first column aligned left, the others right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new<H: Into<String>>(headings: impl IntoIterator<Item = H>) -> Self {
        Self { rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines, columns as wide as their widest cell.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a `String` cannot fail.
                let _ = match column {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|---|{}", "---:|".repeat(row.len().saturating_sub(1)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd_counts() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The second round was slow for both: the ratio of the medians would be 1.5.
        assert_eq!(median_ratio(&[20.0, 10.0, 30.0], &[10.0, 5.0, 20.0]), 2.0);
        assert_eq!(best_by_round(&[&[1.0, 5.0], &[2.0, 3.0]]), [2.0, 5.0]);
        assert!(best_by_round(&[]).is_empty());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["a", "bcd"]);
        table.row(vec!["long".into(), "1".into()]);
        assert_eq!(table.render(), "a     bcd\nlong    1\n");
        assert_eq!(table.markdown(), "| a | bcd |\n|---|---:|\n| long | 1 |\n");
    }
}
