//! The form of all tables.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

/// Rules above and below the header and at the end, but not between rows, so that more rows fit on
/// a screen.
const RULES_ONLY: TableStyle = {
    let rule = LineStyle::none().fill('─').junction('─');
    TableStyle::new().top_border(rule).header_separator(rule).bottom_border(rule)
};

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(RULES_ONLY);
    table.set_header(header.iter().map(Cell::new));
    table
}

/// Aligns all columns except the first, which hold numbers, to the right.
pub(super) fn align_numbers(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A duration in the unit that fits it.
pub(super) fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", Duration::from_nanos(ns).as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_000), "1.0 µs");
        assert_eq!(duration(2_500_000), "2.5 ms");
        assert_eq!(duration(60_000_000_000), "60.0 s");
    }
}
