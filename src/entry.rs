//! One cached pair: the header that lookups read, the key, the value; and what only maintenance needs.
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
//! What a hit reads is close together, for a hit costs little but its cache misses: header, key and
//! value. What maintenance keeps of an entry (`meta`) stands elsewhere: of small entries in memory
//! of its own, so that two of them fit a cache line and none lies across two; of all others right
//! before the header. What only some entries need (a deadline, the time of writing, tags) stands
//! before that, in the same allocation (`extension`). The header says what does, so entries with
//! and without may share a cache, and those without pay nothing for it.
//!
//! What must hold: an `EntryPtr` is used by its partition's maintenance until that retires it, and by
//! others under the guard that they found it under; a `&Entry` never outlives that guard.
//!
//! # Orderings
//! - The deadline's are in `expiry::deadline`. `MOVED` pairs with itself. `CHANGED` comes before the
//!   limit that it announces (`extension`), and that before the deadline that belongs to it.
//! - The frequency, and the metadata's node id and stamp, are hints for recording: each is one
//!   relaxed word that no other memory hangs on. The life bits are touched by maintenance of one
//!   partition only, which hands them on with its lock.

use std::alloc::Layout;
use std::mem::needs_drop;
use std::ptr::{self, NonNull};

use crate::base::link::Link;
use crate::base::panics::contain;
use crate::base::sync::{AtomicU8, Ordering};
use crate::memory;
use crate::tags::TagSet;

mod prefix;
mod extension;
mod deadline;
mod meta;
#[cfg(all(test, not(larder_loom)))]
mod layouts;

pub(crate) use deadline::{BroughtForward, Deadline};
#[cfg_attr(larder_loom, allow(unused_imports))]
pub(crate) use extension::Extension;
pub(crate) use meta::{EntryMeta, Hold};
pub(crate) use prefix::{DeadlineSpec, HitCheck, Prefix};

//  0      8           14          15     16
//  | next | hash      | frequency | form | key | value
#[repr(C)]
pub(crate) struct Header {
    /// The table's link to the next entry or bucket head.
    pub(crate) next: Link,
    /// The hash's low and high bits.
    hash_low: u32,
    hash_high: u16,
    /// Saturating count of accesses, for policies that ask for counters or marks.
    frequency: AtomicU8,
    /// The [`Prefix`], which never changes, and whether shadows want to hear of hits (`extension`).
    form: AtomicU8,
}

#[cfg(not(larder_loom))]
const _: () = assert!(size_of::<Header>() == 16);

/// A key, its value and their header in one allocation.
#[repr(C)]
pub(crate) struct Entry<K, V> {
    header: Header,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K, V> Entry<K, V> {
    /// What one takes, but for an extension.
    pub(crate) const BYTES: usize = size_of::<Self>() + size_of::<EntryMeta>();
}

impl Header {
    #[inline]
    fn new(hash: u64, prefix: Prefix) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "48 bits, in two parts")]
        let (hash_low, hash_high) = (hash as u32, (hash >> 32) as u16);
        Self {
            next: Link::end(),
            hash_low,
            hash_high,
            frequency: AtomicU8::new(0),
            form: AtomicU8::new(prefix as u8),
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
}

/// An entry nobody else has seen yet. Dropping it drops key and value.
pub(crate) struct Owned<K, V>(NonNull<Entry<K, V>>);

impl<K, V> Owned<K, V> {
    const PLAIN: Layout = Layout::new::<Entry<K, V>>();
    /// Whether entries without extension have their metadata beside them, where there is room.
    const IS_PAIRED: bool = cfg!(not(larder_loom)) && memory::has_slots(Self::PLAIN);
    /// The memory of an entry, and where its header is in it, by prefix. Without slots there are no
    /// entries of the first.
    const AROUND: [(Layout, usize); 9] = [
        (memory::PAIRED, 0),
        match Self::IS_PAIRED {
            true => (memory::UNPAIRED, memory::BESIDE_BYTES),
            false => Prefix::Meta.around(Self::PLAIN),
        },
        Prefix::Deadline.around(Self::PLAIN),
        Prefix::DeadlineAge.around(Self::PLAIN),
        Prefix::DeadlineLimit.around(Self::PLAIN),
        Prefix::DeadlineComputed.around(Self::PLAIN),
        Prefix::Tags.around(Self::PLAIN),
        Prefix::TagsLimit.around(Self::PLAIN),
        Prefix::TagsComputed.around(Self::PLAIN),
    ];
    /// What `AROUND` must say for every type: named by each function that allocates.
    const IS_AROUND_RIGHT: () = {
        // Tags take the low three bits of a link.
        assert!(Self::PLAIN.align() >= 8);
        // `recycle` and the slabs tell what memory is by its layout, of which slots are one.
        let mut prefix = 0;
        while prefix < Prefix::ALL.len() {
            let (layout, offset) = Self::AROUND[prefix];
            let is_slot = prefix == Prefix::None as usize;
            if !is_slot || Self::IS_PAIRED {
                assert!(Prefix::ALL[prefix] as usize == prefix);
                assert!(layout.align() >= Self::PLAIN.align(), "less aligned than the entry");
                assert!(offset.is_multiple_of(Self::PLAIN.align()), "the header is misaligned");
                assert!(offset.is_multiple_of(align_of::<EntryMeta>()), "its front is misaligned");
                assert!(offset >= Prefix::ALL[prefix].bytes_in_front(), "no room in front");
                assert!(layout.size() - offset >= Self::PLAIN.size(), "no room for the entry");
                assert!(
                    layout.size().is_multiple_of(layout.align()),
                    "two would not lie side by side"
                );
                let has_layout_of_slots = layout.size() == memory::PAIRED.size()
                    && layout.align() == memory::PAIRED.align();
                assert!(is_slot == has_layout_of_slots, "taken for a slot");
            }
            prefix += 1;
        }
    };

    #[inline]
    pub(crate) fn new(hash: u64, weight: u32, key: K, value: V) -> Self {
        const { Self::IS_AROUND_RIGHT }
        if Self::IS_PAIRED
            && let Some(slot) = memory::allocate_paired()
        {
            // SAFETY: the slot has the size of an entry, and its alignment at least
            // (`IS_AROUND_RIGHT`).
            return unsafe { Self::write(slot.cast(), Prefix::None, hash, weight, key, value) };
        }
        // SAFETY: nothing stands in front but the metadata.
        unsafe { Self::in_front(Prefix::Meta, hash, weight, key, value) }
    }

    /// An entry with a lifetime and, perhaps, tags.
    pub(crate) fn extended(
        hash: u64,
        weight: u32,
        key: K,
        value: V,
        spec: DeadlineSpec,
        tags: Option<TagSet>,
    ) -> Self {
        let prefix = spec.prefix(tags.is_some());
        // SAFETY: the extension is written before anybody sees the entry.
        let owned = unsafe { Self::in_front(prefix, hash, weight, key, value) };
        // SAFETY: the layout of this prefix has it in front of the entry, and nobody else has the
        // memory.
        unsafe { prefix::write_extension(owned.0.cast(), spec, tags) };
        owned
    }

    /// An entry of a prefix with the metadata in front.
    ///
    /// # Safety
    /// The caller writes the extension, if there is one.
    #[inline]
    unsafe fn in_front(prefix: Prefix, hash: u64, weight: u32, key: K, value: V) -> Self {
        const { Self::IS_AROUND_RIGHT }
        let (layout, offset) = Self::AROUND[prefix as usize];
        let memory = memory::allocate(layout);
        // SAFETY: within the allocation, which is of this layout.
        let pointer = unsafe { memory.add(offset) }.cast();
        // SAFETY: the layout has room for the entry there, and for what stands in front of it, each
        // with its alignment (`IS_AROUND_RIGHT`).
        unsafe { Self::write(pointer, prefix, hash, weight, key, value) }
    }

    /// # Safety
    /// There is memory for an entry at `pointer` and for its metadata where this prefix has it, and
    /// nobody else has either.
    #[inline]
    unsafe fn write(
        pointer: NonNull<Entry<K, V>>,
        prefix: Prefix,
        hash: u64,
        weight: u32,
        key: K,
        value: V,
    ) -> Self {
        let entry = Entry { header: Header::new(hash, prefix), key, value };
        // SAFETY: by the caller's promise.
        unsafe { pointer.write(entry) };
        // SAFETY: as above.
        unsafe { prefix::write_meta(pointer.cast(), prefix, weight) };
        debug_assert!(pointer.is_aligned());
        Self(pointer)
    }

    /// The allocation of an entry.
    ///
    /// # Safety
    /// `entry` was made with this prefix, and is not freed.
    unsafe fn allocation(entry: NonNull<u8>, prefix: Prefix) -> (Layout, NonNull<u8>) {
        let (layout, offset) = Self::AROUND[prefix as usize];
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
        entry.meta().set_restored(word);
    }

    /// Keeps the entry from being evicted, for as long as it is in the table.
    pub(crate) fn set_unevictable(&self) {
        self.as_ptr().meta().set_unevictable();
    }

    /// Notes that the entry is heavier than its partition's share.
    #[cold]
    pub(crate) fn set_heavy(&self) {
        self.as_ptr().meta().set_heavy();
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
                memory::recycle(self.0, self.1);
            }
        }
        let prefix = self.as_ptr().prefix();
        // SAFETY: made by `new` or `extended`, and freed nowhere else.
        let (layout, memory) = unsafe { Self::allocation(self.0.cast(), prefix) };
        let _free = Free(layout, memory);
        // SAFETY: owned by `self` alone, and dropped nowhere else.
        unsafe { prefix::drop_tags(self.0.cast(), prefix) };
        // SAFETY: initialized, owned by `self` alone, and not used after this drop.
        unsafe { ptr::drop_in_place(self.0.as_ptr()) };
    }
}

/// A shared entry whose key and value types are forgotten: what events, nodes and batches hold.
///
/// Only the table hands these out, for entries it has linked. Until it is retired the entry is alive,
/// and for who found it under a guard until that is dropped. Whoever uses one past that breaks the
/// contract at the head of this module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPtr(NonNull<Header>);

// SAFETY: header and metadata are atomics and plain words that do not change once the entry is
// shared; key and value are reached only through `Table<K, V>` and `dispose`, which ask for `Send`
// and `Sync` (`Cache`'s constructors bound them).
unsafe impl Send for EntryPtr {}
// SAFETY: as above.
unsafe impl Sync for EntryPtr {}

impl EntryPtr {
    /// # Safety
    /// `pointer` is the header of an entry that an `Owned` made, linked in a table, and not retired
    /// for as long as the result or a copy of it is used, but for use under a guard that was pinned
    /// before the entry was found.
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

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: alive for as long as whoever asks may use it (the contract of this type).
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.header().hash()
    }

    #[inline]
    pub(crate) fn frequency(self) -> u8 {
        self.header().frequency()
    }

    #[inline]
    pub(crate) fn set_frequency(self, frequency: u8) {
        self.header().frequency.store(frequency, Ordering::Relaxed);
    }

    /// Counts an access up to `max`; a saturated counter is only read.
    #[inline]
    pub(crate) fn raise_frequency(self, max: u8) {
        // Two racing hits may count as one: the counter is a hint, and an atomic add would make
        // every hit to a warm entry take its cache line.
        let frequency = self.frequency();
        if frequency < max {
            self.set_frequency(frequency + 1);
        }
    }

    /// Marks the entry as accessed; false if it was marked already, and is only read then.
    #[inline]
    pub(crate) fn mark(self) -> bool {
        let is_first = self.frequency() == 0;
        if is_first {
            self.set_frequency(1);
        }
        is_first
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
        unsafe { prefix::drop_tags(entry.as_raw(), entry.prefix()) };
    }
    // Each layout has a free list of its own.
    if !entries.is_sorted_by_key(|entry| entry.prefix()) {
        entries.sort_unstable_by_key(|entry| entry.prefix());
    }
    for alike in entries.chunk_by(|entry, next| entry.prefix() == next.prefix()) {
        let (layout, offset) = Owned::<K, V>::AROUND[alike[0].prefix() as usize];
        let memory = alike.iter().map(|entry| {
            // SAFETY: `Owned` put the entry that far into its allocation.
            unsafe { entry.as_raw().cast::<u8>().sub(offset) }
        });
        memory::recycle_all(layout, memory);
    }
    panics
}

/// As [`dispose`], for entries without extensions. Those whose key and value need no drop it does not
/// even look at: they have long left the cache of the processor.
///
/// # Safety
/// As for [`dispose`].
pub(crate) unsafe fn dispose_plain<K, V>(entries: &[EntryPtr]) -> u64 {
    // SAFETY: passed on to the caller.
    let panics = unsafe { drop_pairs::<K, V>(entries) };
    let is_paired = |entry: &&EntryPtr| {
        Owned::<K, V>::IS_PAIRED && memory::is_paired(entry.as_raw().as_ptr().cast())
    };
    if Owned::<K, V>::IS_PAIRED {
        let slots = entries.iter().filter(is_paired).map(|entry| entry.as_raw().cast());
        memory::recycle_all(memory::PAIRED, slots);
    }
    if !entries.iter().all(|entry| is_paired(&entry)) {
        let (layout, offset) = Owned::<K, V>::AROUND[Prefix::Meta as usize];
        let others = entries.iter().filter(|entry| !is_paired(entry));
        // SAFETY: `Owned` put them that far into their allocations.
        let memory = others.map(|entry| unsafe { entry.as_raw().cast::<u8>().sub(offset) });
        memory::recycle_all(layout, memory);
    }
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
