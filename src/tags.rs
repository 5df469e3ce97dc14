//! Tags are names that entries carry, by which many entries are invalidated at once.
//!
//! A [`Tag`] is one generation of a name: all entries that were given the name since it was last
//! invalidated share it. A [`TagSet`] holds the tags of one entry.
//!
//! In a cache with namespaces, the first tag of each entry is a generation of its namespace. It is in no
//! map, and the user does not see it; otherwise it is like any other (`namespaces` says who makes and ends it).
//!
//! ```text
//!            hold: an insertion                 invalidate              last entry freed
//!   (none) ────────────────────▶ Live, in map ──────────────▶ Dead, not in map ─────▶ (none)
//!                                     │  hold: one entry more                           ▲
//!                                     └─────────────────────────────────────────────────┘
//!                                        last entry freed: removed from the map
//! ```
//!
//! # Linearization
//! An entry is given its tags before it is linked in the table. `invalidate` takes effect when it marks
//! the generation dead. From then on an entry that holds the generation is never valid, even if it is
//! linked later; then its insertion counts as having come before. An insertion that asks for the name
//! after `invalidate` has removed it from the map is given a new, live generation. Both use the map under
//! the lock of the name's shard, so there is no state in between.
//!
//! Lookups use neither map nor lock: they read the flag of each tag that the entry holds.
//!
//! # Invalidation, replacement and removal
//! The table alone decides which thread takes an entry out. That thread then checks whether the entry had
//! been invalidated ([`TagSet::read_ordered`]). A reader that found an entry invalidated reports a miss
//! only if the entry is still linked after that, as with deadlines (`entry::deadline`). So if a writer
//! replaces an entry and a reader finds it invalidated, either the reader sees the new value or the
//! writer learns that the old one was not valid any more.
//!
//! # Orderings
//! `is_dead` is acquire-release. The writer changes the link and then reads the flag by a releasing
//! read-modify-write that leaves it as it is. If the swap of `invalidate` comes later in the flag's order,
//! it continues the release sequence of that step, so the reader, whose load acquires the mark, sees the
//! change of the link. A store in place of the swap would end the sequence. A thread that learns, by
//! whatever synchronization, that `invalidate` has returned sees its mark; so does a thread that is given
//! the next generation, by the lock. Models: `loom-tests/tests/tags.rs`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::base::lazy_box::LazyBox;
use crate::base::sync::{self, AtomicBool, Mutex, Ordering};

mod account;

pub(crate) use account::{Account, Crossing, QuotaUnit, Share};

/// How many tags an entry may carry.
pub(crate) const MAX_TAGS: usize = 4;

/// A power of two, large enough that threads which insert entries with different tags seldom contend.
#[cfg(not(larder_loom))]
const SHARDS: usize = 32;
#[cfg(larder_loom)]
const SHARDS: usize = 1;

/// No tag of a user begins with this character.
pub(crate) const RESERVED: char = '\0';

/// One generation of a name.
pub(crate) struct Tag {
    name: Box<str>,
    is_dead: AtomicBool,
    /// The map that holds the tag while it lives.
    tags: Weak<Tags>,
    /// What a generation of a namespace holds; `None` if this is a tag of the user.
    account: Option<Box<Account>>,
}

/// The tags of an entry, from the first slot on.
#[derive(Clone)]
pub(crate) struct TagSet([Option<Arc<Tag>>; MAX_TAGS]);

/// All live generations of a cache's tags, each held by at least one entry.
pub(crate) struct Tags {
    /// Made for the first tag.
    shards: LazyBox<[TagShard; SHARDS]>,
    hasher: ahash::RandomState,
    /// How many tags an entry may be given.
    limit: usize,
}

type TagShard = Mutex<HashMap<Box<str>, Weak<Tag>, ahash::RandomState>>;

impl Tags {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_limit(MAX_TAGS)
    }

    /// As [`new`](Self::new), where an entry may be given only `limit` tags.
    pub(crate) fn with_limit(limit: usize) -> Arc<Self> {
        let hasher = ahash::RandomState::new();
        let shards = LazyBox::new_unless_loom(|| new_shards(&hasher));
        Arc::new(Self { shards, hasher, limit })
    }

    /// How many tags an entry may be given.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn shard(&self, name: &str) -> &TagShard {
        let shards = self.shards.get_or_make(|| new_shards(&self.hasher));
        #[expect(clippy::cast_possible_truncation, reason = "a few bits are wanted")]
        let hash = self.hasher.hash_one(name) as usize;
        // Not the bits that choose a bucket in the shard's map.
        &shards[(hash >> 16) % shards.len()]
    }

    /// The set of the live generations of these names; `None` if there are too many names. A name that
    /// is given twice counts once.
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
            let free = set.0[..self.limit].iter_mut().find(|slot| slot.is_none())?;
            *free = Some(self.current(name));
        }
        Some(set)
    }

    /// The live generation of `name`, which begins now if there is none.
    fn current(self: &Arc<Self>, name: &str) -> Arc<Tag> {
        let mut shard = sync::lock(self.shard(name));
        // No `Arc` of a tag is dropped under the lock, because the tag's drop may take the lock.
        if let Some(tag) = shard.get(name).and_then(Weak::upgrade) {
            return tag;
        }
        let is_dead = AtomicBool::new(false);
        let tags = Arc::downgrade(self);
        let tag = Arc::new(Tag { name: name.into(), is_dead, tags, account: None });
        shard.insert(name.into(), Arc::downgrade(&tag));
        tag
    }

    /// Ends the live generation of `name`. False if there is none.
    pub(crate) fn invalidate(&self, name: &str) -> bool {
        if self.shards.get().is_none() {
            return false;
        }
        let mut shard = sync::lock(self.shard(name));
        let Some(tag) = shard.remove(name).and_then(|tag| tag.upgrade()) else { return false };
        // Under the lock, so that no entry is given a new generation while the old one still lives.
        // AcqRel: passes on what writers did before they read the flag to readers that see the mark;
        // pairs with `read_ordered` and `is_dead`. Relaxed would suffice, because any read-modify-write
        // continues the release sequence.
        tag.is_dead.swap(true, Ordering::AcqRel);
        drop(shard);
        true
    }

    /// Takes the locks, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        let shards = self.shards.get().into_iter().flatten();
        shards.map(sync::lock_for_fork).collect::<Vec<_>>()
    }

    /// How many live generations there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.get().into_iter().flatten().map(|shard| sync::lock(shard).len()).sum()
    }
}

fn new_shards(hasher: &ahash::RandomState) -> [TagShard; SHARDS] {
    std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())))
}

impl Tag {
    /// A new generation of a namespace.
    pub(crate) fn of_namespace(name: &str, account: Account) -> Arc<Self> {
        let is_dead = AtomicBool::new(false);
        let account = Some(Box::new(account));
        Arc::new(Self { name: name.into(), is_dead, tags: Weak::new(), account })
    }

    /// Ends the generation: no entry that holds it is valid any more.
    pub(crate) fn end(&self) {
        // AcqRel: as in `Tags::invalidate`, with the same partners.
        self.is_dead.swap(true, Ordering::AcqRel);
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_deref()
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let Some(tags) = self.tags.upgrade() else { return };
        let mut shard = sync::lock(tags.shard(&self.name));
        // The name may have another generation by now.
        if shard.get(&self.name).is_some_and(|tag| std::ptr::eq(tag.as_ptr(), self)) {
            shard.remove(&self.name);
        }
    }
}

impl TagSet {
    fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter().map_while(Option::as_deref)
    }

    /// Whether one of the tags was invalidated.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        // Acquire: before the check of the link; pairs with the swap in `invalidate`.
        self.iter().any(|tag| tag.is_dead.load(Ordering::Acquire))
    }

    /// Whether one of the tags was invalidated before the caller took the entry out of the table.
    pub(crate) fn read_ordered(&self) -> bool {
        // AcqRel: a read-modify-write rather than a load, so that it has a place in one order with the
        // swap in `invalidate`, which passes on the caller's change of the link if it comes later.
        self.iter().any(|tag| tag.is_dead.fetch_or(false, Ordering::AcqRel))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    /// The names of the tags.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|tag| tag.account.is_none()).map(|tag| &*tag.name)
    }

    /// The generation of the entry's namespace, if it has one.
    pub(crate) fn namespace(&self) -> Option<&Arc<Tag>> {
        self.0[0].as_ref().filter(|tag| tag.account.is_some())
    }

    /// What that generation holds.
    #[inline]
    pub(crate) fn account(&self) -> Option<&Account> {
        self.0[0].as_deref().and_then(Tag::account)
    }

    /// These tags, or none, with a generation of a namespace before them. The limit of `Tags` has left a
    /// slot for it.
    pub(crate) fn in_namespace(tags: Option<Self>, namespace: Arc<Tag>) -> Self {
        let mut slots = tags.map(|tags| tags.0).unwrap_or_default();
        debug_assert!(slots[MAX_TAGS - 1].is_none(), "a tag is lost");
        slots.rotate_right(1);
        slots[0] = Some(namespace);
        Self(slots)
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
        assert_eq!(tags.len(), 1, "no entry holds `a`");
        assert!(!tags.invalidate("a"));
        assert!(tags.invalidate("b"));
        assert_eq!(tags.len(), 0);
        assert!(two.is_dead());
        let three = tags.hold(["b"]).unwrap();
        assert!(!three.is_dead());
        drop(two);
        assert_eq!(tags.len(), 1, "the end of an older generation ended a newer one");
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
    fn namespace_is_no_tag_to_the_user_and_ends_like_one() {
        let tags = Tags::with_limit(MAX_TAGS - 1);
        assert!(tags.hold(["a", "b", "c", "d"]).is_none());
        let namespace = Tag::of_namespace(
            "n",
            Account::new(3, QuotaUnit::Entries, Share::at_least(1), &Arc::default()),
        );
        let set = TagSet::in_namespace(tags.hold(["a", "b", "c"]), Arc::clone(&namespace));
        assert_eq!(set.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(set.account().map(|account| account.namespace), Some(3));
        assert!(TagSet::in_namespace(None, Arc::clone(&namespace)).names().next().is_none());
        assert!(!tags.invalidate("n") && !set.is_dead());
        namespace.end();
        assert!(set.is_dead() && tags.len() == 3);
    }

    #[test]
    fn tag_outlives_its_cache() {
        let tags = Tags::new();
        let set = tags.hold(["a"]).unwrap();
        drop(tags);
        assert!(!set.is_dead());
    }
}
