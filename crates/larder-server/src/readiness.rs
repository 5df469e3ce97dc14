//! Whether the server is ready for clients.
//!
//! # Orderings
//! Both counters are read alone, and nothing is published by them, so `Relaxed` suffices.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What keeps a server from being ready.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// How many guards say that the cache is being filled.
    loading: AtomicUsize,
    is_stopping: AtomicBool,
}

impl Readiness {
    /// Says that the server ends. It does not become ready again.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// What HTTP alone shows.
#[cfg(feature = "http")]
impl Readiness {
    /// Whether the cache is being filled.
    pub(crate) fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed) > 0
    }

    /// Whether the server ends.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Why the server is not ready, in one word; `None` if it is.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        match () {
            () if self.is_stopping() => Some("stopping"),
            () if self.is_loading() => Some("loading"),
            () => None,
        }
    }
}

/// Keeps a server from being ready while it is being filled; made by
/// [`Server::begin_loading`](crate::Server::begin_loading).
#[must_use = "the server is ready again when the guard is dropped"]
pub struct LoadingGuard {
    readiness: Arc<Readiness>,
}

impl LoadingGuard {
    pub(crate) fn new(readiness: Arc<Readiness>) -> Self {
        readiness.loading.fetch_add(1, Ordering::Relaxed);
        Self { readiness }
    }
}

impl Drop for LoadingGuard {
    fn drop(&mut self) {
        self.readiness.loading.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for LoadingGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingGuard").finish_non_exhaustive()
    }
}
