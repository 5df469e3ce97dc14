//! The results as plots.
//!
//! A contender has one colour and one marker in all plots; this library is red, and its default
//! policy is drawn last, and thick.

use std::error::Error;
use std::ops::Range;

use larder_benches::contender::{Kind, Name};
use larder_benches::report::median;
use larder_benches::rounds::name_of;
use larder_benches::stopwatch::{Percentiles, Verb};
use larder_benches::workload::Workload;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{
    AsRangedCoord, KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter,
};
use plotters::prelude::*;

use crate::markdown::time;
use crate::results::{Results, percentiles};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The size of one panel, and of what stands around all of them.
const PANEL: (u32, u32) = (400, 290);
const TITLE_HEIGHT: u32 = 44;
const LEGEND_ROW: u32 = 22;
const LEGEND_COLUMNS: usize = 6;
const FONT: &str = "sans-serif";
/// The panels of rates in a row.
const COLUMNS: usize = 3;
/// How far values are drawn from the edges of a panel, where the distance of two is 1.
const MARGIN: f64 = 0.15;

/// The latencies that are drawn, if they were recorded; the tables have all of them.
const DRAWN: [(Workload, Verb); 8] = [
    (Workload::Get, Verb::Get),
    (Workload::ReadThrough, Verb::Get),
    (Workload::ReadThrough, Verb::Insert),
    (Workload::Mixed, Verb::Insert),
    (Workload::Insert, Verb::Insert),
    (Workload::Update, Verb::Insert),
    (Workload::Churn, Verb::Remove),
    (Workload::StringReadThrough, Verb::Insert),
];

/// How a contender is drawn: its colour and its marker.
fn look(name: Name) -> (RGBColor, Marker) {
    use Marker::{Cross as X, Dot, Square, Triangle};
    match name {
        Name::Larder => (RGBColor(214, 20, 30), Dot),
        Name::LarderS3Fifo => (RGBColor(255, 120, 80), Square),
        Name::LarderSieve => (RGBColor(255, 90, 140), Triangle),
        Name::LarderLru => (RGBColor(150, 20, 60), X),
        Name::LarderLfu => (RGBColor(230, 130, 130), Dot),
        Name::LarderFifo => (RGBColor(190, 80, 40), Square),
        Name::LarderInline => (RGBColor(255, 60, 0), Triangle),
        Name::LarderFifoCounted => (RGBColor(120, 60, 60), X),
        #[cfg(feature = "peers")]
        Name::Moka => (RGBColor(20, 90, 180), Dot),
        #[cfg(feature = "peers")]
        Name::MiniMoka => (RGBColor(110, 175, 235), Square),
        Name::QuickCache => (RGBColor(20, 140, 50), Triangle),
        #[cfg(feature = "peers")]
        Name::Foyer => (RGBColor(135, 85, 40), X),
        #[cfg(feature = "peers")]
        Name::Tinyufo => (RGBColor(115, 50, 175), Dot),
        #[cfg(feature = "peers")]
        Name::Stretto => (RGBColor(190, 145, 225), Square),
        #[cfg(feature = "peers")]
        Name::Fibre => (RGBColor(0, 150, 160), Triangle),
        #[cfg(feature = "peers")]
        Name::SieveCache => (RGBColor(215, 160, 0), X),
        Name::LruMutex => (RGBColor(150, 150, 150), Dot),
        Name::LruSharded => (RGBColor(70, 70, 70), Square),
        #[cfg(feature = "peers")]
        Name::Cached => (RGBColor(225, 100, 200), Triangle),
        #[cfg(feature = "peers")]
        Name::Scc => (RGBColor(150, 195, 50), X),
        Name::Papaya => (RGBColor(60, 60, 235), Square),
        #[cfg(feature = "peers")]
        Name::Dashmap => (RGBColor(165, 150, 105), Triangle),
    }
}

#[derive(Clone, Copy)]
enum Marker {
    Dot,
    Square,
    Triangle,
    Cross,
}

impl Marker {
    /// The outline of the marker around a point.
    fn outline(self) -> Vec<(i32, i32)> {
        match self {
            Self::Dot => {
                vec![(-3, -1), (-1, -3), (1, -3), (3, -1), (3, 1), (1, 3), (-1, 3), (-3, 1)]
            }
            Self::Square => vec![(-3, -3), (3, -3), (3, 3), (-3, 3)],
            Self::Triangle => vec![(0, -4), (4, 3), (-4, 3)],
            Self::Cross => vec![
                (-4, -2),
                (-2, -4),
                (0, -2),
                (2, -4),
                (4, -2),
                (2, 0),
                (4, 2),
                (2, 4),
                (0, 2),
                (-2, 4),
                (-4, 2),
                (-2, 0),
            ],
        }
    }
}

/// The contenders in the order in which they are drawn: this library last, above the others.
fn in_order(names: &[Name]) -> Vec<Name> {
    let mut names = names.to_vec();
    names.sort_by_key(|name| (name.kind() == Kind::Larder, *name == Name::Larder));
    names
}

fn width_of(name: Name) -> u32 {
    match name.kind() {
        Kind::Larder if name == Name::Larder => 3,
        Kind::Larder => 2,
        Kind::Peer | Kind::Map => 1,
    }
}

/// The rates by number of threads, a panel for each workload.
pub(crate) fn throughput(results: &Results) -> Result<String, Box<dyn Error>> {
    let workloads = results.workloads();
    let columns = COLUMNS.min(workloads.len()).max(1);
    let rows = workloads.len().div_ceil(columns);
    let threads = &results.plan.threads;
    let labels: Vec<String> = threads.iter().map(usize::to_string).collect();
    let title = "Throughput in million operations per second, by threads";
    draw(results, title, (columns, rows), |panels| {
        for (panel, &workload) in panels.iter().zip(&workloads) {
            let lines: Vec<Line> = in_order(&results.contenders(workload))
                .into_iter()
                .map(|name| {
                    let rate = |&threads: &usize| {
                        results.one(workload, threads, name).map(|one| median(&one.mops))
                    };
                    Line { name, values: threads.iter().map(rate).collect() }
                })
                .collect();
            linear_panel(panel, &name_of(workload), &labels, &lines)?;
        }
        Ok(())
    })
}

/// The percentiles of latencies, a row for each operation and a column for each number of threads.
pub(crate) fn latency(results: &Results) -> Result<String, Box<dyn Error>> {
    let is_recorded = |&&(workload, verb): &&(Workload, Verb)| {
        let mut series = results.series.iter().filter(|one| one.workload == workload);
        series.any(|one| percentiles(one, verb).is_some())
    };
    let drawn: Vec<(Workload, Verb)> = DRAWN.iter().filter(is_recorded).copied().collect();
    let threads = &results.plan.threads;
    let labels = ["p50", "p99", "p99.9", "longest"].map(str::to_owned);
    let title = "Latency of one operation, percentiles (logarithmic)";
    draw(results, title, (threads.len(), drawn.len()), |panels| {
        let cells = drawn.iter().flat_map(|row| threads.iter().map(move |threads| (row, threads)));
        for (panel, (&(workload, verb), &threads)) in panels.iter().zip(cells) {
            let lines: Vec<Line> = in_order(&results.contenders(workload))
                .into_iter()
                .filter_map(|name| {
                    let found = percentiles(results.one(workload, threads, name)?, verb)?;
                    let Percentiles { p50_ns, p99_ns, p999_ns, max_ns, .. } = found;
                    let values = [p50_ns, p99_ns, p999_ns, max_ns].map(|ns| Some(ns as f64));
                    Some(Line { name, values: values.to_vec() })
                })
                .collect();
            let plural = if threads == 1 { "" } else { "s" };
            let title = format!("{}: {verb}, {threads} thread{plural}", name_of(workload));
            logarithmic_panel(panel, &title, &labels, &lines)?;
        }
        Ok(())
    })
}

/// The bytes of an entry beyond key and value, the smallest first.
pub(crate) fn memory(results: &Results) -> Result<String, Box<dyn Error>> {
    const ROW: i32 = 26;
    const LEFT: i32 = 150;
    const WIDTH: i32 = 560;
    let mut memory: Vec<_> = results.memory.iter().collect();
    memory.sort_by(|one, other| one.bytes.total_cmp(&other.bytes));
    let most = memory.iter().map(|one| one.bytes).fold(1.0, f64::max);
    let height = TITLE_HEIGHT + ROW as u32 * memory.len() as u32 + 10;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (800, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = format!("Bytes of an entry beyond key and value, {} entries", results.entries);
        area.draw(&Text::new(title, (12, 14), (FONT, 18)))?;
        for (one, row) in memory.iter().zip(0..) {
            let top = TITLE_HEIGHT as i32 + ROW * row;
            let (color, _) = look(one.name);
            let weight = if one.name.kind() == Kind::Larder { "bold" } else { "normal" };
            let font = (FONT, 14, FontStyle::from(weight)).into_font();
            area.draw(&Text::new(one.name.to_string(), (12, top + 4), font))?;
            let right = LEFT + (f64::from(WIDTH) * one.bytes.max(0.0) / most) as i32;
            area.draw(&Rectangle::new([(LEFT, top), (right, top + ROW - 6)], color.filled()))?;
            area.draw(&Text::new(format!("{:.1}", one.bytes), (right + 8, top + 4), (FONT, 14)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// One contender in a panel: a value at each position, or none.
struct Line {
    name: Name,
    values: Vec<Option<f64>>,
}

/// Draws a title, panels in a grid, and the legend.
fn draw(
    results: &Results,
    title: &str,
    (columns, rows): (usize, usize),
    panels: impl FnOnce(&[Area<'_>]) -> Result<(), Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    let names = &results.plan.contenders;
    let legend = LEGEND_ROW * names.len().div_ceil(LEGEND_COLUMNS) as u32 + 12;
    let (width, height) = (PANEL.0 * columns.max(2) as u32, PANEL.1 * rows as u32);
    let mut svg = String::new();
    {
        let size = (width, TITLE_HEIGHT + legend + height);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let (head, rest) = area.split_vertically(TITLE_HEIGHT);
        head.draw(&Text::new(title.to_owned(), (12, 14), (FONT, 20)))?;
        let (key, grid) = rest.split_vertically(legend);
        draw_legend(&key, names)?;
        if rows > 0 {
            panels(&grid.split_evenly((rows, columns)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn draw_legend(area: &Area<'_>, names: &[Name]) -> Result<(), Box<dyn Error>> {
    let (width, _) = area.dim_in_pixel();
    let columns = LEGEND_COLUMNS.min(width as usize / 130);
    for (index, &name) in names.iter().enumerate() {
        let x = 16 + (index % columns) as i32 * (width as i32 - 16) / columns as i32;
        let y = 10 + (index / columns) as i32 * LEGEND_ROW as i32;
        let (color, marker) = look(name);
        let line = PathElement::new([(x, y), (x + 26, y)], color.stroke_width(width_of(name)));
        area.draw(&line)?;
        let outline: Vec<(i32, i32)> =
            marker.outline().into_iter().map(|(dx, dy)| (x + 13 + dx, y + dy)).collect();
        area.draw(&Polygon::new(outline, color.filled()))?;
        let weight = if name.kind() == Kind::Larder { "bold" } else { "normal" };
        let font = (FONT, 14, FontStyle::from(weight)).into_font();
        area.draw(&Text::new(name.to_string(), (x + 34, y - 7), font))?;
    }
    Ok(())
}

fn linear_panel(
    area: &Area<'_>,
    title: &str,
    labels: &[String],
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let values = lines.iter().flat_map(|line| &line.values).flatten().copied();
    let most = values.fold(0.0, f64::max).max(1e-3) * 1.08;
    let unit = |y: &f64| if most < 5.0 { format!("{y:.1}") } else { format!("{y:.0}") };
    panel(area, title, labels, lines, 0.0..most, &unit)
}

fn logarithmic_panel(
    area: &Area<'_>,
    title: &str,
    labels: &[String],
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let values = || lines.iter().flat_map(|line| &line.values).flatten().copied();
    let most = values().fold(1.0, f64::max) * 1.3;
    let least = values().fold(most, f64::min).max(1.0) / 1.3;
    let unit = |y: &f64| time(y.round() as u64);
    panel(area, title, labels, lines, (least..most).log_scale(), &unit)
}

fn panel<Y>(
    area: &Area<'_>,
    title: &str,
    labels: &[String],
    lines: &[Line],
    y: Y,
    unit: &dyn Fn(&f64) -> String,
) -> Result<(), Box<dyn Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 16))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(52)
        .build_cartesian_2d(Positions(labels.to_vec()), y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .y_label_formatter(unit)
        .y_labels(6)
        .label_style((FONT, 12))
        .draw()?;
    for Line { name, values } in lines {
        let (color, marker) = look(*name);
        let points: Vec<(f64, f64)> =
            values.iter().zip(0..).filter_map(|(y, x)| Some((f64::from(x), (*y)?))).collect();
        let style = color.stroke_width(width_of(*name));
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(points.iter().map(|&point| {
            EmptyElement::at(point) + Polygon::new(marker.outline(), color.filled())
        }))?;
    }
    Ok(())
}

/// An axis with a label at each whole number.
struct Positions(Vec<String>);

impl Ranged for Positions {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let range = self.range();
        let part = (value - range.start) / (range.end - range.start);
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        (0..self.0.len()).map(|position| position as f64).collect()
    }

    fn range(&self) -> Range<f64> {
        -MARGIN..self.0.len().saturating_sub(1) as f64 + MARGIN
    }
}

impl ValueFormatter<f64> for Positions {
    fn format_ext(&self, value: &f64) -> String {
        self.0.get(value.round() as usize).cloned().unwrap_or_default()
    }
}
