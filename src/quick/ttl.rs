//! Times to live in the forms that callers may give.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::config::MAX_SECONDS;
use super::error::CacheError;

/// A time to live, as a number of seconds in one of several forms.
///
/// `None` is the default of the configuration. Numbers are truncated to whole seconds, text is read as a
/// whole number, and `true` is 1. A [`Duration`] is taken exactly. [`CacheError::InvalidTtl`] rejects
/// numbers below 1, a duration of zero, everything above 10^12 seconds, and text that is not a number.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::quick::{QuickCache, QuickCacheConfig};
///
/// let cache: QuickCache<u32> = QuickCache::new(QuickCacheConfig::default())?;
/// cache.set("a", 1, None)?;
/// cache.set("a", 1, 60)?;
/// cache.set("a", 1, 1.9)?; // a second
/// cache.set("a", 1, "5")?;
/// cache.set("a", 1, Duration::from_millis(1500))?;
/// assert_eq!(cache.set("a", 1, 0.5).unwrap_err().to_string(), "Invalid TTL value: 0.5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Ttl {
    /// The default of the configuration.
    #[default]
    Default,
    /// Whole seconds.
    Whole(i128),
    /// Seconds, which are truncated to whole ones.
    Float(f64),
    /// Text, which is read as whole seconds.
    Text(String),
    /// Exactly this duration.
    Exactly(Duration),
}

impl Ttl {
    /// The duration that it means, or [`CacheError::InvalidTtl`].
    pub(super) fn resolve(&self, default: Duration) -> Result<Duration, CacheError> {
        let (whole, shown) = match self {
            Self::Default => return Ok(default),
            Self::Exactly(duration) => {
                let is_allowed = !duration.is_zero() && duration.as_secs_f64() <= MAX_SECONDS;
                let shown = || format!("{duration:?}");
                return if is_allowed { Ok(*duration) } else { Err(invalid(shown())) };
            }
            Self::Whole(whole) => (Some(*whole), whole.to_string()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it saturates, and the result is rejected then"
            )]
            Self::Float(float) => {
                (float.is_finite().then(|| float.trunc() as i128), format!("{float:?}"))
            }
            Self::Text(text) => (whole_number(text), text.clone()),
        };
        let seconds = whole.and_then(|whole| u64::try_from(whole).ok());
        #[expect(clippy::cast_precision_loss, reason = "the bound is far below 2^53")]
        let is_allowed = |seconds: &u64| *seconds > 0 && *seconds as f64 <= MAX_SECONDS;
        match seconds.filter(is_allowed) {
            Some(seconds) => Ok(Duration::from_secs(seconds)),
            None => Err(invalid(shown)),
        }
    }
}

fn invalid(ttl: String) -> CacheError {
    CacheError::InvalidTtl { ttl }
}

/// Parses a decimal number, which may have a sign, blanks around it and single underscores within it.
fn whole_number(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number { None } else { text.replace('_', "").parse().ok() }
}

macro_rules! from_whole {
    ($($type:ty)*) => {$(
        impl From<$type> for Ttl {
            fn from(seconds: $type) -> Self {
                Self::Whole(seconds.into())
            }
        }
    )*};
}

from_whole!(i8 i16 i32 i64 i128 u8 u16 u32 u64 bool);

impl From<usize> for Ttl {
    fn from(seconds: usize) -> Self {
        Self::Whole(i128::try_from(seconds).unwrap_or(i128::MAX))
    }
}

impl From<f64> for Ttl {
    fn from(seconds: f64) -> Self {
        Self::Float(seconds)
    }
}

impl From<&str> for Ttl {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Ttl {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<const N: usize> From<&[u8; N]> for Ttl {
    fn from(text: &[u8; N]) -> Self {
        Self::Text(String::from_utf8_lossy(text).into_owned())
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::Exactly(duration)
    }
}

impl From<Option<u64>> for Ttl {
    fn from(seconds: Option<u64>) -> Self {
        seconds.map_or(Self::Default, Self::from)
    }
}
