//! The parts that precede the headers of entries, and where they are.
//!
//! A hit checks the deadline, which is equally close to the header whatever other parts there are.
//! The smaller entries are, the more of those in use fit the processor's caches. So the time of
//! writing is stored only in entries in which it does not follow from the deadline.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::deadline::{Deadline, Grace};
use super::extension::{
    AgeExtension, ComputedExtension, Extension, LimitExtension, TagsComputedExtension,
    TagsExtension, TagsLimitExtension,
};
use super::meta::EntryMeta;
use super::{EntryPtr, Header};
use crate::base::prefetch::prefetch_for_write;
use crate::base::sync::{AtomicU64, Ordering};
use crate::memory;
use crate::tags::TagSet;

/// The parts that precede a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Prefix {
    /// Nothing: the metadata is beside the entry.
    None = 0,
    /// The metadata alone. In all that follow, it stands between the named part and the header.
    Meta = 1,
    /// An [`Extension`].
    Deadline = 2,
    /// An [`AgeExtension`].
    DeadlineAge = 3,
    /// A [`LimitExtension`].
    DeadlineLimit = 4,
    /// A [`ComputedExtension`].
    DeadlineComputed = 5,
    /// A [`TagsExtension`].
    Tags = 6,
    /// A [`TagsLimitExtension`].
    TagsLimit = 7,
    /// A [`TagsComputedExtension`].
    TagsComputed = 8,
}

/// In `form`: hits on the entry are reported to shadow caches. Above all prefixes, so that one
/// comparison shows that a hit has nothing to check.
const SAMPLED: u8 = 0x80;
/// In `form`: a fill has put the entry into the table, but no lookup may see it yet. Above all
/// prefixes too.
const UNCONFIRMED: u8 = 0x40;
/// The bits that are not the prefix.
const FLAGS: u8 = SAMPLED | UNCONFIRMED;
/// What a hit has to check of an entry that needs a check.
pub(crate) enum HitCheck<'e> {
    Deadline(&'e Extension),
    /// Tags too, or the hit is to be reported to shadow caches.
    More,
}

// The metadata stands right before a header, which has at least the alignment 8, and the extension
// right before the metadata.
const _: () = assert!(size_of::<EntryMeta>().is_multiple_of(8) && align_of::<EntryMeta>() <= 8);

/// What the deadline of a new entry is made of, and so its extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineSpec {
    /// When the entry was made, if that is to be kept; it always is if there is a limit or tags.
    pub(crate) written_ns: Option<u64>,
    pub(crate) deadline_ns: u64,
    /// The time beyond which hits cannot move the deadline, if they move it and that time does not
    /// follow from the time at which the entry was made.
    pub(crate) limit_ns: Option<u64>,
    /// Whether the deadline that an [`Expiry`](crate::Expiry) computes is to be kept beside the
    /// deadline and the limit; there must be a limit then.
    pub(crate) has_computed: bool,
}

impl DeadlineSpec {
    pub(super) fn prefix(&self, has_tags: bool) -> Prefix {
        match (self.limit_ns, has_tags) {
            (None, false) if self.written_ns.is_none() => Prefix::Deadline,
            (None, false) => Prefix::DeadlineAge,
            (Some(_), false) if self.has_computed => Prefix::DeadlineComputed,
            (Some(_), false) => Prefix::DeadlineLimit,
            (None, true) => Prefix::Tags,
            (Some(_), true) if self.has_computed => Prefix::TagsComputed,
            (Some(_), true) => Prefix::TagsLimit,
        }
    }

    pub(super) fn extension(&self) -> Extension {
        Extension { deadline: Deadline::new(self.deadline_ns) }
    }
}

impl Prefix {
    /// All prefixes, by number.
    pub(super) const ALL: [Self; 9] = [
        Self::None,
        Self::Meta,
        Self::Deadline,
        Self::DeadlineAge,
        Self::DeadlineLimit,
        Self::DeadlineComputed,
        Self::Tags,
        Self::TagsLimit,
        Self::TagsComputed,
    ];

    #[inline]
    pub(super) fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::None,
            1 => Self::Meta,
            2 => Self::Deadline,
            3 => Self::DeadlineAge,
            4 => Self::DeadlineLimit,
            5 => Self::DeadlineComputed,
            6 => Self::Tags,
            7 => Self::TagsLimit,
            _ => Self::TagsComputed,
        }
    }

    #[inline]
    pub(super) fn has_age(self) -> bool {
        self >= Self::DeadlineAge
    }

    #[inline]
    pub(super) fn has_limit(self) -> bool {
        matches!(self, Self::DeadlineLimit | Self::TagsLimit) || self.has_computed()
    }

    #[inline]
    pub(super) fn has_computed(self) -> bool {
        matches!(self, Self::DeadlineComputed | Self::TagsComputed)
    }

    #[inline]
    pub(super) fn has_tags(self) -> bool {
        self >= Self::Tags
    }

    /// The size of the extension.
    const fn extension_bytes(self) -> usize {
        match self {
            Self::None | Self::Meta => 0,
            Self::Deadline => size_of::<Extension>(),
            Self::DeadlineAge => size_of::<AgeExtension>(),
            Self::DeadlineLimit => size_of::<LimitExtension>(),
            Self::DeadlineComputed => size_of::<ComputedExtension>(),
            Self::Tags => size_of::<TagsExtension>(),
            Self::TagsLimit => size_of::<TagsLimitExtension>(),
            Self::TagsComputed => size_of::<TagsComputedExtension>(),
        }
    }

    /// The number of bytes of the parts in front of the header.
    #[inline]
    pub(super) const fn bytes_in_front(self) -> usize {
        match self {
            Self::None => 0,
            _ => size_of::<EntryMeta>() + self.extension_bytes(),
        }
    }

    /// The layout of the allocation of an entry whose header, key and value have the layout
    /// `plain`, and the offset of the header in it.
    pub(super) const fn layout_for(self, plain: Layout) -> (Layout, usize) {
        let front = Layout::from_size_align(self.bytes_in_front(), align_of::<EntryMeta>());
        if let Ok(front) = front
            && let Ok((layout, offset)) = front.extend(plain)
        {
            return (layout.pad_to_align(), offset);
        }
        panic!("an entry of that size exceeds the address space")
    }
}

impl EntryPtr {
    /// The metadata. Finding it reads the header, so do it once for several uses.
    #[inline]
    pub(crate) fn meta(&self) -> &EntryMeta {
        // SAFETY: `Owned` has written it there for this prefix. It lives as long as the header, for
        // as long as the caller may use that (the contract of this type). The pointer comes from
        // the allocation, or the slab, that both are in.
        unsafe { &*meta_of(self.0, self.prefix()) }
    }

    /// Prefetches header and metadata. Only the header says where the metadata is, so this guesses:
    /// beside the entry, if its address may be that of a slot, and otherwise in the line of the
    /// header.
    #[inline]
    pub(crate) fn prefetch(self) {
        prefetch_for_write(self.0.as_ptr());
        let header = self.0.as_ptr().cast();
        if memory::is_paired(header) {
            prefetch_for_write(memory::beside(header));
        }
    }

    #[inline]
    fn form(self) -> u8 {
        // Relaxed: the prefix was set before the entry was shared, and `SAMPLED` announces nothing.
        self.header().form.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn prefix(self) -> Prefix {
        Prefix::from_raw(self.form() & !FLAGS)
    }

    /// Whether there is an extension.
    #[inline]
    pub(crate) fn is_extended(self) -> bool {
        self.prefix() > Prefix::Meta
    }

    /// Whether a hit has to check more than the key: the extension, or the flags.
    #[inline]
    pub(crate) fn needs_check(self) -> bool {
        self.form() > Prefix::Meta as u8
    }

    /// Whether hits are reported to shadow caches.
    #[inline]
    pub(crate) fn is_sampled(self) -> bool {
        self.form() & SAMPLED != 0
    }

    /// Makes hits be reported to shadow caches from now on.
    pub(crate) fn set_sampled(self) {
        // Relaxed: as in `form`.
        self.header().form.fetch_or(SAMPLED, Ordering::Relaxed);
    }

    /// Whether no lookup may see the entry yet.
    #[inline]
    pub(crate) fn is_unconfirmed(self) -> bool {
        self.form() & UNCONFIRMED != 0
    }

    /// Hides an entry that is not shared yet, until it is confirmed.
    pub(crate) fn set_unconfirmed(self) {
        // Relaxed: published with the entry.
        self.header().form.fetch_or(UNCONFIRMED, Ordering::Relaxed);
    }

    /// Makes the entry visible to all lookups.
    pub(crate) fn confirm(self) {
        // Relaxed: key and value were published with the entry. A thread that waits until a change
        // of the key is visible takes the lock under which this is called (`fills`).
        self.header().form.fetch_and(!UNCONFIRMED, Ordering::Relaxed);
    }

    /// The extension, if there is one.
    #[inline]
    pub(crate) fn extension(&self) -> Option<&Extension> {
        self.is_extended().then(|| {
            // SAFETY: initialized by `Owned::extended`, which alone sets a prefix that has an
            // extension, and alive as long as the header.
            unsafe { &*extension_of(self.0) }
        })
    }

    /// What a hit has to check of an entry that [needs it](Self::needs_check).
    #[inline(always)]
    pub(crate) fn hit_check(&self) -> HitCheck<'_> {
        const DEADLINE: u8 = Prefix::Deadline as u8;
        const TAGS: u8 = Prefix::Tags as u8;
        match self.form() {
            DEADLINE..TAGS => {
                // SAFETY: as above, for these prefixes.
                HitCheck::Deadline(unsafe { &*extension_of(self.0) })
            }
            _ => HitCheck::More,
        }
    }

    /// The word with the cache's time when the entry was made, if it has one; it may hold a limit.
    #[inline]
    pub(crate) fn written_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_age().then(|| {
            // SAFETY: as above, for the prefixes that have it.
            unsafe { &(*age_extension_of(self.0)).written_ns }
        })
    }

    /// Sets the time beyond which hits cannot move the deadline, which the caller changes next;
    /// `hits_move` says whether hits move it at all. In an entry without a word for the limit, it
    /// replaces the time of writing, or, if that follows from the deadline, it only notes that it
    /// no longer does.
    pub(crate) fn set_limit_ns(&self, limit_ns: u64, hits_move: bool) {
        let mut limit = self.own_limit_ns();
        if limit.is_none() && (hits_move || self.written_ns().is_none()) {
            self.meta().set_changed();
            limit = self.written_ns();
        }
        if let Some(limit) = limit {
            // Release: a thread that reads the limit in place of the time of writing sees
            // `CHANGED`; pairs with the loads in `limit_ns`, `move_within_limit` and
            // `written_at_ns`.
            limit.store(limit_ns, Ordering::Release);
        }
    }

    /// The time beyond which a hit cannot move the deadline that it has loaded, where `ttl_ns` is
    /// how long entries live by default. While another thread changes that deadline, this may be
    /// its old limit or its new one; once the deadline has changed, the hit cannot move it any
    /// more.
    #[inline]
    pub(crate) fn limit_ns(&self, ttl_ns: u64) -> u64 {
        // Acquire: as `set_limit_ns` says. The limit itself was stored before the deadline to which
        // it belongs; either limit will do while the deadline is being changed (see above).
        let load = |word: Option<&AtomicU64>| word.map(|word| word.load(Ordering::Acquire));
        match (load(self.own_limit_ns()), load(self.written_ns())) {
            (Some(limit_ns), _) => limit_ns,
            (None, Some(limit_ns)) if self.meta().is_changed() => limit_ns,
            (None, Some(written_ns)) => Deadline::after(written_ns, ttl_ns),
            (None, None) => Deadline::NEVER,
        }
    }

    /// Sets the time from which the lifetime of a shared entry counts, and the limit, before the
    /// deadline is changed. `is_default` says whether the limit follows from that time and the
    /// lifetime that entries have by default; `hits_move` whether hits move the deadline. Returns
    /// whether the word of the time holds that time: once another thread has made it a limit, it
    /// stays one.
    pub(crate) fn set_written_ns(
        &self,
        written_ns: u64,
        limit_ns: u64,
        is_default: bool,
        hits_move: bool,
    ) -> bool {
        let meta = self.meta();
        let Some(written) = self.written_ns() else {
            if !is_default {
                meta.set_changed();
            }
            return true;
        };
        let is_limit = if let Some(own) = self.own_limit_ns() {
            // Release: as in `set_limit_ns`.
            own.store(limit_ns, Ordering::Release);
            false
        } else {
            hits_move && (!is_default || meta.is_changed())
        };
        if is_limit {
            meta.set_changed();
        }
        // Release: as in `set_limit_ns`.
        written.store(if is_limit { limit_ns } else { written_ns }, Ordering::Release);
        !is_limit
    }

    /// Whether the word of the time of writing holds a limit in its place.
    pub(crate) fn is_limit_in_place_of_time(&self, hits_move: bool) -> bool {
        hits_move
            && self.written_ns().is_some()
            && self.own_limit_ns().is_none()
            && self.meta().is_changed()
    }

    /// Moves the deadline to `wanted_ns`, which an [`Expiry`](crate::Expiry) has computed and the
    /// idle deadline allows, or to the limit if that is earlier. `computed_ns` is what the `Expiry`
    /// has computed. Returns the deadline before and after; `None` if the entry has expired, or has
    /// no word for a limit, since a limit in place of the time of writing could be mistaken for
    /// that.
    pub(crate) fn move_within_limit(
        &self,
        wanted_ns: u64,
        computed_ns: u64,
        grace: Grace,
    ) -> Option<(u64, u64)> {
        let limit = self.own_limit_ns()?;
        // Acquire: as `set_limit_ns` says.
        let limit_ns = || limit.load(Ordering::Acquire);
        let deadline = &self.extension()?.deadline;
        loop {
            let before = deadline.get();
            if grace.is_expired(before) {
                return None;
            }
            self.set_computed_ns(computed_ns);
            let after = wanted_ns.min(limit_ns());
            // A thread that sets another limit stores it first and then moves the deadline, and
            // begins again if the deadline has changed meanwhile. It does not notice if this moves
            // the deadline to the value that it had before, so the limit is checked once more.
            if deadline.move_from(before, after) && after <= limit_ns() {
                return Some((before, after));
            }
        }
    }

    /// The deadline that an [`Expiry`](crate::Expiry) has computed last, if it is kept; else
    /// `NEVER`.
    #[inline]
    pub(crate) fn computed_ns(&self) -> u64 {
        // Acquire: stored before the deadline to which it belongs; pairs with `set_computed_ns`.
        self.own_computed_ns().map_or(Deadline::NEVER, |word| word.load(Ordering::Acquire))
    }

    /// Sets the computed deadline, before the deadline is changed.
    pub(crate) fn set_computed_ns(&self, computed_ns: u64) {
        if let Some(computed) = self.own_computed_ns() {
            // Release: before the change of the deadline; pairs with the load in `computed_ns`.
            computed.store(computed_ns, Ordering::Release);
        }
    }

    /// When the entry was written, by the cache's time, if the entry stores that or it follows from
    /// `deadline_ns`, which the caller has loaded from the entry.
    pub(crate) fn written_at_ns(&self, deadline_ns: u64, ttl_ns: u64) -> Option<u64> {
        let written_ns = match self.written_ns() {
            // Acquire: as in `limit_ns`.
            Some(written) => written.load(Ordering::Acquire),
            None if deadline_ns == Deadline::EXPIRED => return None,
            None => deadline_ns.saturating_sub(ttl_ns),
        };
        (!self.meta().is_changed()).then_some(written_ns)
    }

    /// The word of the limit, if the entry has one.
    #[inline]
    pub(crate) fn own_limit_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_limit().then(|| {
            // SAFETY: as above, for this prefix.
            unsafe { &(*limit_extension_of(self.0)).limit_ns }
        })
    }

    /// The word of the deadline that an [`Expiry`](crate::Expiry) has computed last, if there is
    /// one.
    #[inline]
    pub(crate) fn own_computed_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_computed().then(|| {
            // SAFETY: as above, for the prefixes that have it.
            unsafe { &(*computed_extension_of(self.0)).computed_ns }
        })
    }

    #[inline]
    pub(crate) fn has_tags(self) -> bool {
        self.prefix().has_tags()
    }

    /// The entry's tags, if it has any.
    #[inline]
    pub(crate) fn tags(&self) -> Option<&TagSet> {
        let prefix = self.prefix();
        prefix.has_tags().then(|| {
            // SAFETY: as above, for the prefixes that have them.
            unsafe { &*tags_of(self.0, prefix) }
        })
    }

    /// Whether no lookup may see the entry: one of its tags was invalidated, which is final, or it
    /// is not confirmed yet.
    #[inline]
    pub(crate) fn is_invalidated(self) -> bool {
        self.is_unconfirmed() || self.tags().is_some_and(TagSet::is_dead)
    }
}

/// Writes the metadata of the entry of `header`.
///
/// # Safety
/// There is memory for it where this prefix has it, and no other thread has that memory.
#[inline]
pub(super) unsafe fn write_meta(header: NonNull<Header>, prefix: Prefix, weight: u32) {
    // SAFETY: by the caller's promise; aligned, because headers, the parts in front of them, and
    // the memory beside them are.
    unsafe { meta_of(header, prefix).write(EntryMeta::new(weight)) };
}

/// Where the metadata of the entry of `header` is, if the entry has this prefix.
#[inline]
fn meta_of(header: NonNull<Header>, prefix: Prefix) -> *mut EntryMeta {
    if prefix == Prefix::None {
        return memory::beside(header.as_ptr().cast()).cast();
    }
    keep_branch();
    header.as_ptr().cast::<EntryMeta>().wrapping_sub(1)
}

/// Keeps the compiler from choosing between two results without a branch. The processor executes
/// what follows a branch speculatively, so the metadata is fetched along with the header, not after
/// it.
#[inline(always)]
fn keep_branch() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: it is empty, without any instruction.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Writes the parts in front of a header, by this specification and with these tags.
///
/// # Safety
/// As many bytes precede the header as its prefix has in front, and no other thread has them.
pub(super) unsafe fn write_extension(
    header: NonNull<Header>,
    spec: DeadlineSpec,
    tags: Option<TagSet>,
) {
    let prefix = spec.prefix(tags.is_some());
    // SAFETY: every prefix of a specification ends in an aligned extension right before the
    // metadata.
    unsafe { extension_of(header).write(spec.extension()) };
    if let Some(written_ns) = spec.written_ns {
        // SAFETY: as above; this prefix has an age.
        let written = unsafe { &raw mut (*age_extension_of(header)).written_ns };
        // SAFETY: as above.
        unsafe { written.write(AtomicU64::new(written_ns)) };
    }
    if let Some(limit_ns) = spec.limit_ns {
        // SAFETY: as above; this prefix has a limit.
        let limit = unsafe { &raw mut (*limit_extension_of(header)).limit_ns };
        // SAFETY: as above.
        unsafe { limit.write(AtomicU64::new(limit_ns)) };
    }
    if prefix.has_computed() {
        // SAFETY: as above; this prefix has a computed deadline.
        let computed = unsafe { &raw mut (*computed_extension_of(header)).computed_ns };
        // SAFETY: as above.
        unsafe { computed.write(AtomicU64::new(Deadline::NEVER)) };
    }
    if let Some(tags) = tags {
        // SAFETY: this prefix has aligned tags in front, as `tags_of` says.
        unsafe { tags_of(header, prefix).write(tags) };
    }
}

/// Where the extension of the entry of `header` ends, if it has one.
#[inline]
fn end_of(header: NonNull<Header>) -> *mut u8 {
    header.as_ptr().cast::<EntryMeta>().wrapping_sub(1).cast()
}

/// Where the extension begins.
#[inline]
fn extension_of(header: NonNull<Header>) -> *mut Extension {
    end_of(header).cast::<Extension>().wrapping_sub(1)
}

/// The same, for an extension with an age.
#[inline]
fn age_extension_of(header: NonNull<Header>) -> *mut AgeExtension {
    end_of(header).cast::<AgeExtension>().wrapping_sub(1)
}

/// The same, for an extension with a limit.
#[inline]
fn limit_extension_of(header: NonNull<Header>) -> *mut LimitExtension {
    end_of(header).cast::<LimitExtension>().wrapping_sub(1)
}

/// The same, for an extension with a computed deadline.
#[inline]
fn computed_extension_of(header: NonNull<Header>) -> *mut ComputedExtension {
    end_of(header).cast::<ComputedExtension>().wrapping_sub(1)
}

/// Where the tags of the entry of `header` begin, if it has this prefix, which must have tags.
#[inline]
fn tags_of(header: NonNull<Header>, prefix: Prefix) -> *mut TagSet {
    let size = match prefix {
        Prefix::TagsComputed => size_of::<TagsComputedExtension>(),
        Prefix::TagsLimit => size_of::<TagsLimitExtension>(),
        _ => size_of::<TagsExtension>(),
    };
    end_of(header).wrapping_byte_sub(size).cast()
}

/// Drops the tags of the entry of `header`, if this prefix has any.
///
/// # Safety
/// The entry was made with this prefix, no other thread has it, and its tags are not used again.
pub(super) unsafe fn drop_tags(header: NonNull<Header>, prefix: Prefix) {
    if prefix.has_tags() {
        // SAFETY: `Owned::extended` wrote them there, and they are ours by the caller's promise.
        unsafe { ptr::drop_in_place(tags_of(header, prefix)) };
    }
}

#[cfg(all(test, target_pointer_width = "64", not(larder_loom)))]
mod tests {
    use super::*;
    use crate::entry::Entry;

    #[test]
    fn extensions_take_no_more_than_their_words() {
        let plain = Layout::new::<Entry<u64, u64>>();
        assert_eq!(plain.size(), 32);
        assert_eq!(Prefix::Meta.layout_for(plain).0.size(), 48);
        assert_eq!(Prefix::Deadline.layout_for(plain).0.size(), 56);
        assert_eq!(Prefix::DeadlineAge.layout_for(plain).0.size(), 64);
        assert_eq!(Prefix::DeadlineLimit.layout_for(plain).0.size(), 72);
    }
}
