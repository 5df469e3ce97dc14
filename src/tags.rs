//! Tags: names that entries carry, by which many of them are invalidated at once.
//!
//! A [`Tag`] is one generation of a name: all entries that were given the name since it was last
//! invalidated share it. [`TagSet`] is what an entry holds of them.
//!
//! ```text
//!            hold: an insertion                 invalidate              last entry freed
//!   (none) ────────────────────▶ Live, in map ──────────────▶ Dead, not in map ─────▶ (none)
//!                                     │  hold: one entry more                           ▲
//!                                     └─────────────────────────────────────────────────┘
//!                                            last entry freed: out of the map
//! ```
//!
//! # Linearization
//! An entry is given its tags before it is linked in the table. `invalidate` takes effect when it
//! marks the generation dead: an entry that holds it is never valid from then on, also one that is
//! linked only afterwards, whose insertion counts as having come before. One that asks for the name
//! after `invalidate` has taken it out of the map is given a new generation, which lives. Both look
//! into the map under the lock of the name's shard, so there is nothing in between.
//!
//! Lookups touch neither map nor lock: they read the flag of each tag that the entry holds.
//!
//! # Invalidation, replacement and removal
//! The table alone decides who takes an entry out. Whether what was taken out had been invalidated is
//! asked afterwards ([`TagSet::read_ordered`]), and a reader that found an entry invalidated
//! reports a miss only if it is still linked after that, as with deadlines (`expiry::deadline`). So
//! of a reader that misses because of a tag and a writer that replaces the entry, either the reader
//! sees the new value or the writer learns that the old one was not valid any more.
//!
//! # Orderings
//! `is_dead` is acquire-release. The writer changes the link and then reads the flag by a releasing
//! step that writes it back; if `invalidate` comes later in the flag's order, its swap continues
//! the release sequence of that step, so the reader, whose load acquires the mark, sees the change
//! of the link. A store in the place of the swap would end the sequence. Who has been told, by
//! whatever way, that `invalidate` has returned comes after its mark, and so does who has been
//! given the next generation, by the lock. Models: `loom-tests/tests/tags.rs`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::base::sync::{self, AtomicBool, Mutex, Ordering};

/// How many tags an entry may carry.
pub(crate) const MAX_TAGS: usize = 4;

/// Powers of two; enough that threads which insert entries of different tags seldom meet.
#[cfg(not(larder_loom))]
const SHARDS: usize = 32;
#[cfg(larder_loom)]
const SHARDS: usize = 1;

/// One generation of a name.
pub(crate) struct Tag {
    name: Box<str>,
    is_dead: AtomicBool,
    /// Where it stands while it lives.
    tags: Weak<Tags>,
}

/// The tags of an entry, from the first place on.
#[derive(Clone)]
pub(crate) struct TagSet([Option<Arc<Tag>>; MAX_TAGS]);

/// All generations of a cache's tags that live and are held by an entry.
pub(crate) struct Tags {
    shards: Box<[TagShard]>,
    hasher: ahash::RandomState,
}

type TagShard = Mutex<HashMap<Box<str>, Weak<Tag>, ahash::RandomState>>;

impl Tags {
    pub(crate) fn new() -> Arc<Self> {
        let hasher = ahash::RandomState::new();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Arc::new(Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect(), hasher })
    }

    fn shard(&self, name: &str) -> &TagShard {
        #[expect(clippy::cast_possible_truncation, reason = "a few bits are wanted")]
        let hash = self.hasher.hash_one(name) as usize;
        // Not those bits that choose a place in the shard's map.
        &self.shards[(hash >> 16) % self.shards.len()]
    }

    /// The set of these names' present generations; `None` if they are too many. A name that comes
    /// twice counts once.
    pub(crate) fn hold<N: AsRef<str>>(
        self: &Arc<Self>,
        names: impl IntoIterator<Item = N>,
    ) -> Option<TagSet> {
        let mut set = TagSet(Default::default());
        for name in names {
            let name = name.as_ref();
            if set.iter().any(|tag| *tag.name == *name) {
                continue;
            }
            let free = set.0.iter_mut().find(|place| place.is_none())?;
            *free = Some(self.current(name));
        }
        Some(set)
    }

    /// The generation of `name` that lives.
    fn current(self: &Arc<Self>, name: &str) -> Arc<Tag> {
        let mut shard = sync::lock(self.shard(name));
        // No `Arc` of a tag is dropped while it is held: the tag's drop may want the lock.
        if let Some(tag) = shard.get(name).and_then(Weak::upgrade) {
            return tag;
        }
        let is_dead = AtomicBool::new(false);
        let tag = Arc::new(Tag { name: name.into(), is_dead, tags: Arc::downgrade(self) });
        shard.insert(name.into(), Arc::downgrade(&tag));
        tag
    }

    /// Ends the present generation of `name`. False if no entry holds it.
    pub(crate) fn invalidate(&self, name: &str) -> bool {
        let mut shard = sync::lock(self.shard(name));
        let Some(tag) = shard.remove(name).and_then(|tag| tag.upgrade()) else { return false };
        // Under the lock, so that nobody is given a new generation while the old one still lives.
        // AcqRel: hands on to the readers who see the mark what writers did before they read the
        // flag; pairs with `read_ordered` and `is_dead`. That it is an RMW is what counts, Relaxed
        // would do.
        tag.is_dead.swap(true, Ordering::AcqRel);
        drop(shard);
        true
    }

    /// How many generations there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| sync::lock(shard).len()).sum()
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let Some(tags) = self.tags.upgrade() else { return };
        let mut shard = sync::lock(tags.shard(&self.name));
        // Another generation may have taken its place.
        if shard.get(&self.name).is_some_and(|tag| std::ptr::eq(tag.as_ptr(), self)) {
            shard.remove(&self.name);
        }
    }
}

impl TagSet {
    fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter().map_while(Option::as_deref)
    }

    /// Whether one of them was invalidated.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        // Acquire: before the check of the link; pairs with the swap in `invalidate`.
        self.iter().any(|tag| tag.is_dead.load(Ordering::Acquire))
    }

    /// Whether one of them was invalidated before the caller took the entry out of the table.
    pub(crate) fn read_ordered(&self) -> bool {
        // AcqRel: an RMW rather than a load, so that it stands in one order with the swap in
        // `invalidate`, which hands on the caller's change of the link if it comes later.
        self.iter().any(|tag| tag.is_dead.fetch_or(false, Ordering::AcqRel))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|tag| &*tag.name)
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn generation_ends_with_its_last_holder_or_by_invalidation() {
        let tags = Tags::new();
        let (one, two) = (tags.hold(["a", "b"]).unwrap(), tags.hold(["b"]).unwrap());
        assert_eq!(tags.len(), 2);
        drop(one);
        assert_eq!(tags.len(), 1, "`a` is held by nobody");
        assert!(!tags.invalidate("a"));
        assert!(tags.invalidate("b"));
        assert_eq!(tags.len(), 0);
        assert!(two.is_dead());
        let three = tags.hold(["b"]).unwrap();
        assert!(!three.is_dead());
        drop(two);
        assert_eq!(tags.len(), 1, "an older generation takes nothing along");
        assert!(tags.invalidate("b") && three.is_dead());
    }

    #[test]
    fn name_given_twice_counts_once_and_more_than_four_are_too_many() {
        let tags = Tags::new();
        let set = tags.hold(["a", "b", "a", "c", "d", "d"]).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert!(tags.hold(["a", "b", "c", "d", "e"]).is_none());
        assert!(tags.hold(["", "é"]).is_some());
        assert!(tags.hold::<&str>([]).unwrap().is_empty());
        drop(set);
        assert_eq!(tags.len(), 0);
    }

    #[test]
    fn tag_outlives_its_cache() {
        let tags = Tags::new();
        let set = tags.hold(["a"]).unwrap();
        drop(tags);
        assert!(!set.is_dead());
    }
}
