//! Keys that clients watch for a transaction.
//!
//! A transaction fails if a watched key has changed since it was watched. There are two tests. Commands mark the
//! transactions that watch the key that they change; a step that leaves the key as it was, such as a removal and a new
//! insertion of the same, counts too. Besides, `EXEC` compares the versions of the values with those at the time of
//! `WATCH`; so a transaction also fails because of changes within the process, evictions, expirations, and databases
//! that were emptied or swapped, but not because of a key that had expired before. `WATCH` and `EXEC` run with no other
//! command under way (`Store::exclusive`), so none is between its change and its mark.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::Bytes;

/// Whether a key that a transaction watches has changed.
#[derive(Debug, Default)]
pub(crate) struct WatchMark {
    is_touched: AtomicBool,
}

impl WatchMark {
    fn touch(&self) {
        // Relaxed: `EXEC` reads it with no command under way.
        self.is_touched.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_touched(&self) -> bool {
        // Relaxed: as in `touch`.
        self.is_touched.load(Ordering::Relaxed)
    }
}

type Watches = HashMap<Bytes, Vec<(u16, Arc<WatchMark>)>, ahash::RandomState>;

/// The watched keys, with the databases in which they are watched and the marks to touch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    watches: Mutex<Watches>,
}

impl Watchers {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the mark touched when a command changes the key. Calls `joined` before others can end a watch.
    pub(crate) fn add(
        &self,
        database: u16,
        key: &[u8],
        mark: &Arc<WatchMark>,
        joined: impl FnOnce(),
    ) {
        let mut watches = self.watches();
        watches.entry(Bytes::from(key)).or_default().push((database, Arc::clone(mark)));
        joined();
    }

    /// Ends a watch. Calls `left` if it was the last one, before another can begin.
    pub(crate) fn remove(
        &self,
        database: u16,
        key: &[u8],
        mark: &Arc<WatchMark>,
        left: impl FnOnce(),
    ) {
        let mut watches = self.watches();
        if let Some(marks) = watches.get_mut(key) {
            marks.retain(|(of, other)| *of != database || !Arc::ptr_eq(other, mark));
            if marks.is_empty() {
                watches.remove(key);
            }
        }
        if watches.is_empty() {
            left();
        }
    }

    /// Touches the marks of those who watch the key.
    pub(crate) fn touch(&self, database: u16, key: &[u8]) {
        for (of, mark) in self.watches().get(key).into_iter().flatten() {
            if *of == database {
                mark.touch();
            }
        }
    }

    /// How many keys are watched.
    pub(crate) fn len(&self) -> usize {
        self.watches().len()
    }
}
