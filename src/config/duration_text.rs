//! Durations as text in files, such as `250ms`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units and their nanoseconds, the largest unit first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

#[expect(clippy::ref_option, reason = "serde calls it with a reference")]
pub(super) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(text_of).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else { return Ok(None) };
    let duration = parse(&text).ok_or_else(|| {
        de::Error::custom(format_args!(
            "`{text}` is not a duration; use a whole number and a unit: ns, us, ms, s, m, h or d"
        ))
    })?;
    Ok(Some(duration))
}

/// The duration in the largest unit that divides it.
fn text_of(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fits = |(_, unit): &&(&str, u128)| nanoseconds.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((name, unit)) if nanoseconds > 0 => format!("{}{name}", nanoseconds / unit),
        _ => "0s".to_owned(),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    let nanoseconds =
        number.parse::<u64>().ok().and_then(|number| unit.checked_mul(number.into()))?;
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_read_as_it_was_written() {
        for (text, nanoseconds) in [
            ("0s", 0),
            ("1ns", 1),
            ("1500us", 1_500_000),
            ("250ms", 250_000_000),
            ("90s", 90_000_000_000),
            ("10m", 600_000_000_000),
            ("36h", 129_600_000_000_000),
            ("7d", 604_800_000_000_000),
        ] {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(text_of(duration), text);
            assert_eq!(parse(text), Some(duration));
        }
        let longest = Duration::new(u64::MAX, 0);
        assert_eq!(parse(&text_of(longest)), Some(longest));
        assert_eq!(parse(" 5 m "), Some(Duration::from_secs(300)));
    }

    #[test]
    fn a_text_that_is_not_a_duration_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 minutes", "1h30m", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{}d", u64::MAX)), None, "more than a duration can be");
    }
}
