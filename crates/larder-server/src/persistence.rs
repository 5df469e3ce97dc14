//! Saving the cache while it serves, and loading it before.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::Cache;
use larder::snapshot::{LoadSummary, Postcard, RestoreOptions, SaveOptions, SnapshotError};
use thiserror::Error;

use crate::bytes::Bytes;
use crate::value::Value;

/// Where a served cache is saved, and when.
///
/// A file is replaced in one step: a reader, even after the process was killed, finds the whole old one or the whole
/// new one. Lifetimes and tags are saved, and go on while the file is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Persistence {
    /// The file. With none, `SAVE` is refused.
    pub path: Option<PathBuf>,
    /// Saves each time this long has passed. Default: never.
    pub every: Option<Duration>,
    /// Whether not to save when the server is shut down.
    pub skips_shutdown: bool,
}

impl Persistence {
    /// Saves to `path`, at the end and on request.
    #[must_use]
    pub fn to(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    pub(crate) fn save_at_shutdown(&self) -> bool {
        self.path.is_some() && !self.skips_shutdown
    }
}

/// Why the cache was not saved. What the system said is the [source](std::error::Error::source) of the error, and
/// not in its text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// There is no path.
    #[error("no file to save to; name one by --save")]
    NoPath,
    /// Another thread is saving.
    #[error("Background save already in progress")]
    InProgress,
    /// The file cannot be written.
    #[error("cannot save to {}", .path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: SnapshotError,
    },
}

impl SaveError {
    /// The error and its causes in one line, for clients and for the page.
    pub(crate) fn with_causes(&self) -> String {
        let causes = std::iter::successors(self.source(), |error| (*error).source());
        causes.fold(self.to_string(), |line, cause| format!("{line}: {cause}"))
    }
}

/// What is known of the saves so far.
#[derive(Debug)]
pub(crate) struct SaveState {
    is_saving: AtomicBool,
    /// When the last save that succeeded began, in seconds since 1970; at first when the server started.
    last_s: AtomicU64,
    saves: AtomicU64,
    last_error: Mutex<Option<String>>,
    took_ms: AtomicU64,
}

impl SaveState {
    pub(crate) fn new() -> Self {
        Self {
            is_saving: AtomicBool::new(false),
            last_s: AtomicU64::new(now_s()),
            saves: AtomicU64::new(0),
            last_error: Mutex::new(None),
            took_ms: AtomicU64::new(0),
        }
    }

    /// Whether a save is under way.
    pub(crate) fn is_saving(&self) -> bool {
        self.is_saving.load(Ordering::Relaxed)
    }

    /// When the last save that succeeded began, in seconds since 1970.
    pub(crate) fn last_s(&self) -> u64 {
        self.last_s.load(Ordering::Relaxed)
    }

    /// How many saves have succeeded.
    pub(crate) fn saves(&self) -> u64 {
        self.saves.load(Ordering::Relaxed)
    }

    /// How long the last save took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms.load(Ordering::Relaxed))
    }

    /// Why the last save failed, if it did.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SaveState {
    /// Saves a cache, unless another thread is doing so.
    pub(crate) fn save(&self, cache: &Cache<Bytes, Value>, path: &Path) -> Result<(), SaveError> {
        // Acquire and Release: two saves follow one another.
        if self.is_saving.swap(true, Ordering::Acquire) {
            return Err(SaveError::InProgress);
        }
        let _saving = Saving(&self.is_saving);
        let begun = SystemTime::now();
        let saved = save(cache, path);
        let took = begun.elapsed().unwrap_or_default();
        self.took_ms.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if saved.is_ok() {
            self.last_s.store(seconds(begun), Ordering::Relaxed);
            self.saves.fetch_add(1, Ordering::Relaxed);
        }
        let error = saved.as_ref().err().map(SaveError::with_causes);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        saved
    }
}

/// The save that is under way, until it is dropped: also if it panics.
struct Saving<'s>(&'s AtomicBool);

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        // Release: with the swap in `save`.
        self.0.store(false, Ordering::Release);
    }
}

fn save(cache: &Cache<Bytes, Value>, path: &Path) -> Result<(), SaveError> {
    let saved = cache.save_to_path(path, &SaveOptions::new(Arc::new(Postcard::default())));
    match saved {
        Ok(_) => Ok(()),
        Err(source) => Err(SaveError::Snapshot { path: path.to_owned(), source }),
    }
}

/// Loads what was saved at `path` into the cache, beside what is there; `None` if there is no such file. Entries that
/// have expired meanwhile are left out. With `salvage`, what can be read of a damaged file is loaded.
///
/// The cache may be used and served meanwhile; clients are not notified of keys that are loaded anew, so load before
/// [`Server::start`](crate::Server::start) if possible.
///
/// # Errors
/// The file cannot be read, or is not a whole snapshot of such a cache; the cache is unchanged in that case.
pub fn load(
    cache: &Cache<Bytes, Value>,
    path: &Path,
    salvage: bool,
) -> Result<Option<LoadSummary>, SnapshotError> {
    let options = RestoreOptions::new();
    let options = if salvage { options.salvage() } else { options };
    match cache.load_from_path(path, &options) {
        Ok(summary) => Ok(Some(summary)),
        Err(error) if is_missing(&error, path) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &SnapshotError, path: &Path) -> bool {
    error.is_io()
        && std::fs::symlink_metadata(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn now_s() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
