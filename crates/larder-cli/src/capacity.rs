//! Capacities as users write them (`1000`, `64K`, `5%`), and what they mean for a trace.

use std::fmt;
use std::str::FromStr;

/// What an entry weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Each entry weighs 1; capacities are in entries.
    Entries,
    /// Each entry weighs its size; capacities are in bytes.
    Bytes,
}

/// The default capacities of a table.
pub(crate) const DEFAULTS: [&str; 4] = ["1%", "5%", "10%", "25%"];

/// The default capacities of a plot, at about equal steps of its logarithmic axis.
pub(crate) const DEFAULTS_FOR_PLOT: [&str; 10] =
    ["0.1%", "0.2%", "0.5%", "1%", "2%", "5%", "10%", "20%", "50%", "100%"];

/// A capacity as the user wrote it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CapacityArg {
    /// Entries, or bytes if an entry weighs its size.
    Absolute(u64),
    /// A percentage of the distinct keys, or of their bytes.
    Percent(f64),
}

/// Why an argument is not a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "use a whole number from 1 up, perhaps with K, M, G or T, which are powers of 1024 (1M or 1MiB is \
     1,048,576, a million is 1000000), or a share such as 5%"
)]
pub(crate) struct CapacityError;

impl FromStr for CapacityArg {
    type Err = CapacityError;

    fn from_str(given: &str) -> Result<Self, CapacityError> {
        if let Some(percent) = given.strip_suffix('%') {
            return percent
                .parse()
                .ok()
                .filter(|percent: &f64| percent.is_finite() && *percent > 0.0)
                .map(CapacityArg::Percent)
                .ok_or(CapacityError);
        }
        let digits = given.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit: u64 = match given[digits.len()..].to_ascii_uppercase().as_str() {
            "" => 1,
            "K" | "KIB" => 1 << 10,
            "M" | "MIB" => 1 << 20,
            "G" | "GIB" => 1 << 30,
            "T" | "TIB" => 1 << 40,
            // In particular KB and MB, which some read as powers of 1000.
            _ => return Err(CapacityError),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|&number| number > 0)
            .map(CapacityArg::Absolute)
            .ok_or(CapacityError)
    }
}

impl fmt::Display for CapacityArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapacityArg::Absolute(number) => write!(f, "{number}"),
            CapacityArg::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl CapacityArg {
    /// The capacity for a trace whose keys fill `footprint` entries or bytes; at least 1.
    pub(crate) fn resolve(self, footprint: u64) -> u64 {
        match self {
            CapacityArg::Absolute(number) => number,
            // Saturates; a capacity needs no more than the 53 bits that a float keeps exactly.
            CapacityArg::Percent(percent) => {
                ((footprint as f64 * percent / 100.0).round() as u64).max(1)
            }
        }
    }
}

/// All capacities for a trace, ascending and without duplicates.
pub(crate) fn resolve_all(asked: &[CapacityArg], footprint: u64) -> Vec<u64> {
    let mut capacities: Vec<u64> =
        asked.iter().map(|capacity| capacity.resolve(footprint)).collect();
    capacities.sort_unstable();
    capacities.dedup();
    capacities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_units_and_shares_are_understood() {
        assert_eq!("1000".parse(), Ok(CapacityArg::Absolute(1000)));
        assert_eq!("64K".parse(), Ok(CapacityArg::Absolute(65_536)));
        assert_eq!("2m".parse(), Ok(CapacityArg::Absolute(2 << 20)));
        assert_eq!("3G".parse(), Ok(CapacityArg::Absolute(3 << 30)));
        assert_eq!("5T".parse(), Ok(CapacityArg::Absolute(5 << 40)));
        assert_eq!("5MiB".parse(), Ok(CapacityArg::Absolute(5 << 20)));
        assert_eq!("0.5%".parse(), Ok(CapacityArg::Percent(0.5)));
    }

    #[test]
    fn capacities_of_zero_and_malformed_ones_are_refused() {
        for given in [
            "",
            "0",
            "0K",
            "-1",
            "K",
            "%",
            "0%",
            "-5%",
            "inf%",
            "NaN%",
            "1.5",
            "5P",
            "5MB",
            "5Mi",
            "17179869184G",
        ] {
            assert_eq!(given.parse::<CapacityArg>(), Err(CapacityError), "{given}");
        }
    }

    #[test]
    fn a_share_of_few_keys_still_holds_one() {
        assert_eq!(CapacityArg::Percent(1.0).resolve(10), 1);
        assert_eq!(CapacityArg::Percent(25.0).resolve(10), 3);
        let asked = ["25%", "1%", "5%", "7"].map(|text| text.parse().unwrap());
        assert_eq!(resolve_all(&asked, 10), [1, 3, 7]);
    }
}
