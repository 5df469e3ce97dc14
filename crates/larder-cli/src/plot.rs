//! Miss-ratio curves as SVG: a panel for each trace, a curve for each policy.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use indicatif::HumanBytes;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::error::{CommandError, PlotError};
use crate::harmless::harmless;

const PANEL_PIXELS: (u32, u32) = (980, 540);

/// The width of the legend, which is beside the curves and so covers none of them.
const LEGEND_PIXELS: u32 = 190;

/// The height of a row of the legend, and the length of the line before its name.
const LEGEND_ROW_PIXELS: i32 = 22;
const LEGEND_LINE_PIXELS: i32 = 34;

/// The position of the legend's first row, beside the upper end of the curves.
const LEGEND_TOP_PIXELS: i32 = 56;

/// The longest title that fits the width of the plot.
const MAX_TITLE_CHARS: usize = 60;

const LINE_PIXELS: u32 = 1;

/// If a curve has fewer points than this, each point gets a dot.
const MAX_DOTTED: usize = 25;

/// The most numbers that fit below the axis without overlapping.
const MAX_TICKS: usize = 10;

/// Paul Tol's muted colours, which can be told apart with any colour vision; without the yellow,
/// which is hard to see on white. Black is for the bound.
const COLOURS: [RGBColor; 8] = [
    RGBColor(51, 34, 136),
    RGBColor(204, 102, 119),
    RGBColor(17, 119, 51),
    RGBColor(170, 68, 153),
    RGBColor(153, 153, 51),
    RGBColor(136, 204, 238),
    RGBColor(68, 170, 153),
    RGBColor(136, 34, 85),
];

/// The pixels of a dash and of the gap after it; a line that covers another shows it in the gaps.
/// Their number has no factor in common with that of the colours, so that pairs of both repeat as
/// late as possible.
const DASHES: [Option<(u32, u32)>; 5] =
    [None, Some((10, 4)), Some((3, 3)), Some((18, 4)), Some((6, 9))];

/// The curves of one trace.
#[derive(Debug)]
pub(crate) struct Panel {
    title: String,
    is_in_bytes: bool,
    curves: Vec<Curve>,
}

/// The curve of one policy.
#[derive(Debug)]
struct Curve {
    policy: String,
    is_bound: bool,
    /// Pairs of capacity and miss ratio, ordered by capacity.
    points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stroke {
    colour: RGBColor,
    dash: Option<(u32, u32)>,
}

impl Stroke {
    /// The stroke of the curve with that index; no two of thirty are alike.
    fn of(index: usize, is_bound: bool) -> Self {
        if is_bound {
            return Stroke { colour: BLACK, dash: None };
        }
        Stroke { colour: COLOURS[index % COLOURS.len()], dash: DASHES[index % DASHES.len()] }
    }

    fn style(self) -> ShapeStyle {
        self.colour.stroke_width(LINE_PIXELS)
    }
}

impl Panel {
    pub(crate) fn new(title: &str, is_in_bytes: bool) -> Self {
        Panel { title: harmless(title), is_in_bytes, curves: Vec::new() }
    }

    /// Adds a point to the curve of `policy`.
    pub(crate) fn add(&mut self, policy: &str, is_bound: bool, capacity: u64, hit_ratio: f64) {
        let point = (capacity as f64, 1.0 - hit_ratio);
        match self.curves.iter_mut().find(|curve| curve.policy == policy) {
            Some(curve) => curve.points.push(point),
            None => {
                let policy = policy.to_owned();
                self.curves.push(Curve { policy, is_bound, points: vec![point] });
            }
        }
    }
}

/// Draws all panels, one above the other, and returns the SVG document.
pub(crate) fn miss_ratio_curves(panels: &[Panel]) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let rows = panels.len().max(1);
        let height = PANEL_PIXELS.1.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX));
        let root = SVGBackend::with_string(&mut svg, (PANEL_PIXELS.0, height)).into_drawing_area();
        root.fill(&WHITE)?;
        for (area, panel) in root.split_evenly((rows, 1)).iter().zip(panels) {
            draw(area, panel)?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Result<(), PlotError> {
    let (chart_area, legend) = area.split_horizontally(PANEL_PIXELS.0 - LEGEND_PIXELS);
    let axis = CapacityAxis::of(panel);
    let ratios = panel.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
    // The axis starts at 0, so that heights can be compared, and ends at the next tenth.
    let top = ((ratios.fold(0.0, f64::max) * 10.0).ceil() / 10.0).max(0.1);
    let mut chart = ChartBuilder::on(&chart_area)
        .caption(format!("Miss ratio of {}", tail(&panel.title)), ("sans-serif", 20))
        .margin(16)
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
    for (index, curve) in panel.curves.iter().enumerate() {
        let stroke = Stroke::of(index, curve.is_bound);
        if curve.points.len() < MAX_DOTTED {
            let points = curve.points.iter().copied();
            chart.draw_series(
                points.map(|point| Circle::new(point, 2 * LINE_PIXELS, stroke.colour.filled())),
            )?;
        }
        let (points, style) = (curve.points.iter().copied(), stroke.style());
        match stroke.dash {
            None => {
                chart.draw_series(LineSeries::new(points, style))?;
            }
            Some((dash, gap)) => {
                chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?;
            }
        }
    }
    draw_legend(&legend, panel)
}

/// The end of a name that is too long: the end of a path distinguishes it from others.
fn tail(title: &str) -> String {
    let chars = title.chars().count();
    match chars.checked_sub(MAX_TITLE_CHARS) {
        None | Some(0) => title.to_owned(),
        Some(more) => format!("…{}", title.chars().skip(more + 1).collect::<String>()),
    }
}

/// Draws a row for each curve, the one with the most misses first, in the order in which the curves
/// lie.
fn draw_legend(area: &DrawingArea<SVGBackend<'_>, Shift>, panel: &Panel) -> Result<(), PlotError> {
    let height = |curve: &Curve| {
        curve.points.iter().map(|point| point.1).sum::<f64>() / curve.points.len().max(1) as f64
    };
    let mut curves: Vec<(usize, &Curve)> = panel.curves.iter().enumerate().collect();
    curves.sort_by(|(_, one), (_, other)| height(other).total_cmp(&height(one)));
    for ((index, curve), row) in curves.into_iter().zip(0..) {
        let stroke = Stroke::of(index, curve.is_bound);
        let y = LEGEND_TOP_PIXELS + row * LEGEND_ROW_PIXELS;
        let mut from = 0;
        let (dash, gap) = stroke.dash.unwrap_or((LEGEND_LINE_PIXELS as u32, 1));
        while from < LEGEND_LINE_PIXELS {
            let to = (from + dash as i32).min(LEGEND_LINE_PIXELS);
            area.draw(&PathElement::new([(from, y), (to, y)], stroke.style()))?;
            from = to + gap as i32;
        }
        let at = (LEGEND_LINE_PIXELS + 8, y - 7);
        area.draw(&Text::new(curve.policy.clone(), at, ("sans-serif", 15)))?;
    }
    Ok(())
}

/// Refuses a plot file that already exists, unless `force` is set, and one that cannot be written.
/// This is checked before the run, so that a long run is not wasted.
pub(crate) fn check_target(path: &Path, force: bool) -> Result<(), CommandError> {
    let failed = || CommandError::write(path.display().to_string());
    match path.symlink_metadata() {
        Ok(_) if !force => Err(PlotError::Exists { file: path.to_owned() }.into()),
        // Opening a pipe would wait for its reader, and a device would interpret the bytes.
        Ok(_) if !path.is_file() => Err(PlotError::NotAFile { file: path.to_owned() }.into()),
        Ok(_) => OpenOptions::new().write(true).open(path).map(drop).map_err(failed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The file is created and removed again: there is no other way to find out whether it
            // can be created.
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            made.and_then(|_| std::fs::remove_file(path)).map_err(failed())
        }
        Err(error) => Err(failed()(error)),
    }
}

/// Writes a plot; a file that was created in the meantime is kept unless `force` is set.
pub(crate) fn write(path: &Path, svg: &str, force: bool) -> Result<(), CommandError> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(force).create(force).create_new(!force);
    options
        .open(path)
        .and_then(|mut file| file.write_all(svg.as_bytes()))
        .map_err(CommandError::write(path.display().to_string()))
}

/// The horizontal axis: its ticks are the measured capacities, and it is logarithmic if they span
/// more than a decade.
struct CapacityAxis {
    range: Range<f64>,
    ticks: Vec<f64>,
    is_logarithmic: bool,
    is_in_bytes: bool,
}

impl CapacityAxis {
    fn of(panel: &Panel) -> Self {
        let points = panel.curves.iter().flat_map(|curve| &curve.points);
        let mut ticks: Vec<f64> = points.map(|point| point.0).collect();
        ticks.sort_unstable_by(f64::total_cmp);
        ticks.dedup();
        let first = ticks.first().copied().unwrap_or(1.0);
        let last = ticks.last().copied().unwrap_or(1.0);
        let is_logarithmic = last > 10.0 * first;
        // There is room on both sides, so that no point lies on the frame; a single point is in the
        // middle.
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

    fn panel(title: &str, points: &[(&str, u64, f64)]) -> Panel {
        let mut panel = Panel::new(title, false);
        for &(policy, capacity, hit_ratio) in points {
            panel.add(policy, false, capacity, hit_ratio);
        }
        panel
    }

    #[test]
    fn the_picture_names_traces_policies_and_axes() {
        let points = [("lru", 10, 0.1), ("sieve", 10, 0.2), ("lru", 20, 0.5)];
        let svg = miss_ratio_curves(&[panel("a<b>&c", &points), panel("second", &[])]);
        let svg = svg.unwrap();
        for text in
            ["a&lt;b&gt;&amp;c", "second", "lru", "sieve", "miss ratio", "capacity (entries)"]
        {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
    }

    #[test]
    fn the_axis_is_logarithmic_beyond_a_decade() {
        let axis = |last| CapacityAxis::of(&panel("t", &[("lru", 10, 0.1), ("lru", last, 0.1)]));
        assert!(!axis(100).is_logarithmic);
        assert!(axis(101).is_logarithmic);
        let wide = axis(1000);
        assert_eq!(wide.map(&100.0, (0, 1000)), 500);
        assert_eq!((wide.format_ext(&1000.0), wide.ticks), ("1,000".into(), vec![10.0, 1000.0]));
    }

    #[test]
    fn no_two_lines_of_thirty_are_drawn_alike() {
        let strokes: Vec<Stroke> = (0..30).map(|index| Stroke::of(index, false)).collect();
        for (index, stroke) in strokes.iter().enumerate() {
            assert!(!strokes[..index].contains(stroke), "{index}: {stroke:?}");
            assert_ne!(*stroke, Stroke::of(index, true));
        }
    }

    #[test]
    fn a_long_title_is_cut_in_front() {
        assert_eq!(tail("a"), "a");
        let (fits, long) = ("é".repeat(MAX_TITLE_CHARS), "é".repeat(500) + "/t.csv");
        assert_eq!(tail(&fits), fits);
        assert_eq!(tail(&long).chars().count(), MAX_TITLE_CHARS);
        assert!(tail(&long).starts_with("…é") && tail(&long).ends_with("/t.csv"));
    }

    #[test]
    fn the_legend_is_beside_the_curves() {
        let svg =
            miss_ratio_curves(&[panel("t", &[("lru", 10, 0.1), ("lru", 1000, 0.9)])]).unwrap();
        let number = |text: &str| text.split('"').next().unwrap().parse::<u32>().unwrap();
        // The caption is in the middle, the axis and its numbers are at the left, and dots end the
        // curve.
        let dots = svg.split("<circle cx=\"").skip(1).map(number).max().unwrap();
        let name = svg.split("<text x=\"").find(|text| text.contains("\nlru\n")).map(number);
        assert!(name.unwrap() > dots && dots < PANEL_PIXELS.0 - LEGEND_PIXELS, "{svg}");
    }

    #[test]
    fn an_existing_plot_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        check_target(&path, false).unwrap();
        assert!(!path.exists());
        write(&path, "new", false).unwrap();
        let failure = check_target(&path, false).unwrap_err();
        assert!(failure.to_string().contains("exists already; pass --force"), "{failure}");
        assert!(write(&path, "late", false).is_err());
        check_target(&path, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        write(&path, "x", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(check_target(folder.path(), true).is_err(), "a folder");
        assert!(check_target(&folder.path().join("no/such/a.svg"), false).is_err());
    }

    #[test]
    fn extreme_figures_still_give_a_plot() {
        for points in [
            vec![("lru", 1, 0.0)],
            vec![("lru", 1, 1.0), ("lru", u64::MAX, 1.0)],
            (1..200).map(|capacity| ("lru", capacity, 0.5)).collect(),
        ] {
            assert!(miss_ratio_curves(&[panel("t", &points)]).unwrap().ends_with("</svg>\n"));
        }
        assert!(miss_ratio_curves(&[]).is_ok());
    }
}
