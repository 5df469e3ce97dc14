//! What stands in front of the headers of entries, and where.
//!
//! What a hit checks, the deadline, is equally close to the header whatever else there is. The
//! smaller an entry is, the more of those that are in use fit the processor's caches: so only the
//! entries whose time of writing does not follow from their deadline have both.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::deadline::Deadline;
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

/// What stands in front of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Prefix {
    /// Nothing: the metadata is beside the entry.
    None = 0,
    /// The metadata alone. With all others it stands between what they name and the header.
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

/// In `form`: shadow caches are to hear of hits on the entry. Above all prefixes, so that one
/// comparison tells a hit that it has nothing to check.
const SAMPLED: u8 = 0x80;
/// In `form`: nobody may see the entry yet, which a fill has put into the table. Above all prefixes
/// too.
const UNCONFIRMED: u8 = 0x40;
/// What is not the prefix.
const FLAGS: u8 = SAMPLED | UNCONFIRMED;
/// What a hit has to check of an entry that needs it.
pub(crate) enum HitCheck<'e> {
    Deadline(&'e Extension),
    /// Tags too, or it is to be reported to shadow caches.
    More,
}

// The metadata stands right before a header, which has the alignment of 8 at least, and the
// extension right before that.
const _: () = assert!(size_of::<EntryMeta>().is_multiple_of(8) && align_of::<EntryMeta>() <= 8);

/// How long a new entry may live: what its extension is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineSpec {
    /// When the entry was made, if that is to be kept; it always is beside a limit and tags.
    pub(crate) written_ns: Option<u64>,
    pub(crate) deadline_ns: u64,
    /// What hits cannot move the deadline beyond, where they move it and that does not follow from
    /// the time at which the entry was made.
    pub(crate) limit_ns: Option<u64>,
    /// Whether what an [`Expiry`](crate::Expiry) computes is to be kept beside the deadline and the
    /// limit, which there has to be.
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
    /// Each, by number.
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

    /// What its extension takes.
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

    /// How far before the header that begins which stands in front of it.
    #[inline]
    pub(super) const fn bytes_in_front(self) -> usize {
        match self {
            Self::None => 0,
            _ => size_of::<EntryMeta>() + self.extension_bytes(),
        }
    }

    /// The memory of an entry whose header, key and value are of `plain`, and where the header is
    /// in it.
    pub(super) const fn around(self, plain: Layout) -> (Layout, usize) {
        let front = Layout::from_size_align(self.bytes_in_front(), align_of::<EntryMeta>());
        if let Ok(front) = front
            && let Ok((layout, offset)) = front.extend(plain)
        {
            return (layout.pad_to_align(), offset);
        }
        panic!("an entry that large fits no memory")
    }
}

impl EntryPtr {
    /// What maintenance keeps of it. Finding it reads the header: do that once for several uses.
    #[inline]
    pub(crate) fn meta(&self) -> &EntryMeta {
        // SAFETY: `Owned` has written it there for this prefix, and it lives as long as the header,
        // for as long as whoever asks may use that (the contract of this type). The pointer has
        // come from the allocation, or the slab, that both are in.
        unsafe { &*meta_of(self.0, self.prefix()) }
    }

    /// Announces that header and metadata are about to be used. Only the header says where the
    /// metadata is: it is taken to be beside what may have it there, and else in the line of the
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
        // Relaxed: the prefix was set before the entry was shared, `SAMPLED` announces nothing.
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

    /// Whether a hit has to check more than the header: the extension, or whether shadow caches
    /// sample the entry.
    #[inline]
    pub(crate) fn needs_check(self) -> bool {
        self.form() > Prefix::Meta as u8
    }

    /// Whether shadow caches are to hear of hits.
    #[inline]
    pub(crate) fn is_sampled(self) -> bool {
        self.form() & SAMPLED != 0
    }

    /// Lets shadow caches hear of hits from now on.
    pub(crate) fn set_sampled(self) {
        // Relaxed: as in `form`.
        self.header().form.fetch_or(SAMPLED, Ordering::Relaxed);
    }

    /// Whether nobody may see the entry yet.
    #[inline]
    pub(crate) fn is_unconfirmed(self) -> bool {
        self.form() & UNCONFIRMED != 0
    }

    /// Lets nobody see an entry that is not shared yet, until it is confirmed.
    pub(crate) fn set_unconfirmed(self) {
        // Relaxed: published with the entry.
        self.header().form.fetch_or(UNCONFIRMED, Ordering::Relaxed);
    }

    /// Lets everybody see the entry.
    pub(crate) fn confirm(self) {
        // Relaxed: key and value were published with the entry, and whoever waits for a change of the
        // key to be visible takes the lock under which this is called (`fills`).
        self.header().form.fetch_and(!UNCONFIRMED, Ordering::Relaxed);
    }

    /// The extension, if there is one.
    #[inline]
    pub(crate) fn extension(&self) -> Option<&Extension> {
        self.is_extended().then(|| {
            // SAFETY: initialized by `Owned::extended`, which alone sets a prefix that has one, and
            // alive as the header is.
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

    /// The cache's time when the entry was made, if that is kept, or what was stored in its place.
    #[inline]
    pub(crate) fn written_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_age().then(|| {
            // SAFETY: as above, for the prefixes that have it.
            unsafe { &(*age_extension_of(self.0)).written_ns }
        })
    }

    /// Notes what hits cannot move the deadline beyond from now on, which is about to be changed;
    /// `hits_move` says whether they move it at all. Where there is no room for that, it takes the
    /// place of the time of writing, or of what tells it.
    pub(crate) fn set_limit_ns(&self, limit_ns: u64, hits_move: bool) {
        let mut limit = self.own_limit_ns();
        if limit.is_none() && (hits_move || self.written_ns().is_none()) {
            self.meta().set_changed();
            limit = self.written_ns();
        }
        if let Some(limit) = limit {
            // Release: who sees it in the place of the time of writing sees `CHANGED`; pairs with the
            // loads in `limit_ns`, `move_within_limit` and `written_at_ns`.
            limit.store(limit_ns, Ordering::Release);
        }
    }

    /// What a hit cannot move the deadline beyond that it has loaded, where `ttl_ns` is how long
    /// entries live by default. Whatever this tells while that deadline is being changed, it cannot be
    /// moved any more then.
    #[inline]
    pub(crate) fn limit_ns(&self, ttl_ns: u64) -> u64 {
        // Acquire: as `set_limit_ns` says. The limit itself was stored before the deadline that it
        // belongs to, or is as good as any (see there).
        let load = |word: Option<&AtomicU64>| word.map(|word| word.load(Ordering::Acquire));
        match (load(self.own_limit_ns()), load(self.written_ns())) {
            (Some(limit_ns), _) => limit_ns,
            (None, Some(limit_ns)) if self.meta().is_changed() => limit_ns,
            (None, Some(written_ns)) => Deadline::after(written_ns, ttl_ns),
            (None, None) => Deadline::NEVER,
        }
    }

    /// Moves the deadline to `wanted_ns`, which an [`Expiry`](crate::Expiry) has computed and the idle
    /// deadline allows, or to the limit if that is earlier; `computed_ns` is what it has computed.
    /// Returns the deadline before and after; `None` if the entry has expired, or has no limit that
    /// stands by itself: one in the place of the time of writing could be mistaken for that.
    pub(crate) fn move_within_limit(&self, wanted_ns: u64, computed_ns: u64) -> Option<(u64, u64)> {
        let limit = self.own_limit_ns()?;
        // Acquire: as `set_limit_ns` says.
        let limit_ns = || limit.load(Ordering::Acquire);
        let deadline = &self.extension()?.deadline;
        loop {
            let before = deadline.get();
            if before == Deadline::EXPIRED {
                return None;
            }
            self.set_computed_ns(computed_ns);
            let after = wanted_ns.min(limit_ns());
            // Whoever sets another limit stores it first and then moves the deadline, and begins again
            // if that has changed meanwhile. Moved to what it was before, it would seem not to have:
            // so this looks at the limit once more.
            if deadline.move_from(before, after) && after <= limit_ns() {
                return Some((before, after));
            }
        }
    }

    /// What an [`Expiry`](crate::Expiry) has computed last, where that is kept; else no deadline.
    #[inline]
    pub(crate) fn computed_ns(&self) -> u64 {
        // Acquire: stored before the deadline that it belongs to; pairs with `set_computed_ns`.
        self.own_computed_ns().map_or(Deadline::NEVER, |word| word.load(Ordering::Acquire))
    }

    /// Notes what was computed, before the deadline is changed.
    pub(crate) fn set_computed_ns(&self, computed_ns: u64) {
        if let Some(computed) = self.own_computed_ns() {
            // Release: before the change of the deadline; pairs with the load in `computed_ns`.
            computed.store(computed_ns, Ordering::Release);
        }
    }

    /// When the entry was written, by the cache's time, if the entry holds that or it follows from
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

    /// What hits cannot move the deadline beyond, if that stands by itself.
    #[inline]
    pub(crate) fn own_limit_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_limit().then(|| {
            // SAFETY: as above, for this prefix.
            unsafe { &(*limit_extension_of(self.0)).limit_ns }
        })
    }

    /// The deadline that an [`Expiry`](crate::Expiry) has computed last, if that is kept.
    #[inline]
    pub(crate) fn own_computed_ns(&self) -> Option<&AtomicU64> {
        self.prefix().has_computed().then(|| {
            // SAFETY: as above, for the prefixes that have it.
            unsafe { &(*computed_extension_of(self.0)).computed_ns }
        })
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

    /// Whether one of its tags was invalidated, which stays so; or nobody may see it yet.
    #[inline]
    pub(crate) fn is_invalidated(self) -> bool {
        self.is_unconfirmed() || self.tags().is_some_and(TagSet::is_dead)
    }
}

/// Writes the metadata of the entry of `header`.
///
/// # Safety
/// There is memory for it where this prefix has it, and nobody else has that.
#[inline]
pub(super) unsafe fn write_meta(header: NonNull<Header>, prefix: Prefix, weight: u32) {
    // SAFETY: by the caller's promise; aligned, as headers and what stands in front of them are, and
    // what is beside them.
    unsafe { meta_of(header, prefix).write(EntryMeta::new(weight)) };
}

/// Where the metadata of the entry of `header` is, if it has this prefix.
#[inline]
fn meta_of(header: NonNull<Header>, prefix: Prefix) -> *mut EntryMeta {
    if prefix == Prefix::None {
        return memory::beside(header.as_ptr().cast()).cast();
    }
    stay_a_branch();
    header.as_ptr().cast::<EntryMeta>().wrapping_sub(1)
}

/// Keeps the compiler from choosing between two results without a branch. What follows a branch is
/// tried before it is known to be right, so the metadata is fetched along with the header, not
/// after.
#[inline(always)]
fn stay_a_branch() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: no instruction at all.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Writes what stands in front of a header, by this specification and these tags.
///
/// # Safety
/// As many bytes precede the header as their prefix has in front, and nobody else has them.
pub(super) unsafe fn write_extension(
    header: NonNull<Header>,
    spec: DeadlineSpec,
    tags: Option<TagSet>,
) {
    let prefix = spec.prefix(tags.is_some());
    // SAFETY: every prefix that a specification has ends in an extension right before the metadata,
    // aligned.
    unsafe { extension_of(header).write(spec.extension()) };
    if let Some(written_ns) = spec.written_ns {
        // SAFETY: as above, of one with an age, which this prefix ends in.
        let written = unsafe { &raw mut (*age_extension_of(header)).written_ns };
        // SAFETY: as above.
        unsafe { written.write(AtomicU64::new(written_ns)) };
    }
    if let Some(limit_ns) = spec.limit_ns {
        // SAFETY: as above, of one with a limit.
        let limit = unsafe { &raw mut (*limit_extension_of(header)).limit_ns };
        // SAFETY: as above.
        unsafe { limit.write(AtomicU64::new(limit_ns)) };
    }
    if prefix.has_computed() {
        // SAFETY: as above, of one with a computed deadline.
        let computed = unsafe { &raw mut (*computed_extension_of(header)).computed_ns };
        // SAFETY: as above.
        unsafe { computed.write(AtomicU64::new(Deadline::NEVER)) };
    }
    if let Some(tags) = tags {
        // SAFETY: this prefix has them in front, aligned, as `tags_of` says.
        unsafe { tags_of(header, prefix).write(tags) };
    }
}

/// Where the extension of the entry of `header` ends, if it has one.
#[inline]
fn end_of(header: NonNull<Header>) -> *mut u8 {
    header.as_ptr().cast::<EntryMeta>().wrapping_sub(1).cast()
}

/// Where it stands.
#[inline]
fn extension_of(header: NonNull<Header>) -> *mut Extension {
    end_of(header).cast::<Extension>().wrapping_sub(1)
}

/// The same, if it has an age.
#[inline]
fn age_extension_of(header: NonNull<Header>) -> *mut AgeExtension {
    end_of(header).cast::<AgeExtension>().wrapping_sub(1)
}

/// The same, if it has a limit.
#[inline]
fn limit_extension_of(header: NonNull<Header>) -> *mut LimitExtension {
    end_of(header).cast::<LimitExtension>().wrapping_sub(1)
}

/// The same, if it has a computed deadline.
#[inline]
fn computed_extension_of(header: NonNull<Header>) -> *mut ComputedExtension {
    end_of(header).cast::<ComputedExtension>().wrapping_sub(1)
}

/// Where the tags of the entry of `header` stand, if it has this prefix, which has some.
#[inline]
fn tags_of(header: NonNull<Header>, prefix: Prefix) -> *mut TagSet {
    let size = match prefix {
        Prefix::TagsComputed => size_of::<TagsComputedExtension>(),
        Prefix::TagsLimit => size_of::<TagsLimitExtension>(),
        _ => size_of::<TagsExtension>(),
    };
    end_of(header).wrapping_byte_sub(size).cast()
}

/// Drops the tags of the entry of `header`, if it has this prefix and so any.
///
/// # Safety
/// The entry was made with this prefix, nobody else has it, and its tags are not used again.
pub(super) unsafe fn drop_tags(header: NonNull<Header>, prefix: Prefix) {
    if prefix.has_tags() {
        // SAFETY: `Owned::extended` has put them there, and by the caller's promise they are ours.
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
        assert_eq!(Prefix::Meta.around(plain).0.size(), 48);
        assert_eq!(Prefix::Deadline.around(plain).0.size(), 56);
        assert_eq!(Prefix::DeadlineAge.around(plain).0.size(), 64);
        assert_eq!(Prefix::DeadlineLimit.around(plain).0.size(), 72);
    }
}
