//! Values: immutable byte strings or small hashes, each with the version of the write that made it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash_map::SmallHash;
use crate::version::Version;

/// About what an entry takes besides the heap bytes of its key and value, for a weigher that bounds memory.
///
/// It is the key and the value themselves, what the cache keeps of an entry, and what allocators add. With
/// mimalloc, each entry takes 117 bytes, or 128 in a cache that evicts, and the program some 47 MB besides; so the
/// process grows by this for each of some million entries. `servers memory` of the benchmarks measures it.
pub const ENTRY_BYTES: usize = 136;

/// Byte strings from this length on are shared by clones instead of copied.
const SHARED_FROM_BYTES: usize = 1024;

/// A value of a served cache: an immutable byte string or a small hash.
///
/// A value carries the [`Version`] of the write that made it, which no other value of the process has, and the
/// flags that memcached clients store with a value. It takes 24 bytes itself. A clone copies up to a
/// kilobyte and shares what is longer.
///
/// # Examples
/// ```
/// use larder_server::Value;
///
/// let value = Value::from("text");
/// assert_eq!(value.as_bytes(), Some(b"text".as_slice()));
/// assert_ne!(value.version(), Value::from("text").version());
/// ```
#[derive(Clone)]
pub struct Value {
    form: ValueForm,
}

#[derive(Clone)]
enum ValueForm {
    Bytes { bytes: Box<[u8]>, stamp: Stamp },
    Shared { shared: Arc<SharedValue>, stamp: Stamp },
}

/// The version of a value, and what the server remembers of the stored value.
///
/// The marks belong to the value that is in the cache: a clone has none of them, so a value that a program has
/// read and writes again does not pass for one that the server has written.
struct Stamp(AtomicU64);

// 63             62             61       0
// | by a command | out by one   | version |
/// A command of the server has written the value, and passes the change on itself.
const WRITTEN_BY_COMMAND: u64 = 1 << 63;
/// A command of the server was about to remove the value, and passes the change on itself.
const REMOVED_BY_COMMAND: u64 = 1 << 62;
const VERSION_BITS: u64 = REMOVED_BY_COMMAND - 1;

impl Stamp {
    const fn new(version: Version) -> Self {
        Self(AtomicU64::new(version.number() & VERSION_BITS))
    }

    #[inline]
    fn load(&self) -> u64 {
        // Relaxed: the cache orders the marks with its own steps. A value is marked as written before it is
        // inserted, and as removed before the removal; the listener is called after that.
        self.0.load(Ordering::Relaxed)
    }

    fn version(&self) -> Version {
        Version::from_number(self.load() & VERSION_BITS)
    }
}

impl Clone for Stamp {
    fn clone(&self) -> Self {
        Self::new(self.version())
    }
}

/// What does not fit beside a version.
struct SharedValue {
    content: Content,
    flags: u32,
    freshness: Freshness,
}

/// Whether a client of memcached should load a value anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// It was invalidated, and may be used until there is a new one.
    pub(crate) is_stale: bool,
    /// A client was told to load it anew.
    pub(crate) is_being_loaded: bool,
}

#[derive(Clone)]
enum Content {
    Bytes(Box<[u8]>),
    Hash(SmallHash),
}

const _: () = assert!(size_of::<Value>() == 24 || cfg!(target_pointer_width = "32"));

impl Value {
    /// A value of these bytes, with memcached's flags.
    #[must_use]
    pub fn with_flags(bytes: Box<[u8]>, flags: u32) -> Self {
        let stamp = Stamp::new(Version::next());
        if flags == 0 && bytes.len() < SHARED_FROM_BYTES {
            return Self { form: ValueForm::Bytes { bytes, stamp } };
        }
        let content = Content::Bytes(bytes);
        let shared = Arc::new(SharedValue { content, flags, freshness: Freshness::default() });
        Self { form: ValueForm::Shared { shared, stamp } }
    }

    /// The same content, flags and version, to be loaded anew or not.
    pub(crate) fn with_freshness(&self, freshness: Freshness) -> Self {
        let stamp = self.stamp().clone();
        let shared = match &self.form {
            ValueForm::Bytes { bytes, .. } => {
                SharedValue { content: Content::Bytes(bytes.clone()), flags: 0, freshness }
            }
            ValueForm::Shared { shared, .. } => {
                SharedValue { content: shared.content.clone(), flags: shared.flags, freshness }
            }
        };
        Self { form: ValueForm::Shared { shared: Arc::new(shared), stamp } }
    }

    /// Whether a client should load it anew.
    pub(crate) fn freshness(&self) -> Freshness {
        match &self.form {
            ValueForm::Bytes { .. } => Freshness::default(),
            ValueForm::Shared { shared, .. } => shared.freshness,
        }
    }

    /// A value that is a small hash.
    #[must_use]
    pub fn from_hash(hash: SmallHash) -> Self {
        let content = Content::Hash(hash);
        let shared = Arc::new(SharedValue { content, flags: 0, freshness: Freshness::default() });
        Self { form: ValueForm::Shared { shared, stamp: Stamp::new(Version::next()) } }
    }

    /// The same content, as a new write: with a version of its own.
    #[must_use]
    pub fn rewritten(&self) -> Self {
        self.clone().with_version(Version::next())
    }

    /// The same content with another version, such as one that a client has chosen. The lower 62 bits of its number are
    /// kept.
    #[must_use]
    pub fn with_version(mut self, new: Version) -> Self {
        match &mut self.form {
            ValueForm::Bytes { stamp, .. } | ValueForm::Shared { stamp, .. } => {
                *stamp = Stamp::new(new)
            }
        }
        self
    }

    /// The same value, marked as written by a command, which passes the change on itself.
    #[inline]
    pub(crate) fn written_by_command(mut self) -> Self {
        *self.stamp_mut().0.get_mut() |= WRITTEN_BY_COMMAND;
        self
    }

    /// Marks the stored value: a command is about to remove it. The command passes the change on whether or not
    /// it is the one that removes it in the end.
    pub(crate) fn mark_removed_by_command(&self) {
        // Relaxed: as in `Stamp::load`.
        self.stamp().0.fetch_or(REMOVED_BY_COMMAND, Ordering::Relaxed);
    }

    pub(crate) fn is_written_by_command(&self) -> bool {
        self.stamp().load() & WRITTEN_BY_COMMAND != 0
    }

    pub(crate) fn is_removed_by_command(&self) -> bool {
        self.stamp().load() & REMOVED_BY_COMMAND != 0
    }

    fn stamp(&self) -> &Stamp {
        match &self.form {
            ValueForm::Bytes { stamp, .. } | ValueForm::Shared { stamp, .. } => stamp,
        }
    }

    fn stamp_mut(&mut self) -> &mut Stamp {
        match &mut self.form {
            ValueForm::Bytes { stamp, .. } | ValueForm::Shared { stamp, .. } => stamp,
        }
    }

    /// The bytes; `None` if the value is a hash.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.form {
            ValueForm::Bytes { bytes, .. } => Some(bytes),
            ValueForm::Shared { shared, .. } => match &shared.content {
                Content::Bytes(bytes) => Some(bytes),
                Content::Hash(_) => None,
            },
        }
    }

    /// The hash; `None` if the value is a byte string.
    #[must_use]
    pub fn as_hash(&self) -> Option<&SmallHash> {
        match &self.form {
            ValueForm::Bytes { .. } => None,
            ValueForm::Shared { shared, .. } => match &shared.content {
                Content::Bytes(_) => None,
                Content::Hash(hash) => Some(hash),
            },
        }
    }

    /// The version of the write that made the value.
    #[must_use]
    #[inline]
    pub fn version(&self) -> Version {
        self.stamp().version()
    }

    /// The flags that a memcached client has stored with the value; otherwise 0.
    #[must_use]
    pub fn flags(&self) -> u32 {
        match &self.form {
            ValueForm::Bytes { .. } => 0,
            ValueForm::Shared { shared, .. } => shared.flags,
        }
    }

    /// How many bytes it takes on the heap, besides its own 24.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            ValueForm::Bytes { bytes, .. } => bytes.len(),
            ValueForm::Shared { shared, .. } => {
                size_of::<SharedValue>()
                    + match &shared.content {
                        Content::Bytes(bytes) => bytes.len(),
                        Content::Hash(hash) => hash.encoded().len(),
                    }
            }
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::with_flags(bytes.into_boxed_slice(), 0)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::with_flags(bytes.into(), 0)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// Compares contents and flags, not versions.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.flags() == other.flags()
            && self.as_bytes() == other.as_bytes()
            && self.as_hash() == other.as_hash()
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_bytes(), self.as_hash()) {
            (Some(bytes), _) => write!(f, "\"{}\"", bytes.escape_ascii()),
            (None, hash) => write!(f, "{hash:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_of_a_marked_value_has_no_marks() {
        for bytes in [vec![b'x'; 3], vec![b'x'; SHARED_FROM_BYTES]] {
            let value = Value::from(bytes);
            let version = value.version();
            let value = value.written_by_command();
            value.mark_removed_by_command();
            assert!(value.is_written_by_command() && value.is_removed_by_command());
            assert_eq!(value.version(), version);
            let clone = value.clone();
            assert!(!clone.is_written_by_command() && !clone.is_removed_by_command());
            assert_eq!(clone.version(), version);
        }
    }
}
