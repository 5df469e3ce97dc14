//! Who is to hear of a change.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use larder::{Listener, Removal, RemovalCause, TimeHistogram};

use crate::bytes::Bytes;
use crate::client::{ClientId, Clients};
use crate::value::Value;

/// The bounds of the ages at which entries are evicted: each twice the one before, from a millisecond to a year.
static AGE_BOUNDS: [Duration; 35] = {
    let mut bounds = [Duration::ZERO; 35];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = Duration::from_millis(1 << index);
        index += 1;
    }
    bounds
};

/// What a change was, by the name that keyspace events have for it, and by the class under which clients ask
/// for such events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangeKind {
    pub(crate) name: &'static str,
    pub(crate) class: EventClass,
}

impl ChangeKind {
    pub(crate) const SET: Self = Self::string("set");
    pub(crate) const DEL: Self = Self::generic("del");
    pub(crate) const EXPIRE: Self = Self::generic("expire");
    pub(crate) const PERSIST: Self = Self::generic("persist");

    /// A change of a string.
    pub(crate) const fn string(name: &'static str) -> Self {
        Self { name, class: EventClass::String }
    }

    /// A change of a hash.
    pub(crate) const fn hash(name: &'static str) -> Self {
        Self { name, class: EventClass::Hash }
    }

    /// A change of a key of any type.
    pub(crate) const fn generic(name: &'static str) -> Self {
        Self { name, class: EventClass::Generic }
    }
}

/// The classes of keyspace events, by the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventClass {
    /// `g`
    Generic,
    /// `$`
    String,
    /// `h`
    Hash,
    /// `x`
    Expired,
    /// `e`
    Evicted,
    /// `n`
    New,
}

/// A change of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'c> {
    pub(crate) database: u16,
    pub(crate) key: &'c [u8],
    pub(crate) kind: ChangeKind,
    /// The client that made it, if it was one.
    pub(crate) by: Option<ClientId>,
}

/// The place where the changes of a cache reach those who are to hear of them: clients that keep copies, that
/// watch keys for a transaction, or that subscribed to keyspace events.
///
/// A program that serves a cache that it also uses itself builds the cache with the hub's
/// [`listener`](Self::listener), so that clients hear of its changes too, and of evictions and expirations.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_server::{Bytes, Hub, Value};
///
/// let hub = Hub::new();
/// let cache: Cache<Bytes, Value> =
///     Cache::builder().capacity(10_000).listener(hub.listener()).build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clients: Clients,
    /// How long after they were written entries were evicted.
    eviction_ages: TimeHistogram,
}

impl Default for Shared {
    fn default() -> Self {
        Self { clients: Clients::default(), eviction_ages: TimeHistogram::new(&AGE_BOUNDS) }
    }
}

impl Hub {
    /// A hub of which nobody hears yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The listener with which to build the cache. It is quick, and drops no notification.
    pub fn listener(&self) -> Listener<Bytes, Value> {
        let hub = self.clone();
        Listener::new(move |removal: &Removal<'_, Bytes, Value>| hub.note_removal(removal))
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.shared.clients
    }

    /// How long after they were written entries were evicted.
    pub(crate) fn eviction_ages(&self) -> &TimeHistogram {
        &self.shared.eviction_ages
    }

    /// Passes a change on that a client has made. It has taken effect.
    #[inline]
    pub(crate) fn note(&self, _change: &Change<'_>) {}

    /// Passes on that all keys of a database are gone, or of all databases.
    pub(crate) fn note_flush(&self, _database: Option<u16>) {}

    /// Passes on what left the cache by itself, and what users within the process removed.
    fn note_removal(&self, removal: &Removal<'_, Bytes, Value>) {
        if removal.cause == RemovalCause::Evicted {
            self.shared.eviction_ages.record(removal.value.version().age());
        }
        match removal.cause {
            RemovalCause::Evicted | RemovalCause::Expired | RemovalCause::Invalidated => {}
            _ => {}
        }
    }
}
