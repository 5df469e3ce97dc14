//! Reports of saving and loading: counts of entries by what happened to them.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

/// The counts of a save: what was saved, and what was left out for which reason.
///
/// # Examples
#[cfg_attr(feature = "json", doc = "```")]
#[cfg_attr(not(feature = "json"), doc = "```ignore")]
/// use larder::Cache;
/// use larder::snapshot::{SaveOptions, Serializers};
///
/// let cache: Cache<String, u64> = Cache::new(100);
/// cache.insert_with_tags("a".to_owned(), 1, ["t"]);
/// let json = SaveOptions::new(Serializers::standard().get("json")?);
/// let saved = cache.save_to(Vec::new(), &json)?;
/// assert!(saved.to_string().starts_with("1 entries (1 tagged), "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Saved {
    /// Entries that were saved.
    pub entries: u64,
    /// The bytes of the snapshot before packing.
    pub bytes: u64,
    /// Saved entries that have tags, which were saved with them.
    pub tagged: u64,
    /// Saved entries that are unevictable. The snapshot holds them as ordinary ones.
    pub unevictable: u64,
    /// Entries that had expired, which were left out.
    pub expired: u64,
    /// Entries with a tag that had been invalidated, which were left out.
    pub invalidated: u64,
}

impl Saved {
    /// How many entries of the cache are not in the snapshot.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.expired + self.invalidated
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries)?;
        list(f, " (", ")", &[(self.tagged, "tagged"), (self.unevictable, "unevictable")])?;
        write!(f, ", {} bytes", self.bytes)?;
        list(f, "; left out: ", "", &[(self.expired, "expired"), (self.invalidated, "invalidated")])
    }
}

/// The counts of a load: what was loaded, and what was left out for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoadSummary {
    /// Entries that were inserted into the cache.
    pub entries: u64,
    /// Inserted entries that replaced an entry of the same key, which was in the cache before or came from the
    /// snapshot.
    pub replaced: u64,
    /// Entries for which the cache has no room: the coldest ones, which were skipped or evicted.
    pub no_room: u64,
    /// Entries that have expired since they were saved.
    pub expired: u64,
    /// Entries that the cache rejected: they were too heavy, or had more tags than an entry of this cache may have.
    pub rejected: u64,
    /// Entries that could not be inserted because the call came from within the cache's own atomic listener.
    pub within_listener: u64,
    /// Records that were damaged or not entries of the requested types. 0 unless
    /// [salvaging](super::RestoreOptions::salvage).
    pub damaged: u64,
    /// Records that are missing: the number of entries when the saving began, less that of the records found. 0
    /// unless salvaging.
    pub missing: u64,
    /// The byte from which on the frame is broken, so that nothing more was read. `None` unless salvaging.
    pub broken_at: Option<u64>,
}

impl LoadSummary {
    /// Whether the snapshot was undamaged. Entries may still have been [left out](Self::left_out) for another
    /// reason.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged == 0 && self.missing == 0 && self.broken_at.is_none()
    }

    /// How many entries of the snapshot were not loaded, as far as that is known.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        let lost = self.damaged + self.missing;
        self.no_room + self.expired + self.rejected + self.within_listener + lost
    }
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries)?;
        list(f, " (", ")", &[(self.replaced, "replaced others")])?;
        let reasons = [
            (self.no_room, "without room"),
            (self.expired, "expired"),
            (self.rejected, "rejected"),
            (self.within_listener, "within a listener"),
            (self.damaged, "damaged"),
            (self.missing, "missing"),
        ];
        list(f, "; left out: ", "", &reasons)?;
        match self.broken_at {
            Some(at) => write!(f, "; broken from byte {at} on"),
            None => Ok(()),
        }
    }
}

/// Writes the counts that are not 0, with their names, between `before` and `after`.
fn list(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    after: &str,
    counts: &[(u64, &str)],
) -> fmt::Result {
    let mut separator = before;
    for (count, name) in counts.iter().filter(|(count, _)| *count > 0) {
        write!(f, "{separator}{count} {name}")?;
        separator = ", ";
    }
    if separator == before { Ok(()) } else { f.write_str(after) }
}
