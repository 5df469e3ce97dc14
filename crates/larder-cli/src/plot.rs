//! The miss-ratio curve: a panel a trace, a line a policy, as SVG.

use std::ops::Range;

use indicatif::HumanBytes;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::PlotError;
use crate::report::{Replay, TraceReplay};

const PANEL_PIXELS: (u32, u32) = (860, 540);

/// More numbers than that below the axis would overlap.
const MAX_TICKS: usize = 9;

/// Okabe and Ito's colours, which people with any colour vision tell apart.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// Draws the curves of all traces, one above the other, and returns the SVG document.
pub(crate) fn miss_ratio_curves(traces: &[TraceReplay]) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let panels = traces.len().max(1);
        let height = PANEL_PIXELS.1.saturating_mul(u32::try_from(panels).unwrap_or(u32::MAX));
        let root = SVGBackend::with_string(&mut svg, (PANEL_PIXELS.0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for (panel, trace) in root.split_evenly((panels, 1)).iter().zip(traces) {
            draw(panel, trace)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn draw(panel: &DrawingArea<SVGBackend<'_>, Shift>, of: &TraceReplay) -> Result<(), PlotError> {
    let axis = CapacityAxis::of(&of.replays);
    let worst = of.replays.iter().map(miss_ratio).fold(0.0, f64::max);
    // The axis starts at 0, so that heights compare, and ends at the next tenth.
    let top = ((worst * 10.0).ceil() / 10.0).max(0.1);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("Miss ratio of {}", of.trace.name), ("sans-serif", 20))
        .margin(16)
        .margin_right(28)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(axis, 0.0..top)?;
    let unit = if of.replays.iter().any(|replay| replay.capacity_bytes.is_some()) {
        "capacity (bytes)"
    } else {
        "capacity (entries)"
    };
    chart
        .configure_mesh()
        .x_desc(unit)
        .y_desc("miss ratio")
        .x_labels(MAX_TICKS)
        .y_labels(11)
        .y_label_formatter(&|ratio| format!("{:.0} %", 100.0 * ratio))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let policies = policies(&of.replays);
    for (index, policy) in policies.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<(f64, f64)> = of
            .replays
            .iter()
            .filter(|replay| replay.policy == *policy)
            .map(|replay| (replay.capacity() as f64, miss_ratio(replay)))
            .collect();
        // Good policies lie on top of each other: each is drawn thinner than the one before it,
        // which shows on both sides. More than a few would make the first too fat.
        let width = 2 + (policies.len() - index - 1).min(4) as u32;
        let dots = points.iter().map(|&point| Circle::new(point, width + 2, colour.filled()));
        chart.draw_series(dots)?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(width)))?
            .label(*policy)
            .legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width))
            });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(12)
        .label_font(("sans-serif", 15))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

fn miss_ratio(replay: &Replay) -> f64 {
    1.0 - replay.hit_ratio
}

/// Each policy once, in the order of the replays.
fn policies(replays: &[Replay]) -> Vec<&str> {
    let mut policies: Vec<&str> = Vec::new();
    for replay in replays {
        if !policies.contains(&replay.policy.as_str()) {
            policies.push(&replay.policy);
        }
    }
    policies
}

/// The horizontal axis: its ticks are the capacities that were measured, and it is logarithmic
/// when they span more than a decade.
struct CapacityAxis {
    range: Range<f64>,
    ticks: Vec<f64>,
    is_logarithmic: bool,
    is_in_bytes: bool,
}

impl CapacityAxis {
    fn of(replays: &[Replay]) -> Self {
        let mut ticks: Vec<f64> = replays.iter().map(|replay| replay.capacity() as f64).collect();
        ticks.dedup();
        let first = ticks.first().copied().unwrap_or(1.0);
        let last = ticks.last().copied().unwrap_or(1.0);
        let is_logarithmic = last > 10.0 * first;
        // Room on both sides, so that no point sits on the frame; a single one gets the middle.
        let range = if first == last {
            0.0..2.0 * first
        } else if is_logarithmic {
            let room = (last / first).powf(0.04);
            first / room..last * room
        } else {
            let room = (last - first) * 0.04;
            first - room..last + room
        };
        let every = ticks.len().div_ceil(MAX_TICKS).max(1);
        CapacityAxis {
            range,
            ticks: ticks.into_iter().step_by(every).collect(),
            is_logarithmic,
            is_in_bytes: replays.iter().any(|replay| replay.capacity_bytes.is_some()),
        }
    }
}

impl Ranged for CapacityAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        if self.is_logarithmic {
            RangedCoordf64::from(start.ln()..end.ln()).map(&value.ln(), limit)
        } else {
            RangedCoordf64::from(start..end).map(value, limit)
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for CapacityAxis {
    fn format_ext(&self, value: &f64) -> String {
        if self.is_in_bytes {
            HumanBytes(*value as u64).to_string()
        } else {
            indicatif::HumanCount(*value as u64).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TraceInfo;
    use crate::trace::Format;

    fn replay(policy: &str, capacity: u64, hit_ratio: f64) -> Replay {
        Replay {
            policy: policy.into(),
            capacity_entries: Some(capacity),
            capacity_bytes: None,
            capacity_share: 0.0,
            partitions: 1,
            requests: 1000,
            hits: 0,
            hit_ratio,
            evictions: 0,
            rejections: 0,
            elapsed_seconds: 1.0,
            ops_per_second: 1.0,
            latency_samples: 1,
            p50_ns: 1,
            p99_ns: 1,
            p999_ns: 1,
        }
    }

    fn trace(name: &str, replays: Vec<Replay>) -> TraceReplay {
        let trace = TraceInfo {
            name: name.into(),
            format: Format::U32,
            requests: 1000,
            distinct_keys: 100,
            one_hit_wonders: 0,
            footprint_bytes: None,
            ttl: None,
        };
        TraceReplay { trace, replays }
    }

    #[test]
    fn the_picture_names_traces_policies_and_axes() {
        let replays =
            vec![replay("lru", 10, 0.1), replay("sieve", 10, 0.2), replay("lru", 20, 0.5)];
        let svg = miss_ratio_curves(&[trace("a<b>&c", replays), trace("second", Vec::new())]);
        let svg = svg.unwrap();
        for text in
            ["a&lt;b&gt;&amp;c", "second", "lru", "sieve", "miss ratio", "capacity (entries)"]
        {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
    }

    #[test]
    fn the_axis_is_logarithmic_beyond_a_decade() {
        let axis = |last| CapacityAxis::of(&[replay("lru", 10, 0.1), replay("lru", last, 0.1)]);
        assert!(!axis(100).is_logarithmic);
        assert!(axis(101).is_logarithmic);
        let wide = axis(1000);
        assert_eq!(wide.map(&100.0, (0, 1000)), 500);
        assert_eq!((wide.format_ext(&1000.0), wide.ticks), ("1,000".into(), vec![10.0, 1000.0]));
    }

    #[test]
    fn odd_replays_still_give_a_picture() {
        for replays in [
            vec![replay("lru", 1, 0.0)],
            vec![replay("lru", 1, 1.0), replay("lru", u64::MAX, 1.0)],
            (1..200).map(|capacity| replay("lru", capacity, 0.5)).collect(),
        ] {
            assert!(miss_ratio_curves(&[trace("t", replays)]).unwrap().ends_with("</svg>\n"));
        }
        assert!(miss_ratio_curves(&[]).is_ok());
    }
}
