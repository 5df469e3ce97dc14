//! What is drawn on the terminal.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Bar, BarChart, BarGroup, Block, BorderType, Paragraph, Row, Sparkline, Table,
};

use super::reading::{Buckets, CacheNumbers, Lookups, TopReading, causes};
use super::text::{UNKNOWN, about, bytes, count, percent, quantile, rate, seconds};
use super::trend::Trend;
use crate::harmless::harmless;

/// The hit ratio, latencies and ages are those of so long.
const RECENT: Duration = Duration::from_secs(60);
/// From this width on there are panels side by side.
const WIDE: u16 = 76;
/// From this height on there are histograms.
const TALL: u16 = 34;

/// What is to be drawn.
pub(super) struct TopScreen<'t> {
    pub(super) trend: &'t Trend,
    /// The number of the cache that is shown.
    pub(super) cache: usize,
    pub(super) url: &'t str,
    /// Why the last reading failed.
    pub(super) error: Option<&'t str>,
    pub(super) is_paused: bool,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &TopScreen<'_>) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let Some(reading) = screen.trend.newest() else { return };
    let Some(cache) = reading.caches.get(screen.cache).or(reading.caches.first()) else { return };
    draw_head(frame, head, screen, reading, cache);
    draw_foot(frame, foot, reading);
    let view = CacheView { screen, reading, cache };
    if body.width >= WIDE { draw_wide(frame, body, &view) } else { draw_narrow(frame, body, &view) }
}

/// What the panels show.
struct CacheView<'t> {
    screen: &'t TopScreen<'t>,
    reading: &'t TopReading,
    cache: &'t CacheNumbers,
}

impl CacheView<'_> {
    /// The same cache in another reading.
    fn in_reading<'r>(&self, reading: &'r TopReading) -> Option<&'r CacheNumbers> {
        reading.caches.iter().find(|cache| cache.name == self.cache.name)
    }

    fn rate(&self, counter: impl Fn(&CacheNumbers) -> Option<u64>) -> Option<f64> {
        self.screen.trend.rate(|reading| counter(self.in_reading(reading)?))
    }

    fn rates(&self, counter: impl Fn(&CacheNumbers) -> Option<u64>) -> Vec<f64> {
        self.screen.trend.rates(|reading| counter(self.in_reading(reading)?))
    }

    fn recent(&self) -> Option<&TopReading> {
        self.screen.trend.earlier(RECENT)
    }

    /// The lookups of the last minute.
    fn recent_lookups(&self) -> Option<Lookups> {
        let earlier = self.in_reading(self.recent()?)?.lookups?;
        Some(self.cache.lookups?.since(earlier)).filter(|lookups| lookups.count() > 0)
    }

    /// The part of a histogram that has come in the last minute; all of it if that is little.
    fn recent_buckets(&self, of: impl Fn(&TopReading) -> Option<&Buckets>) -> Option<Buckets> {
        let all = of(self.reading)?;
        let recent = self.recent().and_then(of).map(|earlier| all.since(earlier));
        Some(recent.filter(|recent| recent.count() >= 20).unwrap_or_else(|| all.clone()))
    }
}

fn draw_wide(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let histograms = if area.height + 2 >= TALL { 9 } else { 0 };
    let [top, middle, charts, bottom] = Layout::vertical([
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(histograms),
        Constraint::Fill(1),
    ])
    .areas(area);
    let [left, right] = columns(top, [2, 3]);
    draw_ratio(frame, left, view);
    draw_rates(frame, right, view);
    let [left, center, right] = columns(middle, [1, 1, 1]);
    draw_sizes(frame, left, view);
    draw_memory(frame, center, view);
    draw_causes(frame, right, view);
    if histograms > 0 {
        let [left, right] = columns(charts, [1, 1]);
        draw_latency(frame, left, view);
        draw_ages(frame, right, view);
    }
    let [left, right] = columns(bottom, [2, 1]);
    draw_hottest(frame, left, view);
    draw_commands(frame, right, view);
}

type DrawPanel = fn(&mut Frame<'_>, Rect, &CacheView<'_>);

/// One panel below the other, as many as there is room for.
fn draw_narrow(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let panels: [(u16, DrawPanel); 8] = [
        (6, draw_ratio),
        (8, draw_rates),
        (6, draw_memory),
        (8, draw_hottest),
        (7, draw_causes),
        (7, draw_sizes),
        (9, draw_latency),
        (9, draw_ages),
    ];
    let mut rest = area;
    for (height, panel) in panels {
        if rest.height < height {
            break;
        }
        let [place, below] =
            Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(rest);
        panel(frame, place, view);
        rest = below;
    }
}

fn columns<const N: usize>(area: Rect, parts: [u16; N]) -> [Rect; N] {
    Layout::horizontal(parts.map(Constraint::Fill)).areas(area)
}

fn block(title: &str) -> Block<'_> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::styled(format!(" {title} "), Style::new().bold()))
}

/// Draws the border of a panel and returns what is within.
fn panel(frame: &mut Frame<'_>, area: Rect, title: &str) -> Rect {
    let block = block(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn draw_head(
    frame: &mut Frame<'_>,
    area: Rect,
    screen: &TopScreen<'_>,
    reading: &TopReading,
    cache: &CacheNumbers,
) {
    let mut spans = vec![
        Span::styled(" larder ", Style::new().fg(Color::Cyan).bold()),
        Span::raw(about(reading, cache)),
    ];
    let note = match screen.error {
        Some(error) => Some((harmless(error), Color::Red)),
        None if screen.is_paused => Some(("paused".to_owned(), Color::Yellow)),
        None if screen.trend.restarts() > 0 => {
            Some((format!("restarts seen: {}", screen.trend.restarts()), Color::Yellow))
        }
        None => None,
    };
    match note {
        Some((note, color)) => {
            spans.push(Span::styled(format!(" · {note}"), Style::new().fg(color)))
        }
        None => spans.push(format!(" · {}", harmless(screen.url)).dark_gray()),
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, reading: &TopReading) {
    let mut keys = vec![("q", "quit"), ("p", "pause")];
    if reading.caches.len() > 1 {
        keys.push(("tab", "next cache"));
    }
    let spans = keys.into_iter().flat_map(|(key, action)| {
        [Span::styled(format!(" {key} "), Style::new().bold()), format!("{action} ").dark_gray()]
    });
    frame.render_widget(Line::from_iter(spans), area);
}

fn draw_ratio(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let inner = panel(frame, area, "Hit ratio");
    let all = view.cache.lookups;
    let recent = view.recent_lookups();
    let shown = recent.or(all).and_then(Lookups::hit_ratio);
    let [number, gauge, words] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)])
            .areas(inner);
    let style = Style::new().fg(Color::Cyan).bold();
    frame.render_widget(Line::styled(percent(shown), style), number);
    draw_meter(frame, gauge, shown.unwrap_or_default());
    let lines = match (all, recent) {
        (None, _) => vec![Line::raw("Lookups are not counted.")],
        (Some(all), None) => {
            vec![Line::raw(format!("{} lookups since the start", count(all.count() as f64)))]
        }
        (Some(all), Some(recent)) => vec![
            Line::raw(format!("of {} lookups in the last minute", count(recent.count() as f64))),
            Line::raw(format!("{} since the start", percent(all.hit_ratio()))),
        ],
    };
    frame.render_widget(Paragraph::new(lines).dark_gray(), words);
}

/// A line that is colored as far as something is full.
fn draw_meter(frame: &mut Frame<'_>, area: Rect, fill: f64) {
    let full = rounded(fill.clamp(0.0, 1.0) * f64::from(area.width));
    let full = usize::try_from(full).unwrap_or_default().min(usize::from(area.width));
    let rest = usize::from(area.width) - full;
    let line = Line::from(vec!["━".repeat(full).cyan(), "━".repeat(rest).dark_gray()]);
    frame.render_widget(line, area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let inner = panel(frame, area, "Each second");
    type Counter = fn(&CacheNumbers) -> Option<u64>;
    let counters: [(&str, Counter, Color); 3] = [
        ("lookups", |cache| Some(cache.lookups?.count()), Color::Blue),
        ("writes", |cache| Some(cache.writes()), Color::Magenta),
        ("evictions", |cache| Some(cache.evicted), Color::Yellow),
    ];
    let places: [Rect; 3] = Layout::vertical([Constraint::Fill(1); 3]).areas(inner);
    for ((name, counter, color), place) in counters.into_iter().zip(places) {
        let [words, chart] =
            Layout::horizontal([Constraint::Length(20), Constraint::Fill(1)]).areas(place);
        let now = rate(view.rate(counter));
        let line = Line::from(vec![format!("{name:<10}").dark_gray(), now.bold()]);
        frame.render_widget(line, words);
        let rates = view.rates(counter);
        let shown = rates.len().saturating_sub(usize::from(chart.width));
        let whole = |rate: &f64| rounded(*rate);
        let data: Vec<u64> = rates[shown..].iter().map(whole).collect();
        frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(color)), chart);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and a rate is not negative"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

fn draw_sizes(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let inner = panel(frame, area, "Other sizes");
    if view.cache.sizes.is_empty() {
        let words = Paragraph::new("Nothing is known: no shadow caches, or no misses yet.");
        frame.render_widget(words.wrap(ratatui::widgets::Wrap { trim: true }).dark_gray(), inner);
        return;
    }
    let misses = view.cache.lookups.and_then(Lookups::hit_ratio).map(|ratio| 1.0 - ratio);
    let rows = view.cache.sizes.iter().map(|point| {
        let ratio = misses.map(|misses| (1.0 - misses * point.misses_factor).clamp(0.0, 1.0));
        let name = match point.multiple {
            1.0 => "now".to_owned(),
            multiple => format!("{multiple} ×"),
        };
        let change = match point.misses_factor {
            _ if point.multiple == 1.0 => String::new(),
            factor @ 1.015.. => format!("{:.0} % more misses", 100.0 * (factor - 1.0)),
            factor @ ..=0.985 => format!("{:.0} % fewer", 100.0 * (1.0 - factor)),
            _ => "about the same".to_owned(),
        };
        Row::new([name, percent(ratio), change])
    });
    let widths = [Constraint::Length(6), Constraint::Length(7), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), inner);
}

fn draw_memory(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let inner = panel(frame, area, "Memory");
    let (cache, reading) = (view.cache, view.reading);
    let mut facts = Vec::new();
    let entries = count(cache.entries as f64);
    facts.push(match cache.capacity {
        Some(capacity) => ("entries", format!("{entries} of {}", count(capacity as f64))),
        None => ("entries", entries),
    });
    if let Some(bound) = cache.max_weight {
        let weight = count(cache.weight as f64);
        facts.push(("weight", format!("{weight} of {}", count(bound as f64))));
    }
    if let Some(resident) = reading.resident_bytes {
        facts.push(("process", bytes(resident as f64)));
    }
    facts.push(("to be freed", bytes(cache.waiting_bytes as f64)));
    let [gauge, table] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    draw_meter(frame, gauge, cache.fill().unwrap_or_default());
    draw_facts(frame, table, facts);
}

fn draw_facts(frame: &mut Frame<'_>, area: Rect, facts: Vec<(&str, String)>) {
    let rows = facts.into_iter().map(|(name, value)| {
        Row::new([Span::from(name.to_owned()).dark_gray(), Span::from(value)])
    });
    let widths = [Constraint::Length(12), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), area);
}

fn draw_causes(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let inner = panel(frame, area, "Why entries left");
    let rows = causes(view.cache).into_iter().enumerate().map(|(index, (cause, entries))| {
        let rate = rate(view.rate(|cache| Some(causes(cache)[index].1)));
        Row::new([Span::from(cause).dark_gray(), count(entries as f64).into(), rate.into()])
    });
    let widths = [Constraint::Length(12), Constraint::Length(9), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), inner);
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let recent = view.recent_buckets(|reading| reading.latency.as_ref());
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| quantile(recent.as_ref(), part));
    let words = format!("p50 {p50}   p99 {p99}   p99.9 {p999}");
    draw_buckets(frame, area, "Latency of batches", &words, recent.as_ref(), Color::Blue);
}

fn draw_ages(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    let recent = view.recent_buckets(|reading| view.in_reading(reading)?.eviction_ages.as_ref());
    let [p10, p50] = [0.1, 0.5].map(|part| quantile(recent.as_ref(), part));
    let words = format!("median {p50}   one in ten below {p10}");
    draw_buckets(frame, area, "Age of evicted entries", &words, recent.as_ref(), Color::Yellow);
}

fn draw_buckets(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    words: &str,
    buckets: Option<&Buckets>,
    color: Color,
) {
    let inner = panel(frame, area, title);
    let Some(buckets) = buckets.filter(|buckets| buckets.count() > 0) else {
        frame.render_widget(Line::raw(UNKNOWN).dark_gray(), inner);
        return;
    };
    let [line, chart] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(inner);
    frame.render_widget(Line::raw(words), line);
    let first = buckets.counts.iter().position(|count| *count > 0).unwrap_or_default();
    let last = buckets.counts.iter().rposition(|count| *count > 0).unwrap_or_default();
    let width = (chart.width / u16::try_from(last - first + 1).unwrap_or(u16::MAX)).clamp(2, 9) - 1;
    let bars = (first..=last).map(|index| {
        let bound = buckets.bounds_s.get(index).copied();
        let label = bound.map(|bound| format!("<{}", seconds(Some(bound)).replace(' ', "")));
        let label = label.filter(|label| label.chars().count() <= usize::from(width));
        Bar::default()
            .value(buckets.counts[index])
            .text_value("")
            .label(Line::raw(label.unwrap_or_default()))
    });
    let bars: Vec<_> = bars.collect();
    let chart_of = BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(width)
        .bar_gap(1)
        .bar_style(Style::new().fg(color))
        .label_style(Style::new().fg(Color::DarkGray));
    frame.render_widget(chart_of, chart);
}

fn draw_hottest(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    if area.height < 3 {
        return;
    }
    let inner = panel(frame, area, "Hottest keys");
    if view.cache.hottest.is_empty() {
        frame.render_widget(Line::raw("No keys are known.").dark_gray(), inner);
        return;
    }
    let rows = view.cache.hottest.iter().map(|entry| {
        let share = Line::from(percent(entry.share)).right_aligned();
        Row::new([share, Line::from(harmless(&entry.key))])
    });
    let widths = [Constraint::Length(7), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), inner);
}

fn draw_commands(frame: &mut Frame<'_>, area: Rect, view: &CacheView<'_>) {
    if area.height < 3 {
        return;
    }
    let inner = panel(frame, area, "Commands");
    let trend = view.screen.trend;
    let mut calls: Vec<_> = view.reading.calls.iter().collect();
    calls.sort_by_key(|(name, calls)| (std::cmp::Reverse(**calls), *name));
    let rows = calls.into_iter().map(|(name, calls)| {
        let rate = rate(trend.rate(|it| Some(it.calls.get(name).copied().unwrap_or_default())));
        let name = Span::styled(harmless(name), Style::new().add_modifier(Modifier::DIM));
        Row::new([name, count(*calls as f64).into(), rate.into()])
    });
    let widths = [Constraint::Length(12), Constraint::Length(9), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), inner);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::reading::{HotEntry, SizePoint};
    use super::*;

    /// A reading whose counters have grown with `step`.
    fn reading(step: u64) -> TopReading {
        let mut counts = vec![0; 12];
        (counts[3], counts[5]) = (90 * step, 10 * step);
        let bounds_s = (0..11).map(|power| 1e-6 * f64::from(1 << power)).collect();
        let buckets = Buckets { bounds_s, counts };
        let sizes = [(0.5, 1.5), (1.0, 1.0), (2.0, 0.25)];
        let size = |(multiple, misses_factor)| SizePoint { multiple, misses_factor };
        TopReading {
            at: Duration::from_secs(step),
            version: Some("1.2.3".to_owned()),
            uptime: Some(Duration::from_secs(90)),
            clients: Some(7),
            resident_bytes: Some(1 << 30),
            calls: [("get".to_owned(), 1000 * step), ("set".to_owned(), 200 * step)].into(),
            latency: Some(buckets.clone()),
            caches: vec![
                CacheNumbers {
                    name: "pages".to_owned(),
                    policy: "sieve".to_owned(),
                    entries: 750,
                    capacity: Some(1000),
                    lookups: Some(Lookups { hits: 800 * step, misses: 200 * step }),
                    inserts: 200 * step,
                    evicted: 150 * step,
                    expired: 3,
                    eviction_ages: Some(buckets),
                    sizes: sizes.map(size).to_vec(),
                    hottest: vec![HotEntry { key: "evil\u{1b}[2J".to_owned(), share: Some(0.25) }],
                    ..CacheNumbers::default()
                },
                CacheNumbers { name: "users".to_owned(), ..CacheNumbers::default() },
            ],
            ..TopReading::default()
        }
    }

    fn drawn(width: u16, height: u16, steps: u64, cache: usize, error: Option<&str>) -> String {
        let mut trend = Trend::default();
        (1..=steps).for_each(|step| trend.push(reading(step)));
        let url = "http://127.0.0.1:1";
        let screen = TopScreen { trend: &trend, cache, url, error, is_paused: false };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &screen)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_shown_if_there_is_room() {
        let text = drawn(120, 45, 10, 0, None);
        for expected in [
            "larder version 1.2.3 · cache pages · sieve · up 1.5 min · http://127.0.0.1:1",
            "80.0 %",
            "of 9000 lookups in the last minute",
            "lookups   1000/s",
            "writes    200/s",
            "evictions 150/s",
            "750 of 1000",
            "━━━━━━━━━",
            "1.0 GiB",
            "0.5 ×  70.0 %  50 % more misses",
            "now    80.0 %",
            "2 ×    95.0 %  75 % fewer",
            "evicted      1500      150/s",
            "expired      3         0/s",
            "p99 30 µs",
            "median 5.9 µs",
            "25.0 % evil·[2J",
            "get          10,000    1000/s",
            "tab next cache",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_first_reading_has_numbers_since_the_start_and_no_rates() {
        let text = drawn(120, 45, 1, 0, None);
        for expected in
            ["80.0 %", "1000 lookups since the start", "lookups   –", "get          1000"]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn another_cache_and_a_failure_are_shown() {
        let text = drawn(120, 45, 3, 1, Some("no answer\n"));
        for expected in
            ["cache users", "no answer·", "Lookups are not counted.", "No keys are known."]
        {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(drawn(120, 45, 3, 9, None).contains("cache pages"));
    }

    #[test]
    fn every_size_of_a_terminal_can_be_drawn_on() {
        for width in [1, 5, 20, 40, 75, 76, 100, 300] {
            for height in [1, 2, 3, 10, 24, 33, 34, 100] {
                let text = drawn(width, height, 3, 0, None);
                assert_eq!(text.lines().count(), usize::from(height));
            }
        }
        let narrow = drawn(40, 60, 10, 0, None);
        for expected in ["80.0 %", "lookups   1000/s", "750 of 1000", "evil·[2J"] {
            assert!(narrow.contains(expected), "{expected} is missing in\n{narrow}");
        }
    }
}
