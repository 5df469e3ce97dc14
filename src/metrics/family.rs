//! Metrics as data: families of samples, and what makes them valid.
//!
//! A family that exists is valid: its name, unit and labels can be written in both formats, no two of its samples
//! have the same labels, and no two families of one set write lines of the same name, because a name does not end
//! with anything that the formats add to names.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::error::MetricsError;
use super::kind::FamilyKind;
use crate::base::histogram::TimeCounts;

/// What the formats add to names.
const SUFFIXES: [&str; 8] =
    ["_total", "_count", "_sum", "_bucket", "_info", "_created", "_gcount", "_gsum"];

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleValue {
    /// A whole number, for a counter or a gauge.
    Whole(u64),
    /// Any number, for a counter or a gauge.
    Real(f64),
    /// The buckets of a histogram.
    Histogram(BucketCounts),
    /// Nothing: an info has only labels.
    Info,
}

impl fmt::Display for SampleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Real(real) => real.fmt(f),
            Self::Histogram(counts) => write!(f, "of a histogram of {} values", counts.count),
            Self::Info => f.write_str("of an info"),
        }
    }
}

impl From<u64> for SampleValue {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for SampleValue {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<usize> for SampleValue {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for SampleValue {
    /// 0 or 1.
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<Duration> for SampleValue {
    /// In seconds.
    fn from(value: Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl From<BucketCounts> for SampleValue {
    fn from(value: BucketCounts) -> Self {
        Self::Histogram(value)
    }
}

impl From<&TimeCounts> for SampleValue {
    /// In seconds.
    fn from(value: &TimeCounts) -> Self {
        Self::Histogram(value.into())
    }
}

/// The buckets of a histogram, each with the number of values that are at most its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketCounts {
    buckets: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl BucketCounts {
    /// The buckets of `count` values with the sum `sum`. Each bucket has a finite bound, and the number of values
    /// that are at most that; the bucket without a bound is not among them, because it holds all.
    ///
    /// Where a bound or the sum is negative, OpenMetrics allows neither sum nor count, so its text has the buckets alone.
    ///
    /// # Errors
    /// [`MetricsError::BadBuckets`] if the bounds do not increase or are not finite, the numbers decrease or exceed
    /// `count`, or the sum is not finite.
    ///
    /// # Examples
    /// ```
    /// use larder::metrics::BucketCounts;
    ///
    /// assert!(BucketCounts::new(vec![(1.0, 3), (10.0, 5)], 6, 123.0).is_ok());
    /// assert!(BucketCounts::new(vec![(1.0, 3), (10.0, 2)], 6, 123.0).is_err());
    /// ```
    pub fn new(buckets: Vec<(f64, u64)>, count: u64, sum: f64) -> Result<Self, MetricsError> {
        let bad = |reason| Err(MetricsError::BadBuckets { reason });
        if !buckets.iter().all(|(bound, _)| bound.is_finite()) || !sum.is_finite() {
            return bad("a bound or the sum is not finite");
        }
        if !buckets.is_sorted_by(|one, next| one.0 < next.0) {
            return bad("the bounds do not increase");
        }
        let counts = buckets.iter().map(|(_, count)| *count).chain([count]);
        if !counts.is_sorted() {
            return bad("a bucket holds fewer values than a smaller one, or more than there are");
        }
        Ok(Self { buckets, count, sum })
    }

    /// The bounds, and how many values are at most that; without the bucket that holds all.
    #[must_use]
    pub fn buckets(&self) -> &[(f64, u64)] {
        &self.buckets
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Whether it is known to hold negative values.
    pub(super) fn has_negative(&self) -> bool {
        self.sum < 0.0 || self.buckets.first().is_some_and(|(bound, _)| *bound < 0.0)
    }
}

impl From<&TimeCounts> for BucketCounts {
    /// In seconds.
    fn from(counts: &TimeCounts) -> Self {
        let bounded = |(bound, count): (Option<Duration>, u64)| Some((bound?.as_secs_f64(), count));
        Self {
            buckets: counts.buckets().filter_map(bounded).collect(),
            count: counts.count(),
            sum: counts.sum_seconds(),
        }
    }
}

/// One sample of a family: its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    labels: Vec<(String, String)>,
    value: SampleValue,
}

impl MetricSample {
    /// The names and values of the labels.
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &SampleValue {
        &self.value
    }
}

/// All samples of one metric.
///
/// # Examples
/// ```
/// use larder::metrics::{Exposition, Families};
///
/// let mut families = Families::new();
/// let commands = families.counter("larder_server_commands", "Commands that were executed.")?;
/// commands.add(&[("command", "get")], 5_u64)?.add(&[("command", "set")], 2_u64)?;
/// let text = families.encode(Exposition::Prometheus);
/// assert!(text.contains("larder_server_commands_total{command=\"get\"} 5\n"));
/// # Ok::<(), larder::metrics::MetricsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Family {
    name: String,
    help: String,
    unit: Option<String>,
    kind: FamilyKind,
    samples: Vec<MetricSample>,
    /// The labels of all samples, each in the order of their names.
    seen: HashSet<Vec<(String, String)>>,
}

impl Family {
    fn new(kind: FamilyKind, name: &str, help: &str) -> Result<Self, MetricsError> {
        let given = || name.to_owned();
        if !is_name(name) {
            return Err(MetricsError::BadName { given: given() });
        }
        if let Some(suffix) = SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix)) {
            return Err(MetricsError::ReservedSuffix { given: given(), suffix });
        }
        Ok(Self {
            name: given(),
            help: help.to_owned(),
            unit: None,
            kind,
            samples: Vec::new(),
            seen: HashSet::new(),
        })
    }

    /// Names the unit of the values, such as `seconds` or `bytes`. The family's name has to end with it.
    ///
    /// # Errors
    /// [`MetricsError::BadUnit`] if it does not, or if the family is an info, and
    /// [`MetricsError::Conflict`] if the family has another unit.
    pub fn unit(&mut self, unit: &str) -> Result<&mut Self, MetricsError> {
        let stem = self.name.strip_suffix(unit).and_then(|stem| stem.strip_suffix('_'));
        if !is_name(unit) || stem.is_none_or(str::is_empty) || self.kind == FamilyKind::Info {
            return Err(MetricsError::BadUnit { name: self.name.clone(), unit: unit.to_owned() });
        }
        match &self.unit {
            Some(present) if present != unit => {
                Err(MetricsError::Conflict { name: self.name.clone(), kind: self.kind })
            }
            _ => {
                self.unit = Some(unit.to_owned());
                Ok(self)
            }
        }
    }

    /// Adds a sample. The labels say what it is of; their values may be any text.
    ///
    /// # Errors
    /// [`MetricsError`] if a label's name is not valid, if there is a sample with these labels already, or if the value
    /// does not fit the [kind](FamilyKind). The family has not changed in that case.
    pub fn add(
        &mut self,
        labels: &[(&str, &str)],
        value: impl Into<SampleValue>,
    ) -> Result<&mut Self, MetricsError> {
        let value = value.into();
        let mut sorted: Vec<(String, String)> =
            labels.iter().map(|&(label, text)| (label.to_owned(), text.to_owned())).collect();
        let given = sorted.clone();
        sorted.sort_unstable();
        let is_reserved = |label: &str| self.kind == FamilyKind::Histogram && label == "le";
        let mut names = sorted.iter().map(|(label, _)| label.as_str());
        let is_repeated =
            |label: &str| sorted.iter().filter(|(other, _)| other == label).count() > 1;
        if let Some(bad) =
            names.find(|label| !is_name(label) || is_reserved(label) || is_repeated(label))
        {
            return Err(MetricsError::BadLabel { name: self.name.clone(), label: bad.to_owned() });
        }
        if !self.takes(&value) {
            let given = value.to_string();
            return Err(MetricsError::BadValue { name: self.name.clone(), kind: self.kind, given });
        }
        // To the formats, a label with an empty value does not exist.
        sorted.retain(|(_, text)| !text.is_empty());
        if self.seen.contains(&sorted) {
            let labels = format!("{given:?}");
            return Err(MetricsError::Duplicate { name: self.name.clone(), labels });
        }
        self.seen.insert(sorted);
        self.samples.push(MetricSample { labels: given, value });
        Ok(self)
    }

    fn takes(&self, value: &SampleValue) -> bool {
        match (self.kind, value) {
            (FamilyKind::Counter, SampleValue::Real(value)) => value.is_finite() && *value >= 0.0,
            (FamilyKind::Counter | FamilyKind::Gauge, SampleValue::Whole(_))
            | (FamilyKind::Gauge, SampleValue::Real(_))
            | (FamilyKind::Histogram, SampleValue::Histogram(_))
            | (FamilyKind::Info, SampleValue::Info) => true,
            _ => false,
        }
    }

    /// Whether a sample is a number that is not whole, as a counter of seconds has.
    #[cfg(feature = "metrics_facade")]
    pub(super) fn has_fractions(&self) -> bool {
        self.samples.iter().any(|sample| matches!(sample.value, SampleValue::Real(_)))
    }

    /// The name, without what the formats add to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the metric is, in words.
    #[must_use]
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The unit of the values, if it was named.
    #[must_use]
    pub fn unit_name(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> FamilyKind {
        self.kind
    }

    /// The samples, in the order in which they were added.
    #[must_use]
    pub fn samples(&self) -> &[MetricSample] {
        &self.samples
    }
}

/// A set of families with different names: what one scrape returns.
#[derive(Clone, Debug, Default)]
pub struct Families {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

impl Families {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of that name, which is added if there is none. Its name is given without `_total`.
    ///
    /// # Errors
    /// [`MetricsError`] if the name is not valid, or the family of that name is of another kind. If the family is
    /// there, its help stays as it is.
    pub fn counter(&mut self, name: &str, help: &str) -> Result<&mut Family, MetricsError> {
        self.family(FamilyKind::Counter, name, help)
    }

    /// The gauge of that name, which is added if there is none.
    ///
    /// # Errors
    /// As those of [`counter`](Self::counter).
    pub fn gauge(&mut self, name: &str, help: &str) -> Result<&mut Family, MetricsError> {
        self.family(FamilyKind::Gauge, name, help)
    }

    /// The histogram of that name, which is added if there is none.
    ///
    /// # Errors
    /// As those of [`counter`](Self::counter).
    pub fn histogram(&mut self, name: &str, help: &str) -> Result<&mut Family, MetricsError> {
        self.family(FamilyKind::Histogram, name, help)
    }

    /// The info of that name, which is added if there is none. Its name is given without `_info`.
    ///
    /// # Errors
    /// As those of [`counter`](Self::counter).
    pub fn info(&mut self, name: &str, help: &str) -> Result<&mut Family, MetricsError> {
        self.family(FamilyKind::Info, name, help)
    }

    pub(super) fn family(
        &mut self,
        kind: FamilyKind,
        name: &str,
        help: &str,
    ) -> Result<&mut Family, MetricsError> {
        let index = match self.by_name.get(name) {
            Some(&index) if self.families[index].kind != kind => {
                let kind = self.families[index].kind;
                return Err(MetricsError::Conflict { name: name.to_owned(), kind });
            }
            Some(&index) => index,
            None => {
                self.families.push(Family::new(kind, name, help)?);
                self.by_name.insert(name.to_owned(), self.families.len() - 1);
                self.families.len() - 1
            }
        };
        Ok(&mut self.families[index])
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Family> {
        self.by_name.get(name).map(|&index| &mut self.families[index])
    }

    /// The families, in the order in which they were added. Some may have no samples.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.families.iter()
    }

    /// The family of that name, which is without what the formats add to it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Family> {
        self.by_name.get(name).map(|&index| &self.families[index])
    }
}

/// Whether a metric, a label or a unit may have this name. Colons are left to recording rules, and two underscores at
/// the beginning to the server.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
