//! How long a load took, in one byte, so that no entry is larger for it.
#![forbid(unsafe_code)]

use std::time::Duration;

/// A time in nanoseconds as a floating-point number without a sign, exact to an eighth.
//
//   7          2 1        0
//  | exponent:6 | fraction:2 |   (4 + fraction) << (exponent - 2), from the exponent 2 on
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadTime(u8);

const FRACTION_BITS: u32 = 2;

impl LoadTime {
    pub(crate) fn of(duration: Duration) -> Self {
        Self::from_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Rounds to the nearest time that can be stored; more than zero stays more than zero.
    fn from_ns(ns: u64) -> Self {
        if ns == 0 {
            return Self(0);
        }
        let ns = ns.max(1 << FRACTION_BITS);
        let shift = ns.ilog2() - FRACTION_BITS;
        // The highest three bits, rounded; 8 if that carries into the next exponent.
        let half = (1_u64 << shift) >> 1;
        let digits = ns.saturating_add(half) >> shift;
        let raw =
            (u64::from(shift + FRACTION_BITS) << FRACTION_BITS) + digits - (1 << FRACTION_BITS);
        Self(u8::try_from(raw).unwrap_or(u8::MAX))
    }

    pub(crate) fn to_ns(self) -> u64 {
        let (exponent, fraction) = (self.0 >> FRACTION_BITS, self.0 & ((1 << FRACTION_BITS) - 1));
        match u32::from(exponent).checked_sub(FRACTION_BITS) {
            None => 0,
            Some(shift) => u64::from(fraction + (1 << FRACTION_BITS)) << shift,
        }
    }

    pub(crate) fn from_raw(raw: u8) -> Self {
        Self(raw)
    }

    pub(crate) fn to_raw(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_stored_to_an_eighth_and_zero_exactly() {
        assert_eq!(LoadTime::from_ns(0), LoadTime::default());
        assert_eq!(LoadTime::default().to_ns(), 0);
        for ns in [1, 2, 3] {
            assert_eq!(LoadTime::from_ns(ns).to_ns(), 4);
        }
        let mut ns = 4_u64;
        while ns < u64::MAX / 16 {
            for given in [ns, ns + ns / 9, ns + ns / 3, ns + ns / 2, ns + ns * 7 / 8] {
                let stored = LoadTime::from_ns(given).to_ns();
                assert!(stored.abs_diff(given) <= given / 8, "{given} became {stored}");
                assert_eq!(LoadTime::from_ns(stored).to_ns(), stored);
            }
            ns = ns * 3 / 2;
        }
        assert!(LoadTime::from_ns(u64::MAX).to_ns() >= u64::MAX / 8 * 7);
    }
}
