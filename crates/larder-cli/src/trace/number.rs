//! Whole numbers as traces write them.

use crate::trace::error::{Excerpt, Problem};

/// A whole number of at most `max` that identifies something, such as a key. Every digit matters,
/// so it may end in `.0` but must not have an exponent, which indicates that it was rounded.
pub(super) fn parse_number(field: &'static str, given: &[u8], max: u64) -> Result<u64, Problem> {
    let number = parse_amount(field, given, max)?;
    if given.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return Err(Problem::Rounded { field, given: Excerpt::new(given) });
    }
    Ok(number)
}

/// A whole number of at most `max` that counts something. Tools that have only floats write it as
/// `123.0` or as `1e+06`.
pub(super) fn parse_amount(field: &'static str, given: &[u8], max: u64) -> Result<u64, Problem> {
    if given.is_empty() {
        return Err(Problem::EmptyNumber { field, max });
    }
    whole_number(given).filter(|&number| number <= max).ok_or_else(|| Problem::NotANumber {
        field,
        given: Excerpt::new(given),
        max,
    })
}

/// Parses digits with an optional fraction and exponent if they are a whole number, without going
/// through a float, which is exact to 53 bits only. A sign is not allowed.
fn whole_number(given: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(given).ok()?;
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(text) {
        return text.parse().ok();
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}").parse::<u64>().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_u64.checked_pow(shift.unsigned_abs());
    match shift {
        0.. => digits.checked_mul(power?),
        _ => power.filter(|power| digits % power == 0).map(|power| digits / power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_within_range_and_nothing_else() {
        assert_eq!(parse_number("n", b"18446744073709551615", u64::MAX).unwrap(), u64::MAX);
        assert_eq!(parse_number("n", b"007", 7).unwrap(), 7);
        assert_eq!(parse_number("n", b"7.00", 7).unwrap(), 7);
        for given in ["+1", "-1", " 1", "1 ", "8", "18446744073709551616", "x", "1.5", "\u{661}"] {
            let problem = parse_number("size", given.as_bytes(), 7).unwrap_err().to_string();
            assert!(problem.starts_with("size `"), "{problem}");
            assert!(problem.ends_with("use a whole number from 0 to 7"), "{problem}");
        }
        let problem = parse_number("size", b"", 7).unwrap_err().to_string();
        assert_eq!(problem, "the size is empty; use a whole number from 0 to 7");
        let problem = parse_number("block", b"1.2e+03", u64::MAX).unwrap_err().to_string();
        assert!(problem.starts_with("block `1.2e+03` was rounded"), "{problem}");
    }

    #[test]
    fn amounts_are_read_as_tools_write_floats() {
        for (given, number) in [
            ("123.0", 123),
            ("1e+06", 1_000_000),
            ("1.5E3", 1_500),
            ("2500e-2", 25),
            ("0.0", 0),
            ("18446744073709551615.0", u64::MAX),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse_amount("n", given.as_bytes(), u64::MAX).unwrap(), number, "{given}");
        }
        for given in
            ["1.5", "1e-1", "1e20", ".5", "e5", "1e", "1.e", "1_000", "0x10", "1e+99999999999"]
        {
            assert!(parse_amount("n", given.as_bytes(), u64::MAX).is_err(), "{given}");
        }
    }
}
