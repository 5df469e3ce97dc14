//! Sizes and times as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A number of bytes, such as `512mb`. As in a configuration of Redis, `k`, `m`, `g` and `t` are powers of
/// 1000, and `kb`, `mb`, `gb` and `tb` are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no size; write a number and b, k, kb, m, mb, g, gb, t or tb");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" => 1000,
            "kb" | "kib" => 1 << 10,
            "m" => 1_000_000,
            "mb" | "mib" => 1 << 20,
            "g" => 1_000_000_000,
            "gb" | "gib" => 1 << 30,
            "t" => 1_000_000_000_000,
            "tb" | "tib" => 1 << 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

/// A length of time, such as `30s` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |error| format!("`{text}` is no length of time, such as 30s or 5min: {error}");
        humantime::parse_duration(text).map(Self).map_err(wrong)
    }
}

/// Reads a text, or for a size also a number, so that an error has the place in the file.
macro_rules! deserialize_from_text {
    ($type:ident, $expected:literal, $number:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;

                impl Visitor<'_> for TextVisitor {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        let make: fn(i64) -> Option<$type> = $number;
                        let other = de::Unexpected::Signed(number);
                        make(number).ok_or_else(|| E::invalid_value(other, &self))
                    }
                }

                deserializer.deserialize_any(TextVisitor)
            }
        }
    };
}

deserialize_from_text!(ByteSize, "a size, such as \"512mb\"", |number| {
    u64::try_from(number).ok().map(ByteSize)
});
deserialize_from_text!(Time, "a length of time, such as \"30s\"", |_| None);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_does() {
        for (text, bytes) in
            [("0", 0), ("7b", 7), ("1k", 1000), ("1KB", 1024), ("2 gb", 2 << 30), ("3m", 3_000_000)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "mb", "-1", "1xb", "1.5gb", "99999999999tb"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!("1h 30m".parse(), Ok(Time(Duration::from_secs(5400))));
        assert!("soon".parse::<Time>().is_err());
    }
}
