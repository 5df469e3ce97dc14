//! One cached pair: its header, its key, its value, and the metadata that maintenance keeps of it.
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
//! A hit reads the header, the key and the value. They lie close together, because a hit costs
//! little besides its cache misses. The metadata (`meta`), which maintenance and some hits need, is
//! elsewhere: for small entries it is at the end of the same memory page, so that two entries fit a
//! cache line and none lies across two; for all others it is right before the header. The parts that only some
//! entries need (a deadline, the time of writing, tags) precede it in the same allocation
//! (`extension`). The header says which parts there are, so entries with and without them may share
//! a cache, and those without pay nothing for them.
//!
//! What must hold: the maintenance of an entry's partition may use its `EntryPtr` until it retires
//! the entry; other threads may use it under the guard under which they found it. A `&Entry` never
//! outlives that guard.
//!
//! # Orderings
//! - Those of the deadline are in `entry::deadline`. `MOVED` pairs with itself. `CHANGED` precedes
//!   the limit that it announces (`extension`), and the limit precedes the deadline that belongs to
//!   it.
//! - The frequency, and the metadata's node id and stamp, are hints for recording: each is one
//!   relaxed word on which no other memory depends. Only the maintenance of one partition uses the
//!   life bits, and hands them on with its lock.

use std::alloc::Layout;
use std::mem::needs_drop;
use std::ptr::{self, NonNull};

use crate::base::hash::KeyHash;
use crate::base::link::Link;
use crate::base::load_time::LoadTime;
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

pub(crate) use deadline::{BroughtForward, Deadline, Grace};
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
    /// The low and the high bits of the hash.
    hash_low: u32,
    hash_high: u16,
    /// Saturating count of accesses, for policies that ask for counters or marks.
    frequency: AtomicU8,
    /// The [`Prefix`], which never changes, and two flags (`prefix`).
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
    /// The bytes that an entry takes without an extension.
    pub(crate) const BYTES: usize = size_of::<Self>() + size_of::<EntryMeta>();
}

impl Header {
    #[inline]
    fn new(hash: KeyHash, prefix: Prefix) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "48 bits, in two parts")]
        let (hash_low, hash_high) = (hash.raw() as u32, (hash.raw() >> 32) as u16);
        Self {
            next: Link::end(),
            hash_low,
            hash_high,
            frequency: AtomicU8::new(0),
            form: AtomicU8::new(prefix as u8),
        }
    }

    #[inline]
    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::from_raw(u64::from(self.hash_high) << 32 | u64::from(self.hash_low))
    }

    /// Whether the low half of the hash is that of `hash`.
    #[inline]
    pub(crate) fn may_match(&self, hash: KeyHash) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "only the low half")]
        let low = hash.raw() as u32;
        self.hash_low == low
    }

    #[inline]
    pub(crate) fn frequency(&self) -> u8 {
        self.frequency.load(Ordering::Relaxed)
    }
}

/// An entry that no other thread has seen yet. Dropping it drops key and value.
pub(crate) struct Owned<K, V>(NonNull<Entry<K, V>>);

impl<K, V> Owned<K, V> {
    const PLAIN: Layout = Layout::new::<Entry<K, V>>();
    /// Whether entries without an extension have their metadata beside them, if there is room.
    const IS_PAIRED: bool = cfg!(not(larder_loom)) && memory::has_slots(Self::PLAIN);
    /// By prefix: the layout of the allocation of an entry, and the offset of its header in it. If
    /// there are no slots, no entry has the first prefix.
    const LAYOUTS: [(Layout, usize); 9] = [
        (memory::PAIRED, 0),
        match Self::IS_PAIRED {
            true => (memory::UNPAIRED, memory::BESIDE_BYTES),
            false => Prefix::Meta.layout_for(Self::PLAIN),
        },
        Prefix::Deadline.layout_for(Self::PLAIN),
        Prefix::DeadlineAge.layout_for(Self::PLAIN),
        Prefix::DeadlineLimit.layout_for(Self::PLAIN),
        Prefix::DeadlineComputed.layout_for(Self::PLAIN),
        Prefix::Tags.layout_for(Self::PLAIN),
        Prefix::TagsLimit.layout_for(Self::PLAIN),
        Prefix::TagsComputed.layout_for(Self::PLAIN),
    ];
    /// What must hold of `LAYOUTS` for every type; each function that allocates evaluates it.
    const ARE_LAYOUTS_VALID: () = {
        // The low three bits of a link are taken by its tags.
        assert!(Self::PLAIN.align() >= 8);
        // `recycle` and the slabs recognize memory by its layout, including that of slots.
        let mut prefix = 0;
        while prefix < Prefix::ALL.len() {
            let (layout, offset) = Self::LAYOUTS[prefix];
            let is_slot = prefix == Prefix::None as usize;
            if !is_slot || Self::IS_PAIRED {
                assert!(Prefix::ALL[prefix] as usize == prefix);
                assert!(layout.align() >= Self::PLAIN.align(), "less aligned than the entry");
                assert!(offset.is_multiple_of(Self::PLAIN.align()), "the header is misaligned");
                assert!(
                    offset.is_multiple_of(align_of::<EntryMeta>()),
                    "the metadata is misaligned"
                );
                assert!(offset >= Prefix::ALL[prefix].bytes_in_front(), "no room in front");
                assert!(layout.size() - offset >= Self::PLAIN.size(), "no room for the entry");
                assert!(
                    layout.size().is_multiple_of(layout.align()),
                    "two in a row are misaligned"
                );
                let has_layout_of_slots = layout.size() == memory::PAIRED.size()
                    && layout.align() == memory::PAIRED.align();
                assert!(is_slot == has_layout_of_slots, "a layout is mistaken for that of a slot");
            }
            prefix += 1;
        }
    };

    #[inline]
    pub(crate) fn new(hash: KeyHash, weight: u32, key: K, value: V) -> Self {
        const { Self::ARE_LAYOUTS_VALID }
        if Self::IS_PAIRED
            && let Some(slot) = memory::allocate_paired()
        {
            // SAFETY: the slot has the size of an entry, and at least its alignment
            // (`ARE_LAYOUTS_VALID`).
            return unsafe { Self::write(slot.cast(), Prefix::None, hash, weight, key, value) };
        }
        // SAFETY: only the metadata precedes the header.
        unsafe { Self::in_front(Prefix::Meta, hash, weight, key, value) }
    }

    /// An entry with a deadline and, perhaps, tags.
    pub(crate) fn extended(
        hash: KeyHash,
        weight: u32,
        key: K,
        value: V,
        spec: DeadlineSpec,
        tags: Option<TagSet>,
    ) -> Self {
        let prefix = spec.prefix(tags.is_some());
        // SAFETY: the extension is written before any other thread sees the entry.
        let owned = unsafe { Self::in_front(prefix, hash, weight, key, value) };
        // SAFETY: the layout of this prefix has the extension in front of the entry, and no other
        // thread has the memory.
        unsafe { prefix::write_extension(owned.0.cast(), spec, tags) };
        owned
    }

    /// An entry of a prefix that has the metadata in front.
    ///
    /// # Safety
    /// The caller writes the extension, if the prefix has one.
    #[inline]
    unsafe fn in_front(prefix: Prefix, hash: KeyHash, weight: u32, key: K, value: V) -> Self {
        const { Self::ARE_LAYOUTS_VALID }
        let (layout, offset) = Self::LAYOUTS[prefix as usize];
        let memory = memory::allocate(layout);
        // SAFETY: within the allocation, which is of this layout.
        let pointer = unsafe { memory.add(offset) }.cast();
        // SAFETY: the layout has room for the entry there, and for the parts in front of it, each
        // with its alignment (`ARE_LAYOUTS_VALID`).
        unsafe { Self::write(pointer, prefix, hash, weight, key, value) }
    }

    /// # Safety
    /// There is memory for an entry at `pointer`, and for its metadata where this prefix has it,
    /// and no other thread has either.
    #[inline]
    unsafe fn write(
        pointer: NonNull<Entry<K, V>>,
        prefix: Prefix,
        hash: KeyHash,
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
    /// `entry` was made with this prefix and is not freed.
    unsafe fn allocation(entry: NonNull<u8>, prefix: Prefix) -> (Layout, NonNull<u8>) {
        let (layout, offset) = Self::LAYOUTS[prefix as usize];
        // SAFETY: the functions that make entries put them that far into their allocations.
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

    /// The pointer under which the table will link the entry; the ownership stays here.
    #[inline]
    pub(crate) fn as_ptr(&self) -> EntryPtr {
        EntryPtr(self.0.cast())
    }

    /// Notes that the entry comes from a snapshot, with its standing in its policy.
    #[cfg(feature = "snapshot")]
    pub(crate) fn set_restored(&self, frequency: u8, word: u32) {
        let entry = self.as_ptr();
        entry.set_frequency(frequency);
        entry.meta().set_restored(word);
    }

    /// Keeps the entry from being evicted for as long as it is in the table.
    pub(crate) fn set_unevictable(&self) {
        self.as_ptr().meta().set_unevictable();
    }

    /// Notes that the entry is heavier than its partition's share.
    #[cold]
    pub(crate) fn set_heavy(&self) {
        self.as_ptr().meta().set_heavy();
    }

    /// Notes how long the value took to load.
    pub(crate) fn set_load_time(&self, time: LoadTime) {
        self.as_ptr().meta().set_load_time(time);
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
        // This frees the memory even if the drop of the key or the value panics.
        struct Free(Layout, NonNull<u8>);
        impl Drop for Free {
            fn drop(&mut self) {
                memory::recycle(self.0, self.1);
            }
        }
        let prefix = self.as_ptr().prefix();
        // SAFETY: `new` or `extended` made it, and nothing else frees it.
        let (layout, memory) = unsafe { Self::allocation(self.0.cast(), prefix) };
        let _free = Free(layout, memory);
        // SAFETY: only `self` owns them, and nothing else drops them.
        unsafe { prefix::drop_tags(self.0.cast(), prefix) };
        // SAFETY: initialized, owned only by `self`, and not used after this drop.
        unsafe { ptr::drop_in_place(self.0.as_ptr()) };
    }
}

/// A shared entry without the types of its key and value, as events, nodes and batches hold it.
///
/// Only the table makes these, for entries that it has linked. The entry is alive until it is
/// retired; for a thread that found it under a guard, it is alive until that guard is dropped.
/// Using an `EntryPtr` later breaks the contract at the head of this module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryPtr(NonNull<Header>);

// SAFETY: header and metadata are atomics and plain words that do not change once the entry is
// shared. Key and value are reached only through `Table<K, V>` and `dispose`, which require `Send`
// and `Sync` (`Cache`'s constructors bound them).
unsafe impl Send for EntryPtr {}
// SAFETY: as above.
unsafe impl Sync for EntryPtr {}

impl EntryPtr {
    /// # Safety
    /// `pointer` is the header of an entry that an `Owned` made and that is linked in a table. The
    /// entry is not retired while the result or a copy of it is used, except under a guard that was
    /// pinned before the entry was found.
    #[inline]
    pub(crate) unsafe fn from_raw(pointer: NonNull<Header>) -> Self {
        Self(pointer)
    }

    #[inline]
    pub(crate) fn as_raw(self) -> NonNull<Header> {
        self.0
    }

    /// # Safety
    /// The entry has keys of type `K` and values of type `V`. During `'g`, it is not retired, or is
    /// protected by a guard that was pinned before it was found.
    #[inline]
    pub(crate) unsafe fn as_entry<'g, K, V>(self) -> &'g Entry<K, V> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.cast::<Entry<K, V>>().as_ref() }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: alive for as long as the caller may use `self` (the contract of this type).
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn hash(self) -> KeyHash {
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
        // every hit on a warm entry take its cache line.
        let frequency = self.frequency();
        if frequency < max {
            self.set_frequency(frequency + 1);
        }
    }

    /// Marks the entry as accessed. False if it was marked already; it is then only read.
    #[inline]
    pub(crate) fn mark(self) -> bool {
        let is_first = self.frequency() == 0;
        if is_first {
            self.set_frequency(1);
        }
        is_first
    }
}

/// Drops the key and the value of every entry in `entries` and frees their memory. Returns how many
/// of those drops panicked; no panic keeps another from being dropped.
///
/// # Safety
/// Each entry is an `Owned::<K, V>` that was shared, no reader can still hold it, and no thread
/// uses it after this call.
pub(crate) unsafe fn dispose<K, V>(mut entries: Vec<EntryPtr>) -> u64 {
    // SAFETY: passed on to the caller.
    let panics = unsafe { drop_pairs::<K, V>(&entries) };
    for entry in &entries {
        // SAFETY: as in `drop_pairs`. Tags are not the user's, and dropping them does not panic.
        unsafe { prefix::drop_tags(entry.as_raw(), entry.prefix()) };
    }
    // Each layout has a free list of its own.
    if !entries.is_sorted_by_key(|entry| entry.prefix()) {
        entries.sort_unstable_by_key(|entry| entry.prefix());
    }
    for alike in entries.chunk_by(|entry, next| entry.prefix() == next.prefix()) {
        let (layout, offset) = Owned::<K, V>::LAYOUTS[alike[0].prefix() as usize];
        let memory = alike.iter().map(|entry| {
            // SAFETY: `Owned` put the entry that far into its allocation.
            unsafe { entry.as_raw().cast::<u8>().sub(offset) }
        });
        memory::recycle_all(layout, memory);
    }
    panics
}

/// As [`dispose`], for entries without extensions. It does not read those whose key and value need
/// no drop, because they left the processor's cache long ago.
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
        let (layout, offset) = Owned::<K, V>::LAYOUTS[Prefix::Meta as usize];
        let others = entries.iter().filter(|entry| !is_paired(entry));
        // SAFETY: `Owned` put the entries that far into their allocations.
        let memory = others.map(|entry| unsafe { entry.as_raw().cast::<u8>().sub(offset) });
        memory::recycle_all(layout, memory);
    }
    panics
}

/// # Safety
/// As for [`dispose`], and `entries` names each entry once.
unsafe fn drop_pairs<K, V>(entries: &[EntryPtr]) -> u64 {
    let mut panics = 0;
    if !needs_drop::<K>() && !needs_drop::<V>() {
        return panics;
    }
    for entry in entries {
        let pointer = entry.as_raw().cast::<Entry<K, V>>().as_ptr();
        // Separately, because a panic in the key's drop must not leak the value.
        // SAFETY: initialized, and only ours by the caller's promise.
        let key = unsafe { &raw mut (*pointer).key };
        // SAFETY: as above.
        let value = unsafe { &raw mut (*pointer).value };
        // SAFETY: as above, and nothing else drops it.
        let is_key_dropped = contain(|| unsafe { ptr::drop_in_place(key) }).is_some();
        // SAFETY: as above.
        let is_value_dropped = contain(|| unsafe { ptr::drop_in_place(value) }).is_some();
        panics += u64::from(!is_key_dropped) + u64::from(!is_value_dropped);
    }
    panics
}
