//! `larder top`: what a server, or any process that serves its metrics, does, on the terminal.

// In the order in which they use each other.
mod view;
mod text;
mod trend;
mod fetch;
mod status;
mod exposition;
mod reading;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::fetch::Source;
use self::reading::TopReading;
use self::trend::Trend;
use self::view::TopScreen;
use crate::error::{TopError, with_causes};

/// How long to wait for a key before it is checked whether there is a new reading.
const KEY_TIME: Duration = Duration::from_millis(50);

/// The options of `larder top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The address, such as http://127.0.0.1:9180, or http://127.0.0.1:9100/metrics
    #[arg(long, value_name = "URL")]
    url: String,
    /// How many seconds lie between two readings
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// The cache to show first, if the process has several [default: the first]
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
    /// Print one reading as text instead
    #[arg(long)]
    once: bool,
}

impl TopArgs {
    /// Whether one reading is wanted, and no screen.
    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    fn open(&self) -> Result<(Source, TopReading), TopError> {
        let password = std::env::var("LARDER_PASSWORD").ok().filter(|it| !it.is_empty());
        Source::open(&self.url, password)
    }

    /// The number of the cache to show first.
    fn first_cache(&self, reading: &TopReading) -> Result<usize, TopError> {
        let Some(wanted) = &self.cache else { return Ok(0) };
        let found = reading.caches.iter().position(|cache| cache.name == *wanted);
        found.ok_or_else(|| TopError::UnknownCache {
            given: wanted.clone(),
            known: reading.caches.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("use 0.1 to 3600 seconds".to_owned())
    }
}

/// One reading as text.
pub(crate) fn snapshot(args: &TopArgs) -> Result<String, TopError> {
    let (_, mut reading) = args.open()?;
    if args.cache.is_some() {
        let wanted = reading.caches.swap_remove(args.first_cache(&reading)?);
        reading.caches = vec![wanted];
    }
    Ok(text::lines(&args.url, &reading))
}

/// Shows readings until the user has seen enough.
pub(crate) fn watch(args: &TopArgs) -> Result<(), TopError> {
    if !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let (source, reading) = args.open()?;
    let cache = args.first_cache(&reading)?;
    let mut trend = Trend::default();
    trend.push(reading);
    let (readings, stop) = read_on(source, args.interval);
    let mut terminal = ratatui::try_init().map_err(TopError::Terminal)?;
    let shown = show(&mut terminal, &args.url, trend, cache, &readings);
    // The thread ends, at the latest when the answer that it waits for has come or is late.
    drop(stop);
    ratatui::try_restore().map_err(TopError::Terminal)?;
    shown
}

/// Reads again and again on another thread, until the sender is dropped.
fn read_on(
    source: Source,
    interval: Duration,
) -> (Receiver<Result<TopReading, TopError>>, mpsc::Sender<()>) {
    let (send, readings) = mpsc::channel();
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            if send.send(source.read()).is_err() {
                break;
            }
        }
    });
    (readings, stop)
}

fn show(
    terminal: &mut DefaultTerminal,
    url: &str,
    mut trend: Trend,
    mut cache: usize,
    readings: &Receiver<Result<TopReading, TopError>>,
) -> Result<(), TopError> {
    let (mut error, mut is_paused, mut has_changed) = (None, false, true);
    loop {
        for reading in readings.try_iter() {
            match reading {
                _ if is_paused => continue,
                Ok(reading) => {
                    trend.push(reading);
                    error = None;
                }
                Err(failure) => error = Some(with_causes(&failure)),
            }
            has_changed = true;
        }
        if has_changed {
            let screen =
                TopScreen { trend: &trend, cache, url, error: error.as_deref(), is_paused };
            terminal.draw(|frame| view::draw(frame, &screen)).map_err(TopError::Terminal)?;
            has_changed = false;
        }
        if !event::poll(KEY_TIME).map_err(TopError::Terminal)? {
            continue;
        }
        let key = match event::read().map_err(TopError::Terminal)? {
            Event::Key(key) if key.kind == KeyEventKind::Press => key,
            Event::Resize(..) => {
                has_changed = true;
                continue;
            }
            _ => continue,
        };
        let caches = trend.newest().map_or(1, |newest| newest.caches.len()).max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
            KeyCode::Char('p') | KeyCode::Char(' ') => is_paused = !is_paused,
            KeyCode::Tab | KeyCode::Right => cache = (cache + 1) % caches,
            KeyCode::BackTab | KeyCode::Left => cache = (cache + caches - 1) % caches,
            _ => continue,
        }
        has_changed = true;
    }
}
