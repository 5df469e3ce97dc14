//! What the members of a fleet report, and the page that shows it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Failure;

/// Stale reads are counted by how long ago their values had been overwritten: less than so many milliseconds, and in
/// the last place all others.
pub(crate) const AGES_MS: [f64; 5] = [0.1, 1.0, 10.0, 100.0, 1000.0];
/// How many reports the curve of a member has.
const CURVE: usize = 150;

/// What a member has done so far: a line of numbers on its standard output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) reads: u64,
    /// Reads that memory has answered.
    pub(crate) hits: u64,
    pub(crate) writes: u64,
    pub(crate) fills_refused: u64,
    /// Reads that found a value which another member had overwritten before, by age.
    pub(crate) stale: [u64; AGES_MS.len() + 1],
    pub(crate) oldest_ns: u64,
    /// The oldest since the report before.
    pub(crate) oldest_of_late_ns: u64,
    pub(crate) elapsed_ms: u64,
}

impl Report {
    /// Counts a stale read.
    pub(crate) fn add_stale(&mut self, age_ns: u64) {
        let age_ms = age_ns as f64 / 1e6;
        let place = AGES_MS.iter().position(|bound| age_ms < *bound).unwrap_or(AGES_MS.len());
        self.stale[place] += 1;
        self.oldest_ns = self.oldest_ns.max(age_ns);
        self.oldest_of_late_ns = self.oldest_of_late_ns.max(age_ns);
    }

    pub(crate) fn to_line(&self) -> String {
        let Self { reads, hits, writes, fills_refused, oldest_ns, oldest_of_late_ns, .. } = self;
        let mut line = format!("{reads} {hits} {writes} {fills_refused} {oldest_ns} ");
        let _ = write!(line, "{oldest_of_late_ns} {}", self.elapsed_ms);
        self.stale.iter().fold(line, |line, count| format!("{line} {count}"))
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let mut next = || numbers.next().flatten();
        let mut report = Self {
            reads: next()?,
            hits: next()?,
            writes: next()?,
            fills_refused: next()?,
            oldest_ns: next()?,
            oldest_of_late_ns: next()?,
            elapsed_ms: next()?,
            ..Self::default()
        };
        for count in &mut report.stale {
            *count = next()?;
        }
        Some(report)
    }

    /// A row of the table, for people: its cells.
    pub(crate) fn cells(&self) -> [String; 7] {
        let seconds = self.elapsed_ms as f64 / 1e3;
        [
            self.reads.to_string(),
            format!("{:.1} %", self.hits as f64 / self.reads.max(1) as f64 * 100.0),
            self.writes.to_string(),
            self.fills_refused.to_string(),
            self.stale.iter().sum::<u64>().to_string(),
            format!("{:.2}", self.oldest_ns as f64 / 1e6),
            format!("{seconds:.2}"),
        ]
    }
}

/// The heads of the columns that [`Report::cells`] fills.
pub(crate) const HEADS: [&str; 7] =
    ["reads", "in memory", "writes", "refused fills", "stale reads", "oldest, ms", "seconds"];

/// The reports of all members, the latest last.
pub(crate) struct Board {
    members: Vec<Mutex<Vec<Report>>>,
    max_stale: Duration,
}

impl Board {
    pub(crate) fn new(members: usize, max_stale: Duration) -> Arc<Self> {
        let members = (0..members).map(|_| Mutex::default()).collect();
        Arc::new(Self { members, max_stale })
    }

    /// Takes in what a member says until it has ended.
    pub(crate) fn follow(&self, member: usize, output: impl Read) -> Result<(), Failure> {
        for line in BufReader::new(output).lines() {
            let line = line?;
            let report = Report::from_line(&line).ok_or("a line that is not a report")?;
            let mut reports = self.members[member].lock().map_err(|_| "a reader has panicked")?;
            if reports.len() == CURVE {
                reports.remove(0);
            }
            reports.push(report);
        }
        Ok(())
    }

    /// The last report of each member.
    pub(crate) fn latest(&self) -> Vec<Report> {
        let last = |reports: &Mutex<Vec<Report>>| reports.lock().ok()?.last().cloned();
        self.members.iter().map(|reports| last(reports).unwrap_or_default()).collect()
    }

    fn curve(&self, member: usize) -> Vec<f64> {
        let reports = self.members[member].lock();
        let ages = |reports: &Vec<Report>| {
            reports.iter().map(|report| report.oldest_of_late_ns as f64 / 1e6).collect()
        };
        reports.map(|reports| ages(&reports)).unwrap_or_default()
    }

    /// Serves the page on loopback as long as the process runs, and returns its address.
    pub(crate) fn serve(self: &Arc<Self>) -> Result<SocketAddr, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let board = Arc::clone(self);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                // One browser after the other, none of which may hold up the next for long.
                let _ = client.set_read_timeout(Some(Duration::from_secs(1)));
                let mut request = [0; 4096];
                if client.read(&mut request).is_ok() {
                    let page = board.page();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close";
                    let _ =
                        write!(client, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
                }
            }
        });
        Ok(address)
    }

    fn page(&self) -> String {
        let max_stale_ms = self.max_stale.as_millis();
        let mut page = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=1>\
             <title>A fleet of near caches</title><style>{STYLE}</style>\
             <h1>A fleet of near caches</h1><p>A read is stale if it found a value that another process had \
             overwritten before. The promise: none is older than {max_stale_ms} ms.</p><table><tr><th>process"
        );
        for head in HEADS {
            let _ = write!(page, "<th>{head}");
        }
        let latest = self.latest();
        for (number, report) in latest.iter().enumerate() {
            let _ = write!(page, "<tr><td>{number}");
            for cell in report.cells() {
                let _ = write!(page, "<td>{cell}");
            }
        }
        page.push_str("</table><h2>Stale reads by age</h2><table><tr><th>process");
        for bound in AGES_MS {
            let _ = write!(page, "<th>below {bound} ms");
        }
        page.push_str("<th>above");
        for (number, report) in latest.iter().enumerate() {
            let most = report.stale.iter().copied().max().unwrap_or(0).max(1);
            let _ = write!(page, "<tr><td>{number}");
            for count in report.stale {
                let width = 100 * count / most;
                let _ = write!(page, "<td>{count}<div class=bar style='width:{width}%'></div>");
            }
        }
        page.push_str("</table><h2>The oldest read of each fifth of a second</h2>");
        for number in 0..self.members.len() {
            page.push_str(&self.drawn_curve(number));
        }
        page
    }

    /// A curve from 0.01 ms at the bottom to ten times the promise at the top, each power of ten as high as the next.
    fn drawn_curve(&self, member: usize) -> String {
        const HEIGHT: f64 = 120.0;
        let promise_ms = self.max_stale.as_secs_f64() * 1e3;
        let (low, high) = (0.01_f64.log10(), (promise_ms * 10.0).log10());
        let height_of =
            |age_ms: f64| HEIGHT - HEIGHT * (age_ms.max(0.01).log10() - low) / (high - low);
        let points: String = (self.curve(member).iter().enumerate())
            .map(|(at, age)| format!("{},{:.1} ", at * 4, height_of(*age)))
            .collect();
        let promise = height_of(promise_ms);
        format!(
            "<figure><figcaption>process {member}</figcaption><svg viewBox='0 0 600 {HEIGHT}'>\
             <line class=promise x1=0 x2=600 y1={promise:.1} y2={promise:.1} />\
             <polyline points='{points}' /></svg></figure>"
        )
    }
}

const STYLE: &str = "body{font:16px system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #ddd}\
.bar{height:.3rem;background:#36c;margin-left:auto}figure{margin:1rem 0}svg{width:100%;background:#f6f6f6}\
polyline{fill:none;stroke:#36c;stroke-width:1.5}.promise{stroke:#c33;stroke-dasharray:6 4}";
