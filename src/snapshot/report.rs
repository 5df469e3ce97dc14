//! What became of entries that were saved or loaded.
#![forbid(unsafe_code)]

use std::fmt;

use serde::Serialize;

/// What was saved, and what was left out and why.
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
    /// Entries.
    pub entries: u64,
    /// Bytes, before they were packed.
    pub bytes: u64,
    /// Those entries that have tags, which were saved with them.
    pub tagged: u64,
    /// Those entries that the cache never evicts. A snapshot has them as ordinary ones.
    pub unevictable: u64,
    /// Entries that had expired, and were left out.
    pub expired: u64,
    /// Entries of which a tag had been invalidated, and which were left out.
    pub invalidated: u64,
}

impl Saved {
    /// How many entries the cache had and the snapshot has not.
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

/// What became of a snapshot, and what was left out and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Loaded {
    /// Entries that were put into the cache.
    pub entries: u64,
    /// Those of them that took the place of an entry of the same key, be it one that was there before
    /// or one of the snapshot.
    pub replaced: u64,
    /// Entries that the cache has no room for: the coldest, which were passed over, or have made room
    /// for others since.
    pub no_room: u64,
    /// Entries that have expired since they were saved.
    pub expired: u64,
    /// Entries that were too heavy for the cache.
    pub rejected: u64,
    /// Entries that could not be put in because the call came from within the cache's own atomic
    /// listener.
    pub within_listener: u64,
    /// Records that were damaged or no entries of the types asked for. 0 unless
    /// [salvaging](super::LoadOptions::salvage).
    pub damaged: u64,
    /// How many more entries there were when the snapshot was begun than records were found. 0 unless
    /// salvaging.
    pub missing: u64,
    /// Where the frame is broken, and everything was given up from there on. `None` unless salvaging.
    pub broken_at: Option<u64>,
}

impl Loaded {
    /// Whether the snapshot was undamaged. What was left out for another reason is counted apart
    /// ([`left_out`](Self::left_out)).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged == 0 && self.missing == 0 && self.broken_at.is_none()
    }

    /// How many entries of the snapshot are not in the cache, as far as they are known.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        let lost = self.damaged + self.missing;
        self.no_room + self.expired + self.rejected + self.within_listener + lost
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries)?;
        list(f, " (", ")", &[(self.replaced, "replaced others")])?;
        let reasons = [
            (self.no_room, "without room"),
            (self.expired, "expired"),
            (self.rejected, "too heavy"),
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

/// Those counts that are not 0, by name, between `before` and `behind`.
fn list(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    behind: &str,
    counts: &[(u64, &str)],
) -> fmt::Result {
    let mut separator = before;
    for (count, name) in counts.iter().filter(|(count, _)| *count > 0) {
        write!(f, "{separator}{count} {name}")?;
        separator = ", ";
    }
    if separator == before { Ok(()) } else { f.write_str(behind) }
}
