//! Whether the first line of a CSV file names the columns, and which column is which.

use crate::trace::csv::options::{Column, CsvOptions};
use crate::trace::csv::records::Record;
use crate::trace::error::Problem;

/// Columns as indices into a record.
pub(super) struct Indices {
    pub(super) key: usize,
    pub(super) size: Option<usize>,
    pub(super) ttl: Option<usize>,
    pub(super) time: Option<usize>,
}

impl Indices {
    pub(super) fn find(options: &CsvOptions, first: &Record<'_>) -> Result<Self, Problem> {
        let given = first.columns();
        let find = |column: &Column| match column {
            Column::Number(number) if *number <= given => Ok(number - 1),
            Column::Number(number) => Err(Problem::TooFewColumns { number: *number, given }),
            Column::Name(name) => {
                let found = (0..given).find(|&index| first.field(index) == name.as_bytes());
                found.ok_or_else(|| Problem::UnknownColumn {
                    name: name.clone(),
                    has: first.names(),
                })
            }
        };
        Ok(Indices {
            key: find(&options.key)?,
            size: options.size.as_ref().map(find).transpose()?,
            ttl: options.ttl.as_ref().map(find).transpose()?,
            time: options.time.as_ref().map(find).transpose()?,
        })
    }
}

/// Usual names of columns in traces and logs; a line that has only such names is a header.
const COLUMN_NAMES: [&str; 32] = [
    "block",
    "bytes",
    "client",
    "date",
    "datetime",
    "file",
    "filename",
    "host",
    "id",
    "item",
    "key",
    "key_size",
    "length",
    "method",
    "name",
    "obj_id",
    "obj_size",
    "object",
    "object_id",
    "op",
    "operation",
    "path",
    "request",
    "size",
    "status",
    "time",
    "timestamp",
    "ts",
    "ttl",
    "uri",
    "url",
    "value_size",
];

/// Whether the first line names columns. It does if a column that must hold a number holds a name;
/// if all its fields are usual names; or if all its fields are names and the second line has a
/// number among its own.
pub(super) fn is_header(
    first: &Record<'_>,
    second: Option<&Record<'_>>,
    indices: &Indices,
) -> bool {
    let is_number = |field: &[u8]| {
        std::str::from_utf8(field).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
    };
    // A date starts with a digit.
    let is_name = |field: &[u8]| {
        !is_number(field)
            && !field.first().is_some_and(u8::is_ascii_digit)
            && field.iter().any(u8::is_ascii_alphabetic)
    };
    let numbers = || [indices.size, indices.time, indices.ttl].into_iter().flatten();
    if numbers().any(|index| is_name(first.field(index))) {
        // If the second line is as wrong, the file is of another kind, which is an error.
        return second.is_none_or(|second| {
            numbers()
                .any(|index| is_name(first.field(index)) && !is_name(second.field_or_empty(index)))
        });
    }
    let fields = 0..first.columns();
    let is_usual =
        |field: &[u8]| COLUMN_NAMES.iter().any(|name| field.eq_ignore_ascii_case(name.as_bytes()));
    if fields.clone().all(|index| is_usual(first.field(index))) {
        return true;
    }
    let Some(second) = second else { return false };
    fields.clone().all(|index| is_name(first.field(index)))
        && fields.clone().any(|index| is_number(second.field_or_empty(index)))
}
