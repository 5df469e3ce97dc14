//! Times to live: which are accepted, which are refused, and when a key expires.

use std::time::Duration;

use larder::quick::{QuickCache, Ttl};

use super::{Fixture, code};

fn accepts(ttl: impl Into<Ttl>, seconds: u64) {
    let it = Fixture::missing();
    it.cache.set("k", 1, ttl).unwrap();
    it.clock.set(Duration::from_secs(seconds));
    assert_eq!(it.cache.get("k").unwrap(), 1, "too short");
    it.clock.advance(Duration::from_nanos(1));
    assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED", "too long");
}

fn refuses(ttl: impl Into<Ttl>, shown: &str) {
    let ttl = ttl.into();
    let it = Fixture::valid();
    for result in [
        it.cache.set("k", 2, ttl.clone()),
        it.cache.add("new", 2, ttl.clone()),
        it.cache.update("k", 2, ttl.clone()),
        it.cache.update("new", 2, ttl.clone()),
        it.cache.set_many([("k", 2)], ttl.clone()),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "INVALID_TTL");
        assert_eq!(error.to_string(), format!("Invalid TTL value: {shown}"));
    }
    assert_eq!((it.cache.peek_value("k"), it.cache.size()), (Some(1), 1));
    assert_eq!(it.counts()[2..5], [0, 1, 0], "an invalid time to live counts nowhere");
}

trait PeekValue {
    fn peek_value(&self, key: &str) -> Option<i64>;
}

impl PeekValue for QuickCache<i64> {
    fn peek_value(&self, key: &str) -> Option<i64> {
        self.get(key).ok()
    }
}

cases! {
    ttl_none_is_the_default { accepts(None, 500); }
    ttl_some_is_seconds { accepts(Some(7), 7); }
    ttl_whole_is_seconds { accepts(7, 7); }
    ttl_large_is_seconds { accepts(1_000_000_000_u64, 1_000_000_000); }
    ttl_float_is_cut { accepts(1.9, 1); }
    ttl_text_is_read { accepts("5", 5); }
    ttl_text_with_blanks_is_read { accepts(" +5 ", 5); }
    ttl_text_with_underscores_is_read { accepts("1_0", 10); }
    ttl_bytes_are_read { accepts(b"7", 7); }
    ttl_true_is_a_second { accepts(true, 1); }
    ttl_duration_is_exact { accepts(Duration::from_secs(3), 3); }
    ttl_zero_is_invalid { refuses(0, "0"); }
    ttl_negative_is_invalid { refuses(-1, "-1"); }
    ttl_false_is_invalid { refuses(false, "0"); }
    ttl_empty_text_is_invalid { refuses("", ""); }
    ttl_word_is_invalid { refuses("abc", "abc"); }
    ttl_fractional_text_is_invalid { refuses("1.5", "1.5"); }
    ttl_doubled_underscore_is_invalid { refuses("1__0", "1__0"); }
    ttl_less_than_a_second_is_invalid { refuses(0.5, "0.5"); }
    ttl_negative_fraction_is_invalid { refuses(-0.5, "-0.5"); }
    ttl_nan_is_invalid { refuses(f64::NAN, "NaN"); }
    ttl_infinite_is_invalid { refuses(f64::INFINITY, "inf"); }
    ttl_huge_is_invalid { refuses(1_000_000_000_001_u64, "1000000000001"); }
    ttl_huge_float_is_invalid { refuses(1e300, "1e300"); }
    ttl_huge_text_is_invalid { refuses("99999999999999999999999999999999999999999999", "99999999999999999999999999999999999999999999"); }
    ttl_zero_duration_is_invalid { refuses(Duration::ZERO, "0ns"); }
    ttl_is_checked_before_the_key {
        assert_eq!(code(Fixture::missing().cache.update("missing", 1, 0)), "INVALID_TTL");
    }
    ttl_default_may_be_a_fraction {
        let it = Fixture::with(|config| config.default_ttl = 0.25);
        it.cache.set("k", 1, None).unwrap();
        it.clock.advance(Duration::from_millis(250));
        assert_eq!(it.cache.get("k").unwrap(), 1);
        it.clock.advance(Duration::from_nanos(1));
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
    }
    ttl_default_can_be_changed_later {
        let it = Fixture::missing();
        it.cache.set_default_ttl(2.0).unwrap();
        it.cache.set("k", 1, None).unwrap();
        it.pass(3);
        assert_eq!(code(it.cache.get("k")), "KEY_EXPIRED");
        assert!(it.cache.set_default_ttl(0.0).is_err() && it.cache.set_default_ttl(f64::NAN).is_err());
    }
}
