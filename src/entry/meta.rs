//! What maintenance keeps of an entry. A plain hit needs none of it.
//!
//! Mostly, only the maintenance of the entry's partition reads and writes it. Where the policy asks
//! for the order of accesses, hits read the node id and write the stamp. Hits on sampled keys that
//! are reported to a policy or to shadow caches, and hits that move a deadline, read it too. It
//! lies right before the header, or beside an entry that has nothing in front (`memory::beside`).

use crate::base::cause::RemovalCause;
use crate::base::load_time::LoadTime;
use crate::base::node_id::NodeId;
use crate::base::sync::{AtomicU8, AtomicU32, Ordering};
use crate::memory;

//  0      4        8       12     13      14      15          16
//  | node | weight | stamp | life | flags | cause | load_time |
#[repr(C, align(8))]
pub(crate) struct EntryMeta {
    /// The policy's node id plus one; 0 while the entry is not linked in the policy.
    node: AtomicU32,
    weight: u32,
    /// The recording tick of the last recorded access, for policies that ask for the order of
    /// accesses; otherwise a word of the policy's own.
    stamp: AtomicU32,
    /// Which of the entry's two events maintenance has seen (`BORN` and `GONE`), and its holds.
    life: AtomicU8,
    /// `MOVED` and the constants that follow it below.
    flags: AtomicU8,
    /// Why the entry has left the table. The thread that took it out sets it before the event,
    /// which publishes it.
    cause: AtomicU8,
    /// How long the value took to load, as a [`LoadTime`].
    load_time: AtomicU8,
}

// Otherwise it would not fit beside an entry. Loom's atomics are larger, but there it is never
// beside.
const _: () = assert!(size_of::<EntryMeta>() == memory::BESIDE_BYTES || cfg!(larder_loom));

/// Maintenance has applied the event that put the entry into the table.
const BORN: u8 = 1;
/// Maintenance has applied the event that took the entry out, or evicted it itself.
const GONE: u8 = 2;
/// Both, and no hold: nothing will name the entry again, so it may be retired.
const FINISHED: u8 = BORN | GONE;

/// In `flags`: the partition was asked to check the deadline, and has not done so yet.
const MOVED: u8 = 1;
/// In `flags`: the entry comes from a snapshot, and `stamp` is the word by which its policy
/// restores it. Set before the entry is shared, and read once, when the entry is linked in the
/// policy.
const RESTORED: u8 = 2;
/// In `flags`: the entry was given a time to live of its own, for which it has no word.
const CHANGED: u8 = 4;
/// In `flags`: the entry is never evicted. Set before it is shared, and never cleared.
const UNEVICTABLE: u8 = 8;
/// In `flags`: the user has made the entry the next to be evicted. Only maintenance of the
/// partition uses this.
const DEMOTED: u8 = 16;
/// In `flags`: the entry is heavier than its partition's share, which borrows for it. Set before it
/// is shared, and never cleared; not together with `UNEVICTABLE`.
const HEAVY: u8 = 32;
/// In `flags`: the policy has given the entry up, but its namespace must not lose it
/// (`evict::quotas`). Only maintenance of the partition uses this.
const KEPT: u8 = 64;

/// Why an entry that has left is still needed: for a notification that it has left, or that it has
/// replaced another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Old = 4,
    New = 8,
}

impl EntryMeta {
    pub(super) fn new(weight: u32) -> Self {
        Self {
            node: AtomicU32::new(0),
            weight,
            stamp: AtomicU32::new(0),
            life: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            cause: AtomicU8::new(RemovalCause::Explicit as u8),
            load_time: AtomicU8::new(LoadTime::default().to_raw()),
        }
    }

    #[inline]
    fn has_flag(&self, flag: u8) -> bool {
        // Relaxed: for flags that were set before the entry was shared, or before a word that the
        // caller has acquired.
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// Whether any flag is set.
    #[inline]
    pub(crate) fn has_flags(&self) -> bool {
        // Relaxed: as in `has_flag`.
        self.flags.load(Ordering::Relaxed) != 0
    }

    /// Sets a flag of an entry that is not shared yet.
    fn set_flag(&self, flag: u8) {
        // Relaxed: published with the entry.
        self.flags.fetch_or(flag, Ordering::Relaxed);
    }

    /// Notes that the entry comes from a snapshot, with the word by which its policy restores it.
    /// Call it before the entry is shared.
    #[cfg(feature = "snapshot")]
    pub(super) fn set_restored(&self, word: u32) {
        self.set_scratch(word);
        self.set_flag(RESTORED);
    }

    /// Keeps the entry from being evicted. Call it before the entry is shared.
    pub(super) fn set_unevictable(&self) {
        self.set_flag(UNEVICTABLE);
    }

    /// Notes that the entry needs a loan of weight. Call it before the entry is shared.
    pub(super) fn set_heavy(&self) {
        self.set_flag(HEAVY);
    }

    /// Notes that the entry was given a time to live for which it has no word, before that is
    /// stored.
    pub(super) fn set_changed(&self) {
        // AcqRel: before the limit and the change of the deadline, which are stored next and
        // publish it; pairs with the loads of those, after which `is_changed` is called.
        self.flags.fetch_or(CHANGED, Ordering::AcqRel);
    }

    /// Whether `set_changed` was called before the deadline or the limit that the caller has
    /// loaded.
    #[inline]
    pub(super) fn is_changed(&self) -> bool {
        // Relaxed in `has_flag`: the caller has acquired one of those.
        self.has_flag(CHANGED)
    }

    /// Notes that the deadline was moved to an earlier time. False if that is noted already, and
    /// the partition has not checked it yet.
    #[inline]
    pub(crate) fn set_moved(&self) -> bool {
        // AcqRel: pairs with the one in `take_moved`, which comes later and so sees the deadline
        // that was stored before this.
        self.flags.fetch_or(MOVED, Ordering::AcqRel) & MOVED == 0
    }

    /// The word by which the policy restores the entry, if it comes from a snapshot.
    #[inline]
    pub(crate) fn restored(&self) -> Option<u32> {
        (cfg!(feature = "snapshot") && self.has_flag(RESTORED)).then(|| self.scratch())
    }

    /// Notes that the entry is to be evicted next. False if that is noted already.
    pub(crate) fn set_demoted(&self) -> bool {
        // Relaxed: here and below, under the partition's lock.
        self.flags.fetch_or(DEMOTED, Ordering::Relaxed) & DEMOTED == 0
    }

    /// Whether the entry is to be evicted next.
    pub(crate) fn is_demoted(&self) -> bool {
        self.has_flag(DEMOTED)
    }

    /// Forgets that, because the entry was used since.
    pub(crate) fn clear_demoted(&self) {
        self.flags.fetch_and(!DEMOTED, Ordering::Relaxed);
    }

    /// Whether the entry is never evicted, and so in no policy.
    #[inline]
    pub(crate) fn is_unevictable(&self) -> bool {
        self.has_flag(UNEVICTABLE)
    }

    /// Notes whether the entry is kept for its namespace although the policy has given it up.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        // Relaxed, both: under the partition's lock. Read-modify-writes, because hits set `MOVED`.
        match is_kept {
            true => self.flags.fetch_or(KEPT, Ordering::Relaxed),
            false => self.flags.fetch_and(!KEPT, Ordering::Relaxed),
        };
    }

    /// Whether the entry is kept for its namespace.
    pub(crate) fn is_kept(&self) -> bool {
        self.has_flag(KEPT)
    }

    /// Whether the policy does not know the entry, although it has a node: it is unevictable or kept.
    #[inline]
    pub(crate) fn is_outside_policy(&self) -> bool {
        self.has_flag(UNEVICTABLE | KEPT)
    }

    /// Whether the partition borrows for the entry (`evict::loans`).
    #[inline]
    pub(crate) fn is_heavy(&self) -> bool {
        self.has_flag(HEAVY)
    }

    /// Whether the bounds count the entry apart from most others: it is unevictable or heavy.
    #[inline]
    pub(crate) fn is_counted_apart(&self) -> bool {
        self.has_flag(UNEVICTABLE | HEAVY)
    }

    /// Clears the note of `set_moved`, before the partition checks the deadline.
    #[inline]
    pub(crate) fn take_moved(&self) {
        // AcqRel: pairs with `set_moved`.
        self.flags.fetch_and(!MOVED, Ordering::AcqRel);
    }

    #[inline]
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    #[inline]
    pub(crate) fn scratch(&self) -> u32 {
        self.stamp.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_scratch(&self, scratch: u32) {
        self.stamp.store(scratch, Ordering::Relaxed);
    }

    /// The node id, if maintenance has linked the entry in the policy.
    #[inline]
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.node.load(Ordering::Relaxed).checked_sub(1).map(NodeId::from_raw)
    }

    /// Whether this is the first access in `tick`, which it remembers.
    #[inline]
    pub(crate) fn touch(&self, tick: u32) -> bool {
        let is_first = self.stamp.load(Ordering::Relaxed) != tick;
        if is_first {
            self.stamp.store(tick, Ordering::Relaxed);
        }
        is_first
    }

    #[inline]
    pub(crate) fn set_node(&self, node: Option<NodeId>) {
        let raw = node.map_or(0, |id| id.to_raw() + 1);
        self.node.store(raw, Ordering::Relaxed);
    }

    /// Notes that the event that published the entry was applied.
    #[inline]
    pub(crate) fn set_born(&self) {
        self.set_life(BORN);
    }

    /// As [`set_born`](Self::set_born), and returns whether the entry has left the table already.
    #[inline]
    pub(crate) fn set_born_and_check(&self) -> bool {
        self.set_life(BORN) & GONE != 0
    }

    /// Notes that the entry has left the table.
    #[inline]
    pub(crate) fn set_gone(&self) {
        self.set_life(GONE);
    }

    /// As [`set_gone`](Self::set_gone), and returns whether the entry is [finished](Self::is_finished).
    #[inline]
    pub(crate) fn set_gone_and_check(&self) -> bool {
        self.set_life(GONE) == FINISHED
    }

    #[inline]
    fn set_life(&self, bit: u8) -> u8 {
        let life = self.life.load(Ordering::Relaxed);
        debug_assert_eq!(life & bit, 0, "an entry is born once, leaves once, and is held once");
        self.life.store(life | bit, Ordering::Relaxed);
        life | bit
    }

    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.life.load(Ordering::Relaxed) & GONE != 0
    }

    /// Keeps the entry from being retired. Only the partition's maintenance may call it and
    /// `release`.
    pub(crate) fn hold(&self, hold: Hold) {
        self.set_life(hold as u8);
    }

    pub(crate) fn release(&self, hold: Hold) {
        let life = self.life.load(Ordering::Relaxed);
        debug_assert_ne!(life & hold as u8, 0, "released a hold that was not taken");
        self.life.store(life & !(hold as u8), Ordering::Relaxed);
    }

    /// Notes why the entry has left the table. The thread that took it out calls it before it
    /// reports the removal.
    #[inline]
    pub(crate) fn set_cause(&self, cause: RemovalCause) {
        self.cause.store(cause as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn cause(&self) -> RemovalCause {
        RemovalCause::from_raw(self.cause.load(Ordering::Relaxed))
    }

    /// Notes how long the value took to load.
    pub(crate) fn set_load_time(&self, time: LoadTime) {
        // Relaxed, both: a hint for the early refresh, on which no other memory depends.
        self.load_time.store(time.to_raw(), Ordering::Relaxed);
    }

    /// How long the value took to load; zero if it was not loaded.
    pub(crate) fn load_time(&self) -> LoadTime {
        LoadTime::from_raw(self.load_time.load(Ordering::Relaxed))
    }

    /// Whether both events were seen and no hold is left, so that nothing will name the entry
    /// again.
    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.life.load(Ordering::Relaxed) == FINISHED
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::hash::KeyHash;
    use crate::entry::Deadline;
    use crate::entry::{DeadlineSpec, Owned, dispose, dispose_plain};
    use crate::entry::{EntryPtr, Prefix};
    use crate::tags::Tags;

    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(64))]
    struct Aligned(u8);

    /// Makes an entry of each prefix, changes all that may change, and checks that each part beside
    /// or in front of it has the content that was written.
    fn each_part_has_room<K, V>(key: K, value: V, is_paired: bool)
    where
        K: Clone + PartialEq + std::fmt::Debug,
        V: Clone + PartialEq + std::fmt::Debug,
    {
        const HASH: KeyHash = KeyHash::from_raw(0x1234_5678_9abc);
        let tags = Tags::new();
        let mut made = vec![(None, Owned::new(HASH, 7, key.clone(), value.clone()))];
        for (written_ns, limit_ns, has_computed, is_tagged) in [
            (None, None, false, false),
            (Some(11), None, false, false),
            (Some(11), Some(13), false, false),
            (Some(11), Some(13), true, false),
            (Some(11), None, false, true),
            (Some(11), Some(13), false, true),
            (Some(11), Some(13), true, true),
        ] {
            let spec = DeadlineSpec { written_ns, deadline_ns: 17, limit_ns, has_computed };
            let tag_set = is_tagged.then(|| tags.hold(["a", "b"]).expect("two tags are allowed"));
            let owned = Owned::extended(HASH, 7, key.clone(), value.clone(), spec, tag_set);
            made.push((Some((spec, is_tagged)), owned));
        }
        for (spec, owned) in &made {
            let entry = owned.as_ptr();
            let meta = entry.meta();
            meta.set_node(Some(NodeId::from_raw(u32::MAX - 2)));
            meta.set_scratch(u32::MAX);
            meta.set_born();
            meta.hold(Hold::New);
            meta.set_unevictable();
            assert!(meta.set_moved() && !meta.set_moved());
            meta.set_cause(RemovalCause::Expired);
            entry.set_frequency(u8::MAX);
            entry.set_sampled();

            let stored = (meta.node(), meta.scratch(), meta.weight(), meta.cause());
            let node = Some(NodeId::from_raw(u32::MAX - 2));
            assert_eq!(stored, (node, u32::MAX, 7, RemovalCause::Expired), "{spec:?}");
            assert_eq!(meta.life.load(Ordering::Relaxed), BORN | Hold::New as u8);
            assert!(meta.is_unevictable() && !meta.is_changed());
            assert_eq!(
                (entry.hash(), entry.frequency(), entry.is_sampled()),
                (HASH, u8::MAX, true)
            );
            assert_eq!((owned.key(), owned.value()), (&key, &value));

            let prefix = entry.prefix();
            assert_eq!(entry.extension().is_some(), spec.is_some());
            let Some((spec, is_tagged)) = spec else {
                // If another thread is using the pool, the metadata is in front.
                assert!(is_paired && prefix == Prefix::None || prefix == Prefix::Meta);
                continue;
            };
            assert_eq!(prefix, spec.prefix(*is_tagged));
            assert_eq!(entry.extension().map(|it| it.deadline.get()), Some(17));
            let read = |word: &crate::base::sync::AtomicU64| word.load(Ordering::Relaxed);
            assert_eq!(entry.written_ns().map(read), spec.written_ns);
            assert_eq!(entry.own_limit_ns().map(read), spec.limit_ns);
            let computed = spec.has_computed.then_some(Deadline::NEVER);
            assert_eq!(entry.own_computed_ns().map(read), computed);
            let names: Vec<&str> = entry.tags().into_iter().flat_map(|tags| tags.names()).collect();
            assert_eq!(names, if *is_tagged { vec!["a", "b"] } else { vec![] });
        }
        drop(made);
        assert_eq!(tags.len(), 0, "tags of freed entries are left");
    }

    #[test]
    fn header_metadata_and_extension_do_not_overlap() {
        each_part_has_room(1_u64, 2_u64, !cfg!(larder_malloc));
        each_part_has_room(1_u128, (), !cfg!(larder_malloc));
        each_part_has_room((), (), false);
        each_part_has_room(1_u8, 2_u8, false);
        each_part_has_room("key".to_owned(), vec![1, 2, 3], false);
        each_part_has_room(1_u128, 2_u128, false);
        each_part_has_room(Aligned(1), Aligned(2), false);
        each_part_has_room(1_u64, [3_u8; 5000], false);
    }

    /// Makes entries until `count` have their metadata beside them. While another thread is using
    /// the pool, new entries have it in front.
    fn until_beside<V>(count: usize, make: impl Fn(u64) -> Owned<u64, V>) -> Vec<Owned<u64, V>> {
        let (mut made, mut beside) = (Vec::new(), 0);
        for key in 0.. {
            if beside == count || cfg!(larder_malloc) && made.len() == count {
                break;
            }
            made.push(make(key));
            beside += usize::from(made[made.len() - 1].as_ptr().prefix() == Prefix::None);
        }
        made
    }

    #[test]
    fn metadata_is_beside_small_entries() {
        let many = until_beside(1000, |key| Owned::new(KeyHash::from_raw(key), 1, key, key));
        for (key, owned) in (0_u64..).zip(&many) {
            let entry = owned.as_ptr();
            entry.meta().set_scratch(key as u32);
            entry.prefetch();
        }
        for (key, owned) in (0_u64..).zip(&many) {
            let entry = owned.as_ptr();
            assert_eq!((*owned.key(), entry.meta().scratch()), (key, key as u32));
        }
    }

    #[test]
    fn entries_without_a_slot_are_freed_beside_those_with_one() {
        let shared = Arc::new(());
        let with =
            until_beside(300, |key| Owned::new(KeyHash::from_raw(key), 1, key, shared.clone()));
        let with = with.into_iter().map(Owned::into_shared);
        // `Owned::new` makes such entries while another thread is using the pool.
        let without = |key| unsafe {
            // SAFETY: there is no extension.
            Owned::in_front(Prefix::Meta, KeyHash::from_raw(key), 1, key, shared.clone())
        };
        let without: Vec<EntryPtr> = (0..300).map(|key| without(key).into_shared()).collect();

        // They alternate, so that each half has both.
        let entries: Vec<_> =
            without.into_iter().zip(with).flat_map(|(without, with)| [with, without]).collect();
        for (at, entry) in (0..).zip(&entries) {
            entry.meta().set_scratch(at);
        }
        assert!((0..).zip(&entries).all(|(at, entry)| entry.meta().scratch() == at));
        let count_before = Arc::strong_count(&shared);
        let (plain, any) = entries.split_at(300);
        // SAFETY: shared above, with no other thread.
        let panics = unsafe { dispose_plain::<u64, Arc<()>>(plain) };
        assert_eq!((panics, Arc::strong_count(&shared)), (0, count_before - 300));
        // SAFETY: as above, the other half.
        let panics = unsafe { dispose::<u64, Arc<()>>(any.to_vec()) };
        assert_eq!((panics, Arc::strong_count(&shared)), (0, count_before - 600));
    }
}
