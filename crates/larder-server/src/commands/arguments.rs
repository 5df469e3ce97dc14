//! Arguments that many commands have: numbers, options and deadlines, read as strictly as Redis reads them.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::time::Duration;

use crate::error::CommandError;
use crate::unix_time::{self, MAX_LIFETIME};

/// The most bytes of a 64-bit number in decimal digits, with its sign.
const MAX_INTEGER_BYTES: usize = 20;

/// A number in decimal digits, without leading zeros, spaces or a plus sign; `None` if it is not one of 64 bits.
#[inline]
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !is_negative => return Some(0),
        [] | [b'0', ..] => return None,
        _ if digits.len() >= MAX_INTEGER_BYTES => return None,
        _ => {}
    }
    // Counted downwards, because there is one more negative number.
    let mut number = 0_i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if is_negative { Some(number) } else { number.checked_neg() }
}

/// As [`parse_integer`], with the error for clients.
#[inline]
pub(crate) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotInteger)
}

/// Whether an argument is this option, in upper or lower case.
#[inline]
pub(crate) fn is_option(argument: &[u8], name: &str) -> bool {
    argument.eq_ignore_ascii_case(name.as_bytes())
}

/// Calls `f` with a number in decimal digits.
pub(crate) fn with_decimal<R>(number: i64, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut digits = [0; MAX_INTEGER_BYTES];
    let mut rest = digits.as_mut_slice();
    // Every number has room.
    let _ = write!(rest, "{number}");
    let len = MAX_INTEGER_BYTES - rest.len();
    f(&digits[..len])
}

/// How a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Seconds,
    Milliseconds,
    /// Seconds and milliseconds since the beginning of 1970.
    UnixSeconds,
    UnixMilliseconds,
}

impl TimeUnit {
    /// The unit of an option such as `EX`.
    pub(crate) fn of_option(option: &[u8]) -> Option<Self> {
        match option {
            [b'e' | b'E', b'x' | b'X'] => Some(Self::Seconds),
            [b'p' | b'P', b'x' | b'X'] => Some(Self::Milliseconds),
            _ if is_option(option, "EXAT") => Some(Self::UnixSeconds),
            _ if is_option(option, "PXAT") => Some(Self::UnixMilliseconds),
            _ => None,
        }
    }
}

/// How long a key should live from now on, by an argument that must be positive: zero if its time has passed
/// already, and at most [`MAX_LIFETIME`].
///
/// # Errors
/// It is not a number, is not positive, or milliseconds since 1970 in 64 bits cannot express it.
pub(crate) fn lifetime(
    text: &[u8],
    unit: TimeUnit,
    command: &'static str,
) -> Result<Duration, CommandError> {
    let number = integer(text)?;
    let invalid = CommandError::InvalidExpireTime { command };
    if number <= 0 {
        return Err(invalid);
    }
    let ms = match unit {
        TimeUnit::Seconds | TimeUnit::UnixSeconds => number.checked_mul(1000),
        TimeUnit::Milliseconds | TimeUnit::UnixMilliseconds => Some(number),
    };
    let Some(ms) = ms else { return Err(invalid) };
    match unit {
        TimeUnit::Seconds | TimeUnit::Milliseconds => {
            let now_ms = unix_time::ms_after(unix_time::now(), Duration::ZERO);
            if now_ms.checked_add(ms).is_none() {
                return Err(invalid);
            }
            Ok(Duration::from_millis(ms.unsigned_abs()).min(MAX_LIFETIME))
        }
        TimeUnit::UnixSeconds | TimeUnit::UnixMilliseconds => Ok(unix_time::lifetime_until(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_of_a_number_is_one() {
        for number in [0, 1, -1, 9, 10, 12_345, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            with_decimal(number, |digits| {
                assert_eq!(digits, number.to_string().as_bytes());
                assert_eq!(parse_integer(digits), Some(number));
            });
        }
        for text in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            "-01",
            " 1",
            "1 ",
            "1a",
            "1.0",
            "1\0",
            "/",
            ":",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "100000000000000000000",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_deadline_beyond_64_bits_of_milliseconds_is_refused() {
        let ask = |text: &str, unit| lifetime(text.as_bytes(), unit, "set");
        let invalid = Err(CommandError::InvalidExpireTime { command: "set" });
        assert_eq!(ask("10", TimeUnit::Seconds), Ok(Duration::from_secs(10)));
        assert_eq!(ask("10", TimeUnit::Milliseconds), Ok(Duration::from_millis(10)));
        assert_eq!(ask("1", TimeUnit::UnixSeconds), Ok(Duration::ZERO));
        // A lifetime that the cache cannot count would be none, which `EXPIRETIME` and `PERSIST` show.
        assert_eq!(ask("9223372036854775807", TimeUnit::UnixMilliseconds), Ok(MAX_LIFETIME));
        assert_eq!(ask("9223372036854775", TimeUnit::Milliseconds), Ok(MAX_LIFETIME));
        for (text, unit) in [
            ("0", TimeUnit::Seconds),
            ("-1", TimeUnit::UnixMilliseconds),
            ("9223372036854775807", TimeUnit::Seconds),
            ("9223372036854775", TimeUnit::Seconds),
            ("9223372036854775807", TimeUnit::Milliseconds),
            ("9223372036854776", TimeUnit::UnixSeconds),
        ] {
            assert_eq!(ask(text, unit), invalid, "{text} {unit:?}");
        }
        assert_eq!(ask("x", TimeUnit::Seconds), Err(CommandError::NotInteger));
    }
}
