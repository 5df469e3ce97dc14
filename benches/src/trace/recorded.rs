//! The folder of recorded traces and reference ratios.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// A trace and the capacities at which it is replayed.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its name, as in the file name.
    pub name: String,
    /// The kind of its requests; `synthetic-…` for generated traces.
    pub class: String,
    /// The capacities in entries.
    pub capacities_entries: Vec<usize>,
    /// The key number of each request.
    pub keys: Vec<u32>,
}

impl Trace {
    /// Whether it is generated in code.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.class.starts_with("synthetic")
    }
}

/// Why the folder of traces could not be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// A file in it could not be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of a table is malformed.
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What was expected of it.
        expected: &'static str,
    },
    /// The number of requests in a trace differs from the manifest.
    Length {
        /// Which trace.
        path: PathBuf,
        /// What the manifest says.
        expected: usize,
        /// What the file has.
        found: usize,
    },
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(
                f,
                "cannot read {}; give the folder of traces with --traces DIR or LARDER_TRACES",
                path.display()
            ),
            Self::Line { path, line, expected } => {
                write!(f, "{}:{line}: expected {expected}", path.display())
            }
            Self::Length { path, expected, found } => write!(
                f,
                "{} has {found} requests, the manifest says {expected}; copy the folder again",
                path.display()
            ),
        }
    }
}

impl Error for TraceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Line { .. } | Self::Length { .. } => None,
        }
    }
}

/// A line of `manifest.tsv`: a trace that is not loaded yet.
#[derive(Clone, Debug)]
pub(super) struct ManifestEntry {
    /// Its name.
    pub(super) name: String,
    class: String,
    requests: usize,
    capacities_entries: Vec<usize>,
}

/// Reads the manifest of the folder `dir`.
///
/// # Errors
/// If it is missing or has a line that is not a trace.
pub(super) fn manifest(dir: &Path) -> Result<Vec<ManifestEntry>, TraceError> {
    let path = dir.join("manifest.tsv");
    let parse = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_owned();
        let class = cells.next()?.to_owned();
        let requests = cells.next()?.parse().ok()?;
        let capacities = cells.nth(1)?.split(',').map(|cell| cell.parse().ok());
        Some(ManifestEntry {
            name,
            class,
            requests,
            capacities_entries: capacities.collect::<Option<_>>()?,
        })
    };
    let text = read_text(&path)?;
    let lines = text.lines().enumerate().skip(1);
    lines
        .map(|(index, line)| {
            let expected = "name, class, requests, distinct keys, capacities";
            parse(line).ok_or(TraceError::Line { path: path.clone(), line: index + 1, expected })
        })
        .collect()
}

impl ManifestEntry {
    /// Reads the requests out of the folder `dir`.
    ///
    /// # Errors
    /// If the file is missing, is not gzip, or has another length than the manifest says.
    pub(super) fn load(&self, dir: &Path) -> Result<Trace, TraceError> {
        let path = dir.join(format!("{}.u32.gz", self.name));
        let read = || {
            let mut bytes = Vec::with_capacity(4 * self.requests);
            // One byte more than announced reveals that there are too many.
            let limit = 4 * self.requests as u64 + 1;
            GzDecoder::new(fs::File::open(&path)?).take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| TraceError::Read { path: path.clone(), source })?;
        if bytes.len() != 4 * self.requests {
            let found = bytes.len() / 4;
            return Err(TraceError::Length { path, expected: self.requests, found });
        }
        let words = bytes.chunks_exact(4);
        let keys = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        Ok(Trace {
            name: self.name.clone(),
            class: self.class.clone(),
            capacities_entries: self.capacities_entries.clone(),
            keys: keys.collect(),
        })
    }
}

/// The hit ratios of other caches, in percent.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The caches, in the order of the file.
    pub columns: Vec<String>,
    rows: HashMap<(String, usize), Vec<f64>>,
}

impl Reference {
    /// Reads `reference.tsv` of the folder `dir`.
    ///
    /// # Errors
    /// If it is missing or has a line that is not a row of numbers.
    pub fn load(dir: &Path) -> Result<Self, TraceError> {
        let path = dir.join("reference.tsv");
        let text = read_text(&path)?;
        let heading = text.lines().next().unwrap_or_default();
        let columns: Vec<String> = heading.split('\t').skip(3).map(str::to_owned).collect();
        let parse = |line: &str| {
            let mut cells = line.split('\t');
            let name = cells.next()?.to_owned();
            let capacity = cells.nth(1)?.parse().ok()?;
            let ratios: Vec<f64> = cells.map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
            (ratios.len() == columns.len()).then_some(((name, capacity), ratios))
        };
        let mut rows = HashMap::new();
        for (index, line) in text.lines().enumerate().skip(1) {
            let expected = "trace, class, capacity, and a number for each heading";
            let (key, ratios) = parse(line).ok_or_else(|| TraceError::Line {
                path: path.clone(),
                line: index + 1,
                expected,
            })?;
            rows.insert(key, ratios);
        }
        Ok(Self { columns, rows })
    }

    /// The hit ratios of `trace` at `capacity_entries`, one for each column.
    #[must_use]
    pub fn row(&self, trace: &str, capacity_entries: usize) -> Option<&[f64]> {
        self.rows.get(&(trace.to_owned(), capacity_entries)).map(Vec::as_slice)
    }

    /// The index of the column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}

fn read_text(path: &Path) -> Result<String, TraceError> {
    fs::read_to_string(path).map_err(|source| TraceError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folder_is_named_in_the_error() {
        let error = manifest(Path::new("no-such-folder")).expect_err("there is none");
        assert!(error.to_string().contains("no-such-folder"));
        assert!(error.to_string().contains("--traces"));
        assert!(error.source().is_some());
    }
}
