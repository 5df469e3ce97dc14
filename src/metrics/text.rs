//! The two text formats: that of Prometheus, version 0.0.4, and OpenMetrics 1.0.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::family::{Families, Family, MetricSample, SampleValue};
use super::kind::FamilyKind;

/// The media type of the text format of Prometheus, version 0.0.4.
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type of OpenMetrics 1.0.
pub const OPENMETRICS_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A text format of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exposition {
    /// The text format of Prometheus, version 0.0.4, which everything that scrapes can read. Default.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// The format that the `Accept` header of a request prefers. If it names neither, that is
    /// [`Prometheus`](Self::Prometheus), which every scraper reads.
    ///
    /// # Examples
    /// ```
    /// use larder::metrics::Exposition;
    ///
    /// let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    /// assert_eq!(Exposition::for_accept(accept), Exposition::OpenMetrics);
    /// assert_eq!(Exposition::for_accept("*/*"), Exposition::Prometheus);
    /// ```
    #[must_use]
    pub fn for_accept(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut is_known) = (1.0_f32, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    "version" => is_known = value.trim().trim_matches('"') == "1.0.0",
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if is_known => open = weight.max(open),
                "text/plain" | "text/*" | "*/*" => plain = weight.max(plain),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type, for the `Content-Type` header of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => PROMETHEUS_CONTENT_TYPE,
            Self::OpenMetrics => OPENMETRICS_CONTENT_TYPE,
        }
    }
}

impl Families {
    /// All families as text. Families without samples are left out.
    #[must_use]
    pub fn encode(&self, format: Exposition) -> String {
        let mut writer = TextWriter { out: String::new(), format };
        for family in self.iter().filter(|family| !family.samples().is_empty()) {
            writer.family(family);
        }
        if format == Exposition::OpenMetrics {
            writer.out.push_str("# EOF\n");
        }
        writer.out
    }
}

struct TextWriter {
    out: String,
    format: Exposition,
}

impl TextWriter {
    fn family(&mut self, family: &Family) {
        let (kind, name) = match (self.format, family.kind()) {
            (Exposition::Prometheus, FamilyKind::Counter) => {
                ("counter", format!("{}_total", family.name()))
            }
            // There are no infos in this format.
            (Exposition::Prometheus, FamilyKind::Info) => {
                ("gauge", format!("{}_info", family.name()))
            }
            (_, FamilyKind::Counter) => ("counter", family.name().to_owned()),
            (_, FamilyKind::Gauge) => ("gauge", family.name().to_owned()),
            (_, FamilyKind::Histogram) => ("histogram", family.name().to_owned()),
            (_, FamilyKind::Info) => ("info", family.name().to_owned()),
        };
        self.words(&["# HELP ", &name, " "]);
        self.escaped(family.help(), self.format == Exposition::OpenMetrics);
        self.words(&["\n# TYPE ", &name, " ", kind, "\n"]);
        if let (Exposition::OpenMetrics, Some(unit)) = (self.format, family.unit_name()) {
            self.words(&["# UNIT ", &name, " ", unit, "\n"]);
        }
        for sample in family.samples() {
            self.sample(family, sample);
        }
    }

    fn sample(&mut self, family: &Family, sample: &MetricSample) {
        let name = family.name();
        match sample.value() {
            SampleValue::Histogram(counts) => {
                let buckets = counts.buckets().iter().copied();
                for (bound, count) in buckets.chain([(f64::INFINITY, counts.count())]) {
                    self.start(name, "_bucket", sample, Some(bound));
                    self.value(&SampleValue::Whole(count));
                }
                // To OpenMetrics a sum is a counter, and a number of values goes with a sum alone.
                if self.format == Exposition::OpenMetrics && counts.has_negative() {
                    return;
                }
                self.start(name, "_sum", sample, None);
                self.value(&SampleValue::Real(counts.sum()));
                self.start(name, "_count", sample, None);
                self.value(&SampleValue::Whole(counts.count()));
            }
            value => {
                let suffix = match family.kind() {
                    FamilyKind::Counter => "_total",
                    FamilyKind::Info => "_info",
                    FamilyKind::Gauge | FamilyKind::Histogram => "",
                };
                self.start(name, suffix, sample, None);
                self.value(value);
            }
        }
    }

    /// Writes the name and the labels of a line.
    fn start(&mut self, name: &str, suffix: &str, sample: &MetricSample, bound: Option<f64>) {
        self.words(&[name, suffix]);
        let mut before = "{";
        for (label, text) in sample.labels() {
            self.words(&[before, label, "=\""]);
            self.escaped(text, true);
            self.out.push('"');
            before = ",";
        }
        if let Some(bound) = bound {
            self.words(&[before, "le=\"", &number(bound), "\""]);
            before = ",";
        }
        if before == "," {
            self.out.push('}');
        }
    }

    fn value(&mut self, value: &SampleValue) {
        self.out.push(' ');
        match value {
            SampleValue::Whole(whole) => {
                write!(self.out, "{whole}").expect("a string takes everything");
            }
            SampleValue::Real(real) => self.out.push_str(&number(*real)),
            SampleValue::Info | SampleValue::Histogram(_) => self.out.push('1'),
        }
        self.out.push('\n');
    }

    fn words(&mut self, words: &[&str]) {
        self.out.extend(words.iter().copied());
    }

    fn escaped(&mut self, text: &str, with_quotes: bool) {
        for letter in text.chars() {
            match letter {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if with_quotes => self.out.push_str("\\\""),
                _ => self.out.push(letter),
            }
        }
    }
}

/// A number as OpenMetrics recommends it, so that a bound is the same text wherever it was written.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.25, "0.25"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (0.000_025, "2.5e-05"),
            (604_800.0, "604800.0"),
            (2_592_000.0, "2.592e+06"),
            (-1e10, "-1e+10"),
            (1e300, "1e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
            let read: f64 = text.parse().unwrap();
            assert!(read == value || value.is_nan());
        }
    }

    #[test]
    fn the_format_is_the_one_that_the_request_prefers() {
        for (accept, format) in [
            ("", Exposition::Prometheus),
            ("text/html", Exposition::Prometheus),
            ("*/*", Exposition::Prometheus),
            ("application/openmetrics-text", Exposition::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Exposition::Prometheus),
            ("application/openmetrics-text;q=0", Exposition::Prometheus),
            ("application/openmetrics-text;q=nonsense", Exposition::Prometheus),
            (
                "text/plain;version=0.0.4, application/openmetrics-text;q=0.9",
                Exposition::Prometheus,
            ),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8, */*",
                Exposition::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Exposition::OpenMetrics,
            ),
        ] {
            assert_eq!(Exposition::for_accept(accept), format, "{accept}");
        }
    }
}
