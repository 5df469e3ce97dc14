//! Warnings about a trace that is read nevertheless, one of each kind, with a line.

use std::fmt;

use crate::trace::error::Excerpt;
use crate::trace::format::Format;

/// Something that may make the figures misleading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// CSV: the first line was taken for a header without having been announced as one.
    HeaderFound { line: u64, names: Excerpt },
    /// Text: all lines but the first are numbers.
    HeaderLikely { line: u64, text: Excerpt },
    /// CSV: there is only one column, and it contains another delimiter.
    OtherDelimiter { line: u64, seen: char },
    /// CSV: a key contains a line break, which may come from an open quote.
    KeyOverLines { line: u64 },
    /// A key is written as a number with an exponent.
    RoundedKey { line: u64, key: Excerpt },
    /// Columns were requested from a trace that has none.
    NoColumns { format: Format },
    /// There are TTLs but no times, so entries cannot expire.
    NoTimes,
    /// Some requests are earlier than one before them.
    TimesGoBack { line: u64, requests: u64 },
    /// Times are so large that they are probably in another unit.
    FarTimes,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderFound { line, names } => write!(
                f,
                "line {line}, {names}, is taken for the names of the columns and not for a \
                 request; --no-header makes it one, --header silences this"
            ),
            Self::HeaderLikely { line, text } => write!(
                f,
                "line {line}, {text}, counts as a request although all other lines are numbers; \
                 remove it if it is a header"
            ),
            Self::OtherDelimiter { line, seen } => write!(
                f,
                "line {line} is one column and has {seen:?} in it; if that separates columns, pass \
                 --delimiter {}",
                if *seen == '\t' { "'\\t'".to_owned() } else { format!("'{seen}'") }
            ),
            Self::KeyOverLines { line } => write!(
                f,
                "the key in line {line} goes on in the next line; check its quotes if it should not"
            ),
            Self::RoundedKey { line, key } => write!(
                f,
                "the key {key} in line {line} is a number that may have been rounded; keys that were \
                 rounded alike count as one"
            ),
            Self::NoColumns { format } => write!(
                f,
                "options for CSV have no effect on a trace of the format {}; pass --format csv if it \
                 has columns",
                format.name()
            ),
            Self::NoTimes => f.write_str(
                "no entry expires, as the trace has TTLs but no times; pass --time-column, or \
                 --rate for so many requests a second",
            ),
            Self::TimesGoBack { line, requests } => write!(
                f,
                "{requests} requests, the first in line {line}, are earlier than one before them; \
                 they count as of the same time"
            ),
            Self::FarTimes => f.write_str(
                "times are later than the year 2400; pass --time-unit if they are not in seconds",
            ),
        }
    }
}
