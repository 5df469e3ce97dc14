//! How to read a CSV file: its columns, its delimiter and its first line.

use std::str::FromStr;

use crate::trace::lifetime::TimeUnit;

/// A column, by its name in the first line or by its number, starting at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Number(usize),
    Name(String),
}

impl FromStr for Column {
    type Err = ColumnError;

    fn from_str(given: &str) -> Result<Self, ColumnError> {
        match given.parse() {
            Ok(0) => Err(ColumnError::Zero),
            Ok(number) => Ok(Column::Number(number)),
            Err(_) if given.is_empty() => Err(ColumnError::Empty),
            Err(_) => Ok(Column::Name(given.to_owned())),
        }
    }
}

/// Why an argument does not name a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("columns count from 1")]
    Zero,
    #[error("an empty name; give the column's name or its number")]
    Empty,
}

/// What the first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Names if the line looks like a header, with a warning.
    Auto,
    Names,
    Request,
}

/// Which columns there are, and how they are separated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvOptions {
    pub(crate) key: Column,
    pub(crate) size: Option<Column>,
    pub(crate) ttl: Option<Column>,
    pub(crate) time: Option<Column>,
    pub(crate) time_unit: TimeUnit,
    /// `None` means a tab for file names with `.tsv`, else a comma.
    pub(crate) delimiter: Option<u8>,
    pub(crate) header: Header,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            key: Column::Number(1),
            size: None,
            ttl: None,
            time: None,
            time_unit: TimeUnit::Seconds,
            delimiter: None,
            header: Header::Auto,
        }
    }
}

impl CsvOptions {
    fn columns(&self) -> impl Iterator<Item = &Column> {
        std::iter::once(&self.key).chain(self.size.iter()).chain(&self.ttl).chain(&self.time)
    }

    /// As requested, except that a column that is given by name needs a line of names.
    pub(super) fn header(&self) -> Header {
        let has_name = self.columns().any(|column| matches!(column, Column::Name(_)));
        if has_name { Header::Names } else { self.header }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_a_name_or_a_number_from_one() {
        assert_eq!("2".parse(), Ok(Column::Number(2)));
        assert_eq!("id".parse(), Ok(Column::Name("id".into())));
        assert_eq!("0".parse::<Column>(), Err(ColumnError::Zero));
        assert_eq!("".parse::<Column>(), Err(ColumnError::Empty));
    }
}
