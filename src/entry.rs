//! One cached pair: the header that table, recording and maintenance work on, the key, the value.
//!
//! This module owns the memory layout of an entry and its life:
//!
//! ```text
//!   Owned ──table links it──▶ shared: `&Entry` under a guard, `EntryPtr` in events and nodes
//!                                │ both its events seen by maintenance, table no longer reaches it
//!                                ▼
//!                             retired (`reclaim::Retired`) ──grace period──▶ `dispose`: drops key
//!                                                                         and value, frees memory
//! ```
//!
//! What only some entries need (a deadline, the time of writing, tags) stands in front of the header, in
//! the same allocation (`extension`). The header says what does, so entries with and without may
//! share a cache, and those without pay nothing for it.
//!
//! What must hold: an `EntryPtr` is used by its partition's maintenance alone, and by nobody once
//! it was retired; a `&Entry` never outlives the guard it was found under.
//!
//! # Orderings
//! - The deadline's are in `expiry::deadline`. `MOVED` pairs with itself. `CHANGED` comes before the
//!   limit that it announces (`extension`), and that before the deadline that belongs to it.
//! - The header's node id, frequency and stamp are hints for recording: each is one relaxed word
//!   that no other memory hangs on. The life bits are touched by maintenance of one partition
//!   only, which hands them on with its lock.

use std::alloc::Layout;
use std::mem::needs_drop;
use std::ptr::{self, NonNull};

use crate::contain::contain;
use crate::listener::RemovalCause;
use crate::policy::NodeId;
use crate::reclaim;
use crate::sync::{AtomicU8, AtomicU32, Ordering};
use crate::table::Link;
use crate::tags::TagSet;

mod extension;

#[cfg_attr(larder_loom, allow(unused_imports))]
pub(crate) use extension::Extension;
pub(crate) use extension::{Extent, Look, Terms};

// The header, 32 bytes. A hit reads the second half of it, key and value: what it needs of a small
// entry fits a cache line wherever the allocator puts it, but for one place out of four.
//
//  0      4        8       12     13      14      16   24      28       30          31         32
//  | node | weight | stamp | life | flags | cause | next | hash           | frequency | form     |
#[repr(C)]
pub(crate) struct Header {
    /// The policy's node id plus one; 0 while the entry is not linked in the policy.
    node: AtomicU32,
    weight: u32,
    /// The recording tick of the last recorded access, for policies that ask for the order of
    /// accesses; a word of the policy's own for the others.
    stamp: AtomicU32,
    /// `BORN` and `GONE`: which of the entry's two events maintenance has seen; and who holds it.
    life: AtomicU8,
    /// `MOVED`.
    flags: AtomicU8,
    /// Why the entry has left the table; set by who took it out, and published with the event.
    cause: AtomicU8,
    /// The table's link to the next entry or bucket head.
    pub(crate) next: Link,
    /// The hash's low and high bits.
    hash_low: u32,
    hash_high: u16,
    /// Saturating count of accesses, for policies that ask for counters or marks.
    frequency: AtomicU8,
    /// The [`Extent`], which never changes, and whether shadows want to hear of hits (`extension`).
    form: AtomicU8,
}

#[cfg(all(target_pointer_width = "64", not(larder_loom)))]
const _: () = assert!(size_of::<Header>() == 32);

/// Maintenance has applied the event that put the entry into the table.
const BORN: u8 = 1;
/// Maintenance has applied the event that took the entry out, or evicted it itself.
const GONE: u8 = 2;
/// Both, and no more: nothing will speak of the entry again, so it may be retired.
const FINISHED: u8 = BORN | GONE;

/// In `flags`: the partition was told to look at the deadline, and has not yet.
const MOVED: u8 = 1;
/// In `flags`: the entry comes from a snapshot, and `stamp` is the word that its policy restores
/// it by. Set before the entry is shared, and looked at once, when it is linked in the policy.
const RESTORED: u8 = 2;
/// In `flags`: the entry was given a lifetime of its own, for which it had no room.
const CHANGED: u8 = 4;
/// In `flags`: the entry is never evicted. Set before it is shared, and for life.
const UNEVICTABLE: u8 = 8;
/// Who still needs an entry that has left: a notification that it has, or that it has taken
/// another's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Old = 4,
    New = 8,
}

/// A key, its value and their header in one allocation.
#[repr(C)]
pub(crate) struct Entry<K, V> {
    header: Header,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K, V> Entry<K, V> {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

impl Header {
    #[inline]
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    #[inline]
    pub(crate) fn is_unevictable(&self) -> bool {
        // Relaxed: set before the entry was shared.
        self.flags.load(Ordering::Relaxed) & UNEVICTABLE != 0
    }

    #[inline]
    fn new(hash: u64, weight: u32, extent: Extent) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "48 bits, in two parts")]
        let (hash_low, hash_high) = (hash as u32, (hash >> 32) as u16);
        Self {
            node: AtomicU32::new(0),
            weight,
            stamp: AtomicU32::new(0),
            life: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            cause: AtomicU8::new(RemovalCause::Explicit as u8),
            next: Link::end(),
            hash_low,
            hash_high,
            frequency: AtomicU8::new(0),
            form: AtomicU8::new(extent as u8),
        }
    }

    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        u64::from(self.hash_high) << 32 | u64::from(self.hash_low)
    }

    /// Whether the low half of the hash is that of `hash`.
    #[inline]
    pub(crate) fn is_alike(&self, hash: u64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
        let low = hash as u32;
        self.hash_low == low
    }

    #[inline]
    pub(crate) fn frequency(&self) -> u8 {
        self.frequency.load(Ordering::Relaxed)
    }

    /// Counts an access up to `max`; a saturated counter is only read.
    #[inline]
    pub(crate) fn raise_frequency(&self, max: u8) {
        // Two racing hits may count as one: the counter is a hint, and an atomic add would make
        // every hit to a warm entry take its cache line.
        let frequency = self.frequency.load(Ordering::Relaxed);
        if frequency < max {
            self.frequency.store(frequency + 1, Ordering::Relaxed);
        }
    }

    /// Marks the entry as accessed; false if it was marked already, and is only read then.
    #[inline]
    pub(crate) fn mark(&self) -> bool {
        let is_first = self.frequency.load(Ordering::Relaxed) == 0;
        if is_first {
            self.frequency.store(1, Ordering::Relaxed);
        }
        is_first
    }

    /// The node id, if maintenance has linked the entry.
    #[inline]
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.node.load(Ordering::Relaxed).checked_sub(1).map(NodeId::from_raw)
    }

    /// Whether this is the first access that `tick` sees; remembers it if so.
    #[inline]
    pub(crate) fn touch(&self, tick: u32) -> bool {
        let is_first = self.stamp.load(Ordering::Relaxed) != tick;
        if is_first {
            self.stamp.store(tick, Ordering::Relaxed);
        }
        is_first
    }
}

/// An entry nobody else has seen yet. Dropping it drops key and value.
pub(crate) struct Owned<K, V>(NonNull<Entry<K, V>>);

impl<K, V> Owned<K, V> {
    const PLAIN: Layout = Layout::new::<Entry<K, V>>();
    /// The memory of an entry, and where its header is in it, by extent.
    const AROUND: [(Layout, usize); 6] = [
        Extent::Nothing.around(Self::PLAIN),
        Extent::Dated.around(Self::PLAIN),
        Extent::Timed.around(Self::PLAIN),
        Extent::Limited.around(Self::PLAIN),
        Extent::Tagged.around(Self::PLAIN),
        Extent::TaggedLimited.around(Self::PLAIN),
    ];

    #[inline]
    pub(crate) fn new(hash: u64, weight: u32, key: K, value: V) -> Self {
        let pointer = reclaim::allocate(Self::PLAIN).cast::<Entry<K, V>>();
        let entry = Entry { header: Header::new(hash, weight, Extent::Nothing), key, value };
        // SAFETY: `allocate` returned memory of this layout that nobody else has.
        unsafe { pointer.write(entry) };
        Self::assert_aligned(pointer)
    }

    /// An entry with a lifetime and, perhaps, tags.
    pub(crate) fn extended(
        hash: u64,
        weight: u32,
        key: K,
        value: V,
        terms: Terms,
        tags: Option<TagSet>,
    ) -> Self {
        let extent = terms.extent(tags.is_some());
        let (layout, offset) = Self::AROUND[extent as usize];
        let memory = reclaim::allocate(layout);
        // SAFETY: within the allocation, which is of this layout.
        let pointer = unsafe { memory.add(offset) }.cast::<Entry<K, V>>();
        let entry = Entry { header: Header::new(hash, weight, extent), key, value };
        // SAFETY: as above, and nobody else has the memory.
        unsafe { pointer.write(entry) };
        let owned = Self::assert_aligned(pointer);
        // SAFETY: the layout of this extent has it in front of the entry, and nobody else has the memory.
        unsafe { extension::write(pointer.cast(), terms, tags) };
        owned
    }

    fn assert_aligned(pointer: NonNull<Entry<K, V>>) -> Self {
        // Tags take the low three bits of a link.
        const { assert!(align_of::<Entry<K, V>>() >= 8) };
        Self(pointer)
    }

    /// The allocation of an entry.
    ///
    /// # Safety
    /// `entry` was made by `new` or `extended` with this extent, and is not freed.
    unsafe fn allocation(entry: NonNull<u8>, extent: Extent) -> (Layout, NonNull<u8>) {
        let (layout, offset) = Self::AROUND[extent as usize];
        // SAFETY: either put the entry that far into its allocation.
        (layout, unsafe { entry.sub(offset) })
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        // SAFETY: `new` initialized the entry and `self` is its only owner.
        unsafe { &(*self.0.as_ptr()).key }
    }

    #[inline]
    pub(crate) fn value(&self) -> &V {
        // SAFETY: as in `key`.
        unsafe { &(*self.0.as_ptr()).value }
    }

    /// The pointer under which the table will link it; ownership stays here.
    #[inline]
    pub(crate) fn as_ptr(&self) -> EntryPtr {
        EntryPtr(self.0.cast())
    }

    /// Notes that the entry comes from a snapshot, with what its policy knew of it.
    #[cfg(feature = "snapshot")]
    pub(crate) fn set_restored(&self, frequency: u8, word: u32) {
        let entry = self.as_ptr();
        entry.set_frequency(frequency);
        entry.set_scratch(word);
        // Relaxed: published with the entry.
        entry.header().flags.fetch_or(RESTORED, Ordering::Relaxed);
    }

    /// Keeps the entry from being evicted, for as long as it is in the table.
    pub(crate) fn set_unevictable(&self) {
        // Relaxed: published with the entry.
        self.as_ptr().header().flags.fetch_or(UNEVICTABLE, Ordering::Relaxed);
    }

    /// Gives the entry to the table, which has just linked it.
    #[inline]
    pub(crate) fn into_shared(self) -> EntryPtr {
        let pointer = self.as_ptr();
        std::mem::forget(self);
        pointer
    }
}

impl<K, V> Drop for Owned<K, V> {
    fn drop(&mut self) {
        // Frees the memory also when the drop of key or value panics.
        struct Free(Layout, NonNull<u8>);
        impl Drop for Free {
            fn drop(&mut self) {
                reclaim::recycle(self.0, self.1);
            }
        }
        let extent = self.as_ptr().extent();
        // SAFETY: made by `new` or `extended`, and freed nowhere else.
        let (layout, memory) = unsafe { Self::allocation(self.0.cast(), extent) };
        let _free = Free(layout, memory);
        // SAFETY: owned by `self` alone, and dropped nowhere else.
        unsafe { extension::drop_tags(self.0.cast(), extent) };
        // SAFETY: initialized, owned by `self` alone, and not used after this drop.
        unsafe { ptr::drop_in_place(self.0.as_ptr()) };
    }
}

/// A shared entry whose key and value types are forgotten: what events, nodes and batches hold.
///
/// Only the table hands these out, for entries it has linked; from then until it is retired the
/// entry is alive. Whoever holds one past that breaks the contract at the head of this module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPtr(NonNull<Header>);

// SAFETY: the header is atomics and plain words that do not change once the entry is shared; key
// and value are reached only through `Table<K, V>` and `dispose`, which ask for `Send` and `Sync`
// (`Cache`'s constructors bound them).
unsafe impl Send for EntryPtr {}
// SAFETY: as above.
unsafe impl Sync for EntryPtr {}

impl EntryPtr {
    /// # Safety
    /// `pointer` is the header of an entry made by `Owned::new`, linked in a table, and not
    /// retired for as long as the result or a copy of it is used.
    #[inline]
    pub(crate) unsafe fn from_raw(pointer: NonNull<Header>) -> Self {
        Self(pointer)
    }

    #[inline]
    pub(crate) fn as_raw(self) -> NonNull<Header> {
        self.0
    }

    /// # Safety
    /// The entry has keys of type `K` and values of type `V`, and stays unretired, or protected
    /// by a guard pinned before it was found, during `'g`.
    #[inline]
    pub(crate) unsafe fn as_entry<'g, K, V>(self) -> &'g Entry<K, V> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.cast::<Entry<K, V>>().as_ref() }
    }

    /// Notes that the deadline was moved to an earlier time. False if that is noted already, and
    /// the partition has not looked yet.
    #[inline]
    pub(crate) fn set_moved(self) -> bool {
        // AcqRel: pairs with the one in `take_moved`, which comes later and so sees the deadline
        // that was stored before this.
        self.header().flags.fetch_or(MOVED, Ordering::AcqRel) & MOVED == 0
    }

    /// The word that the policy restores the entry by, if it comes from a snapshot.
    #[inline]
    pub(crate) fn restored(self) -> Option<u32> {
        // Relaxed: set before the entry was shared.
        let is_restored = || self.header().flags.load(Ordering::Relaxed) & RESTORED != 0;
        (cfg!(feature = "snapshot") && is_restored()).then(|| self.scratch())
    }

    /// Whether it is never evicted, and so in no policy.
    #[inline]
    pub(crate) fn is_unevictable(self) -> bool {
        self.header().is_unevictable()
    }

    /// The partition is about to look at the deadline.
    #[inline]
    pub(crate) fn take_moved(self) {
        // AcqRel: pairs with `set_moved`.
        self.header().flags.fetch_and(!MOVED, Ordering::AcqRel);
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: alive until it is retired (the contract of this type), and whoever asks has not
        // retired it yet.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.header().hash()
    }

    #[inline]
    pub(crate) fn weight(self) -> u32 {
        self.header().weight
    }

    #[inline]
    pub(crate) fn frequency(self) -> u8 {
        self.header().frequency()
    }

    #[inline]
    pub(crate) fn set_frequency(self, frequency: u8) {
        self.header().frequency.store(frequency, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn scratch(self) -> u32 {
        self.header().stamp.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_scratch(self, scratch: u32) {
        self.header().stamp.store(scratch, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn node(self) -> Option<NodeId> {
        self.header().node()
    }

    #[inline]
    pub(crate) fn set_node(self, node: Option<NodeId>) {
        let raw = node.map_or(0, |id| id.to_raw() + 1);
        self.header().node.store(raw, Ordering::Relaxed);
    }

    /// Announces that the header is about to be used.
    #[inline]
    pub(crate) fn prefetch(self) {
        crate::table::prefetch_for_write(self.0.as_ptr());
    }

    /// Notes that the event that published the entry was applied.
    #[inline]
    pub(crate) fn set_born(self) {
        self.set_life(BORN);
    }

    /// Notes that the entry has left the table.
    #[inline]
    pub(crate) fn set_gone(self) {
        self.set_life(GONE);
    }

    #[inline]
    fn set_life(self, bit: u8) {
        let life = self.header().life.load(Ordering::Relaxed);
        debug_assert_eq!(life & bit, 0, "an entry is born once, goes once, is held once");
        self.header().life.store(life | bit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_gone(self) -> bool {
        self.header().life.load(Ordering::Relaxed) & GONE != 0
    }

    /// Keeps the entry from being retired. For the partition's maintenance, like what follows.
    pub(crate) fn hold(self, hold: Hold) {
        self.set_life(hold as u8);
    }

    pub(crate) fn let_go(self, hold: Hold) {
        let life = self.header().life.load(Ordering::Relaxed);
        debug_assert_ne!(life & hold as u8, 0, "let go of what was not held");
        self.header().life.store(life & !(hold as u8), Ordering::Relaxed);
    }

    /// Says why the entry has left the table. For who took it out, before that is reported.
    #[inline]
    pub(crate) fn set_cause(self, cause: RemovalCause) {
        self.header().cause.store(cause as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn cause(self) -> RemovalCause {
        RemovalCause::from_raw(self.header().cause.load(Ordering::Relaxed))
    }

    /// Whether both events were seen and nobody holds it, so that nothing will name it again.
    #[inline]
    pub(crate) fn is_finished(self) -> bool {
        self.header().life.load(Ordering::Relaxed) == FINISHED
    }
}

/// Drops the key and the value of every entry in `entries` and frees their memory. Returns how
/// many of those drops panicked; none keeps another from being dropped.
///
/// # Safety
/// Each entry is an `Owned::<K, V>` that was shared, no reader can still hold it, and nobody uses
/// it after this call.
pub(crate) unsafe fn dispose<K, V>(mut entries: Vec<EntryPtr>) -> u64 {
    // SAFETY: passed on to the caller.
    let panics = unsafe { drop_pairs::<K, V>(&entries) };
    for entry in &entries {
        // SAFETY: as in `drop_pairs`; they are not the user's, and do not panic.
        unsafe { extension::drop_tags(entry.as_raw(), entry.extent()) };
    }
    // Each layout has a free list of its own.
    if !entries.is_sorted_by_key(|entry| entry.extent()) {
        entries.sort_unstable_by_key(|entry| entry.extent());
    }
    for alike in entries.chunk_by(|entry, next| entry.extent() == next.extent()) {
        let (layout, offset) = Owned::<K, V>::AROUND[alike[0].extent() as usize];
        let memory = alike.iter().map(|entry| {
            // SAFETY: `Owned` put the entry that far into its allocation.
            unsafe { entry.as_raw().cast::<u8>().sub(offset) }
        });
        reclaim::recycle_all(layout, memory);
    }
    panics
}

/// As [`dispose`], for entries with nothing in front of their headers. Those whose key and value
/// need no drop it does not even look at: they have long left the cache of the processor.
///
/// # Safety
/// As for [`dispose`].
pub(crate) unsafe fn dispose_plain<K, V>(entries: &[EntryPtr]) -> u64 {
    // SAFETY: passed on to the caller.
    let panics = unsafe { drop_pairs::<K, V>(entries) };
    let memory = entries.iter().map(|entry| entry.as_raw().cast());
    reclaim::recycle_all(Owned::<K, V>::PLAIN, memory);
    panics
}

/// # Safety
/// As for [`dispose`], and each entry once.
unsafe fn drop_pairs<K, V>(entries: &[EntryPtr]) -> u64 {
    let mut panics = 0;
    if !needs_drop::<K>() && !needs_drop::<V>() {
        return panics;
    }
    for entry in entries {
        let pointer = entry.as_raw().cast::<Entry<K, V>>().as_ptr();
        // One at a time: a panic in the key's drop must not leak the value.
        // SAFETY: initialized, and by the caller's promise ours alone.
        let key = unsafe { &raw mut (*pointer).key };
        // SAFETY: as above.
        let value = unsafe { &raw mut (*pointer).value };
        // SAFETY: as above, and dropped nowhere else.
        let is_key_dropped = contain(|| unsafe { ptr::drop_in_place(key) }).is_some();
        // SAFETY: as above.
        let is_value_dropped = contain(|| unsafe { ptr::drop_in_place(value) }).is_some();
        panics += u64::from(!is_key_dropped) + u64::from(!is_value_dropped);
    }
    panics
}
