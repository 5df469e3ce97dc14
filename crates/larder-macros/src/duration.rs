//! Durations as options: text such as `"10s"`, a whole number of seconds, or any expression.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, ExprLit, Lit, Result};

/// The units and their nanoseconds. They are those of durations in larder's configuration files.
const UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The expression of type `Duration` that the value of an option stands for.
pub(crate) fn expression(value: &Expr) -> Result<TokenStream> {
    let Expr::Lit(ExprLit { lit, .. }) = value else { return Ok(quote!(#value)) };
    let duration = match lit {
        Lit::Str(text) => parse(&text.value()).ok_or_else(|| {
            let given = text.value();
            Error::new_spanned(
                text,
                format!(
                    "`{given}` is not a duration; use a whole number and a unit: ns, us, ms, s, m, h or d, as in \"90s\""
                ),
            )
        })?,
        Lit::Int(seconds) if seconds.suffix().is_empty() => {
            Duration::from_secs(seconds.base10_parse()?)
        }
        _ => {
            return Err(Error::new_spanned(
                lit,
                "a duration is text such as \"90s\", a whole number of seconds, or an expression of type `Duration`",
            ));
        }
    };
    if duration.is_zero() {
        return Err(Error::new_spanned(
            lit,
            "a duration of zero keeps nothing; use more than zero",
        ));
    }
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    Ok(quote!(::core::time::Duration::new(#seconds, #nanoseconds)))
}

fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    let nanoseconds = unit.checked_mul(number.parse::<u64>().ok()?.into())?;
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn text_and_whole_seconds_are_durations() {
        for (text, duration) in [
            ("10s", Duration::from_secs(10)),
            ("250ms", Duration::from_millis(250)),
            ("1500us", Duration::from_micros(1500)),
            ("7ns", Duration::from_nanos(7)),
            (" 5 m ", Duration::from_secs(300)),
            ("36h", Duration::from_secs(36 * 3600)),
            ("7d", Duration::from_secs(7 * 86_400)),
        ] {
            assert_eq!(parse(text), Some(duration), "{text}");
        }
        let ten = expression(&parse_quote!("10s")).unwrap().to_string();
        assert_eq!(ten, expression(&parse_quote!(10)).unwrap().to_string());
        let constant = expression(&parse_quote!(config::TTL)).unwrap().to_string();
        assert_eq!(constant, quote!(config::TTL).to_string());
    }

    #[test]
    fn a_value_that_is_not_a_duration_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 minutes", "1h30m", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let too_long = format!("{}d", u64::MAX);
        assert_eq!(parse(&too_long), None);
        let refused: [Expr; 5] = [
            parse_quote!("soon"),
            parse_quote!("0s"),
            parse_quote!(0),
            parse_quote!(1.5),
            parse_quote!(10u8),
        ];
        for value in refused {
            assert!(expression(&value).is_err(), "{}", quote!(#value));
        }
    }
}
