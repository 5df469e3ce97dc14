//! Fractions as Redis adds and writes them: with the 64 bits of precision of an x86 processor's extended format.
//!
//! A sum in another format would differ from that of Redis in digits that clients see.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Float, Round, Status};

/// The longest text that is read as a number.
const MAX_TEXT_BYTES: usize = 5 * 1024;

/// The most digits after the point when a number is written.
const FRACTION_DIGITS: u32 = 17;

/// Reads a number as the C function `strtold` does; `None` if the text is anything else, is not a number by
/// name, or is out of range.
pub(crate) fn parse(text: &[u8]) -> Option<X87DoubleExtended> {
    if text.len() >= MAX_TEXT_BYTES {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let (is_negative, unsigned) = match text.strip_prefix(['-', '+']) {
        Some(unsigned) => (text.starts_with('-'), unsigned),
        None => (false, text),
    };
    let magnitude = match unsigned {
        _ if is_infinity(unsigned) => X87DoubleExtended::INFINITY,
        _ => parse_unsigned(unsigned)?,
    };
    Some(if is_negative { -magnitude } else { magnitude })
}

fn is_infinity(text: &str) -> bool {
    text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity")
}

/// Reads decimal or hexadecimal digits with an optional point and exponent.
fn parse_unsigned(text: &str) -> Option<X87DoubleExtended> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (number, marks, is_digit): (_, _, fn(&char) -> bool) = match hex {
        Some(number) => (number, ['p', 'P'], char::is_ascii_hexdigit),
        None => (text, ['e', 'E'], char::is_ascii_digit),
    };
    let (digits, exponent) = match number.split_once(marks) {
        Some((digits, exponent)) => (digits, Some(exponent)),
        None => (number, None),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.chars().all(|digit| is_digit(&digit));
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if exponent.is_empty() || !exponent.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
    }
    // A hexadecimal number must have an exponent here.
    let completed = match (hex, exponent) {
        (Some(_), None) => format!("{text}p0"),
        _ => text.to_owned(),
    };
    let read = X87DoubleExtended::from_str_r(&completed, Round::NearestTiesToEven).ok()?;
    let is_lost = read.status.intersects(Status::OVERFLOW | Status::UNDERFLOW);
    (!is_lost || !(read.value.is_zero() || read.value.is_infinite())).then_some(read.value)
}

/// Whether it is finite; [`parse`] never returns NaN.
pub(crate) fn is_finite(number: X87DoubleExtended) -> bool {
    number.is_finite()
}

/// The sum as Redis writes it; `None` if it is not finite.
pub(crate) fn sum(a: X87DoubleExtended, b: X87DoubleExtended) -> Option<String> {
    let sum = (a + b).value;
    sum.is_finite().then(|| written(sum))
}

/// A finite number with up to 17 digits after the point, without an exponent.
fn written(number: X87DoubleExtended) -> String {
    // | sign: 1 | exponent: 15 | significand: 64 |
    const EXPONENT_BIAS: i32 = 16_383;
    let bits = number.to_bits();
    let significand = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    let exponent = i32::try_from((bits >> 64) & 0x7fff).unwrap_or_default().max(1);
    // The number is the significand times two to this power.
    let power = exponent - EXPONENT_BIAS - 63;
    let mut text = String::new();
    if power >= 0 {
        text = shifted(significand, power.unsigned_abs());
    } else {
        let scale = 10_u128.pow(FRACTION_DIGITS);
        // Below 2^64 times 10^17, which is below 2^121.
        let scaled = u128::from(significand) * scale;
        let scaled = shifted_down(scaled, power.unsigned_abs());
        let (whole, fraction) = (scaled / scale, scaled % scale);
        // Writing to a string cannot fail.
        let _ = write!(text, "{whole}.{fraction:0width$}", width = FRACTION_DIGITS as usize);
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if number.is_negative() && text != "0" {
        text.insert(0, '-');
    }
    text
}

/// `number` divided by two to the power of `shift`, rounded to the nearest, ties to even.
fn shifted_down(number: u128, shift: u32) -> u128 {
    let Some(down) = number.checked_shr(shift) else { return 0 };
    let rest = number & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    down + u128::from(rest > half || (rest == half && down % 2 == 1))
}

/// The digits of `number` times two to the power of `shift`.
fn shifted(number: u64, shift: u32) -> String {
    /// Decimal digits in groups, the last group first.
    const GROUP_DIGITS: usize = 18;
    const GROUP: u128 = 10_u128.pow(18);
    const STEP: u32 = 60;
    let number = u128::from(number);
    let mut groups = vec![number % GROUP, number / GROUP];
    let mut left = shift;
    while left > 0 {
        let step = left.min(STEP);
        let mut carry = 0;
        for group in &mut groups {
            let grown = (*group << step) + carry;
            (*group, carry) = (grown % GROUP, grown / GROUP);
        }
        if carry > 0 {
            groups.push(carry);
        }
        left -= step;
    }
    let mut text = String::new();
    for group in groups.iter().rev() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{group:0GROUP_DIGITS$}");
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(a: &str, b: &str) -> Option<String> {
        sum(parse(a.as_bytes())?, parse(b.as_bytes())?)
    }

    /// The sums are those of redis-server 7.0.15.
    #[test]
    fn sums_have_the_digits_of_redis() {
        for (a, b, sum) in [
            ("10.5", "0.1", "10.6"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "2.0e2", "5200"),
            ("0", "-1e-20", "0"),
            ("1", "-1", "0"),
            ("17179869184", "1.5", "17179869185.5"),
            ("1e10", "0.1", "10000000000.09999999962747097"),
            ("0x10", ".5", "16.5"),
            ("0x1.8p1", "+1.", "4"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("1e25", "1", "10000000000000000000000000"),
            ("-1.5", "0.25", "-1.25"),
        ] {
            assert_eq!(added(a, b).as_deref(), Some(sum), "{a} + {b}");
        }
        let largest = added("1.18e4932", "0").unwrap();
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with("1180000000000000000"));
    }

    #[test]
    fn what_is_not_finite_is_no_sum() {
        assert_eq!(added("1e4932", "1e4932"), None);
        for text in ["inf", "-INF", "+Infinity"] {
            assert_eq!(sum(parse(text.as_bytes()).unwrap(), parse(b"1").unwrap()), None);
        }
    }

    #[test]
    fn only_numbers_are_numbers() {
        for text in [
            "", " 1", "1 ", "1e", "e1", ".", "-", "+-1", "0x", "1x", "nan", "1e5000", "1e-6000",
            "1e+", "1_0", "1.2.3", "0x1e+1", "1\0", "infinit", "0xp1",
        ] {
            assert!(parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(parse(&[b'1'; MAX_TEXT_BYTES]).is_none());
        assert!(parse(&[0xff]).is_none());
    }
}
