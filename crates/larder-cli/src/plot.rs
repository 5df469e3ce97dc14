//! The miss-ratio curve: a panel a trace, a line a policy, as SVG.

use std::ops::Range;

use indicatif::HumanBytes;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::PlotError;
use crate::report::{TraceReplay, TraceSimulation};
use crate::simulate::Kind;

const PANEL_PIXELS: (u32, u32) = (860, 540);

/// Pixels of a dash and of the gap behind it.
const DASH: (u32, u32) = (8, 5);

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

/// The curves of one trace.
#[derive(Debug)]
pub(crate) struct Panel {
    title: String,
    is_in_bytes: bool,
    lines: Vec<Line>,
}

/// The curve of one policy.
#[derive(Debug)]
struct Line {
    policy: String,
    stroke: Stroke,
    /// Capacity and miss ratio, by capacity.
    points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stroke {
    Solid,
    /// For what is there to compare with.
    Dashed,
}

impl Panel {
    fn new(title: &str, is_in_bytes: bool) -> Self {
        Panel { title: title.to_owned(), is_in_bytes, lines: Vec::new() }
    }

    fn add(&mut self, policy: &str, stroke: Stroke, capacity: u64, hit_ratio: f64) {
        let point = (capacity as f64, 1.0 - hit_ratio);
        match self.lines.iter_mut().find(|line| line.policy == policy) {
            Some(line) => line.points.push(point),
            None => {
                let policy = policy.to_owned();
                self.lines.push(Line { policy, stroke, points: vec![point] });
            }
        }
    }
}

impl From<&TraceReplay> for Panel {
    fn from(of: &TraceReplay) -> Self {
        let is_in_bytes = of.replays.iter().any(|replay| replay.capacity_bytes.is_some());
        let mut panel = Panel::new(&of.trace.name, is_in_bytes);
        for replay in &of.replays {
            panel.add(&replay.policy, Stroke::Solid, replay.capacity(), replay.hit_ratio);
        }
        panel
    }
}

impl From<&TraceSimulation> for Panel {
    fn from(of: &TraceSimulation) -> Self {
        let is_in_bytes = of.simulations.iter().any(|cell| cell.capacity_bytes.is_some());
        let mut panel = Panel::new(&of.trace.name, is_in_bytes);
        for cell in &of.simulations {
            let stroke = if cell.kind == Kind::Larder { Stroke::Solid } else { Stroke::Dashed };
            panel.add(&cell.policy, stroke, cell.capacity(), cell.hit_ratio);
        }
        panel
    }
}

/// Draws the curves of all traces, one above the other, and returns the SVG document.
pub(crate) fn miss_ratio_curves<'a, T>(traces: &'a [T]) -> Result<String, PlotError>
where
    Panel: From<&'a T>,
{
    let mut svg = String::new();
    {
        let panels = traces.len().max(1);
        let height = PANEL_PIXELS.1.saturating_mul(u32::try_from(panels).unwrap_or(u32::MAX));
        let root = SVGBackend::with_string(&mut svg, (PANEL_PIXELS.0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for (panel, trace) in root.split_evenly((panels, 1)).iter().zip(traces) {
            draw(panel, &Panel::from(trace))?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Result<(), PlotError> {
    let axis = CapacityAxis::of(panel);
    let ratios = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    // The axis starts at 0, so that heights compare, and ends at the next tenth.
    let top = ((ratios.fold(0.0, f64::max) * 10.0).ceil() / 10.0).max(0.1);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Miss ratio of {}", panel.title), ("sans-serif", 20))
        .margin(16)
        .margin_right(28)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(axis, 0.0..top)?;
    let unit = if panel.is_in_bytes { "capacity (bytes)" } else { "capacity (entries)" };
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
    for (index, line) in panel.lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        // Good policies lie on top of each other: each is drawn thinner than the one before it,
        // which shows on both sides. More than a few would make the first too fat.
        let width = 2 + (panel.lines.len() - index - 1).min(4) as u32;
        let points = line.points.iter().copied();
        let dots = points.clone().map(|point| Circle::new(point, width + 2, colour.filled()));
        chart.draw_series(dots)?;
        let style = colour.stroke_width(width);
        let drawn = match line.stroke {
            Stroke::Solid => chart.draw_series(LineSeries::new(points, style))?,
            Stroke::Dashed => {
                chart.draw_series(DashedLineSeries::new(points, DASH.0, DASH.1, style))?
            }
        };
        drawn
            .label(&line.policy)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
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

/// The horizontal axis: its ticks are the capacities that were measured, and it is logarithmic
/// when they span more than a decade.
struct CapacityAxis {
    range: Range<f64>,
    ticks: Vec<f64>,
    is_logarithmic: bool,
    is_in_bytes: bool,
}

impl CapacityAxis {
    fn of(panel: &Panel) -> Self {
        let points = panel.lines.iter().flat_map(|line| &line.points);
        let mut ticks: Vec<f64> = points.map(|point| point.0).collect();
        ticks.sort_unstable_by(f64::total_cmp);
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
            is_in_bytes: panel.is_in_bytes,
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
    use crate::report::{Replay, TraceInfo};
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
            times: None,
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
        let axis = |last| {
            let replays = vec![replay("lru", 10, 0.1), replay("lru", last, 0.1)];
            CapacityAxis::of(&Panel::from(&trace("t", replays)))
        };
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
        assert!(miss_ratio_curves::<TraceReplay>(&[]).is_ok());
    }
}
