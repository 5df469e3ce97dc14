//! What stands in front of the headers of entries, and where.
//!
//! What a hit looks at, the deadline, is as close to the header whatever else there is. The smaller an
//! entry is, the more of those that are in use fit the processor's caches: so only the entries whose
//! time of writing does not follow from their deadline have both.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use super::deadline::Deadline;
use super::extension::{
    ComputedExtension, Extension, LimitedExtension, TaggedComputedExtension, TaggedExtension,
    TaggedLimitedExtension, TimedExtension,
};
use super::upkeep::Upkeep;
use super::{EntryPtr, Header};
use crate::base::prefetch::prefetch_for_write;
use crate::base::sync::{AtomicU64, Ordering};
use crate::memory;
use crate::tags::TagSet;

/// What stands in front of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Extent {
    /// Not even its upkeep.
    Nothing = 0,
    /// The upkeep alone. With all others it stands between what they name and the header.
    Upkeep = 1,
    /// An [`Extension`].
    Dated = 2,
    /// A [`TimedExtension`].
    Timed = 3,
    /// A [`LimitedExtension`].
    Limited = 4,
    /// A [`ComputedExtension`].
    Computed = 5,
    /// A [`TaggedExtension`].
    Tagged = 6,
    /// A [`TaggedLimitedExtension`].
    TaggedLimited = 7,
    /// A [`TaggedComputedExtension`].
    TaggedComputed = 8,
}

/// In `form`: shadow caches are to hear of hits on the entry. Above all extents, so that a hit which
/// has nothing to do learns so by the look that tells it that it has nothing to do anyway.
const SAMPLED: u8 = 0x80;
/// In `form`: nobody may see the entry yet, which a fill has put into the table. Above all extents too.
const UNCONFIRMED: u8 = 0x40;
/// What is not the extent.
const FLAGS: u8 = SAMPLED | UNCONFIRMED;
/// What a hit has to check of an entry that needs it.
pub(crate) enum HitCheck<'e> {
    Deadline(&'e Extension),
    /// Tags too, or it is to be reported to shadow caches.
    More,
}

// The upkeep stands right before a header, which has the alignment of 8 at least, and the extension right
// before that.
const _: () = assert!(size_of::<Upkeep>().is_multiple_of(8) && align_of::<Upkeep>() <= 8);

/// How long a new entry may live: what its extension is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
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

impl Terms {
    pub(super) fn extent(&self, has_tags: bool) -> Extent {
        match (self.limit_ns, has_tags) {
            (None, false) if self.written_ns.is_none() => Extent::Dated,
            (None, false) => Extent::Timed,
            (Some(_), false) if self.has_computed => Extent::Computed,
            (Some(_), false) => Extent::Limited,
            (None, true) => Extent::Tagged,
            (Some(_), true) if self.has_computed => Extent::TaggedComputed,
            (Some(_), true) => Extent::TaggedLimited,
        }
    }

    pub(super) fn extension(&self) -> Extension {
        Extension { deadline: Deadline::new(self.deadline_ns) }
    }
}

impl Extent {
    /// Each, by number.
    pub(super) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Upkeep,
        Self::Dated,
        Self::Timed,
        Self::Limited,
        Self::Computed,
        Self::Tagged,
        Self::TaggedLimited,
        Self::TaggedComputed,
    ];

    #[inline]
    pub(super) fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Nothing,
            1 => Self::Upkeep,
            2 => Self::Dated,
            3 => Self::Timed,
            4 => Self::Limited,
            5 => Self::Computed,
            6 => Self::Tagged,
            7 => Self::TaggedLimited,
            _ => Self::TaggedComputed,
        }
    }

    #[inline]
    pub(super) fn is_timed(self) -> bool {
        self >= Self::Timed
    }

    #[inline]
    pub(super) fn is_limited(self) -> bool {
        matches!(self, Self::Limited | Self::TaggedLimited) || self.is_computed()
    }

    #[inline]
    pub(super) fn is_computed(self) -> bool {
        matches!(self, Self::Computed | Self::TaggedComputed)
    }

    #[inline]
    pub(super) fn is_tagged(self) -> bool {
        self >= Self::Tagged
    }

    /// What its extension takes.
    const fn extension_bytes(self) -> usize {
        match self {
            Self::Nothing | Self::Upkeep => 0,
            Self::Dated => size_of::<Extension>(),
            Self::Timed => size_of::<TimedExtension>(),
            Self::Limited => size_of::<LimitedExtension>(),
            Self::Computed => size_of::<ComputedExtension>(),
            Self::Tagged => size_of::<TaggedExtension>(),
            Self::TaggedLimited => size_of::<TaggedLimitedExtension>(),
            Self::TaggedComputed => size_of::<TaggedComputedExtension>(),
        }
    }

    /// How far before the header that begins which stands in front of it.
    #[inline]
    pub(super) const fn bytes_in_front(self) -> usize {
        match self {
            Self::Nothing => 0,
            _ => size_of::<Upkeep>() + self.extension_bytes(),
        }
    }

    /// The memory of an entry whose header, key and value are of `plain`, and where the header is
    /// in it.
    pub(super) const fn around(self, plain: Layout) -> (Layout, usize) {
        let front = Layout::from_size_align(self.bytes_in_front(), align_of::<Upkeep>());
        if let Ok(front) = front
            && let Ok((layout, offset)) = front.extend(plain)
        {
            return (layout.pad_to_align(), offset);
        }
        panic!("an entry that large fits no memory")
    }
}

impl EntryPtr {
    /// What maintenance keeps of it. Finding it takes a look at the header: do that once for several uses.
    #[inline]
    pub(crate) fn upkeep(&self) -> &Upkeep {
        // SAFETY: `Owned` has written it there for this extent, and it lives as long as the header, for
        // as long as whoever asks may use that (the contract of this type). The pointer has come from
        // the allocation, or the slab, that both are in.
        unsafe { &*upkeep_of(self.0, self.extent()) }
    }

    /// Announces that header and upkeep are about to be used. Only the header says where the upkeep is:
    /// it is taken to be beside what may have it there, and else in the line of the header.
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
        // Relaxed: the extent was set before the entry was shared, `SAMPLED` announces nothing.
        self.header().form.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn extent(self) -> Extent {
        Extent::from_raw(self.form() & !FLAGS)
    }

    /// Whether there is an extension.
    #[inline]
    pub(crate) fn is_extended(self) -> bool {
        self.extent() > Extent::Upkeep
    }

    /// Whether a hit has to check more than the header: the extension, or whether shadow caches
    /// sample the entry.
    #[inline]
    pub(crate) fn needs_check(self) -> bool {
        self.form() > Extent::Upkeep as u8
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
            // SAFETY: initialized by `Owned::extended`, which alone sets an extent that has one, and
            // alive as the header is.
            unsafe { &*extension_of(self.0) }
        })
    }

    /// What a hit has to check of an entry that [needs it](Self::needs_check).
    #[inline(always)]
    pub(crate) fn hit_check(&self) -> HitCheck<'_> {
        const DATED: u8 = Extent::Dated as u8;
        const TAGGED: u8 = Extent::Tagged as u8;
        match self.form() {
            DATED..TAGGED => {
                // SAFETY: as above, for these extents.
                HitCheck::Deadline(unsafe { &*extension_of(self.0) })
            }
            _ => HitCheck::More,
        }
    }

    /// The cache's time when the entry was made, if that is kept, or what was stored in its place.
    #[inline]
    pub(crate) fn written_ns(&self) -> Option<&AtomicU64> {
        self.extent().is_timed().then(|| {
            // SAFETY: as above, for the extents that have it.
            unsafe { &(*timed_extension_of(self.0)).written_ns }
        })
    }

    /// Notes what hits cannot move the deadline beyond from now on, which is about to be changed;
    /// `hits_move` says whether they move it at all. Where there is no room for that, it takes the
    /// place of the time of writing, or of what tells it.
    pub(crate) fn set_limit_ns(&self, limit_ns: u64, hits_move: bool) {
        let mut limit = self.own_limit_ns();
        if limit.is_none() && (hits_move || self.written_ns().is_none()) {
            self.upkeep().set_changed();
            limit = self.written_ns();
        }
        if let Some(limit) = limit {
            // Release: who sees it in the place of the time of writing sees `CHANGED`; pairs with the
            // loads in `limit_ns`, `move_within_limit` and `told_ns`.
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
            (None, Some(limit_ns)) if self.upkeep().is_changed() => limit_ns,
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

    /// The cache's time when the entry was made, if it tells that or `deadline_ns`, which the caller
    /// has loaded from it, does.
    pub(crate) fn told_ns(&self, deadline_ns: u64, ttl_ns: u64) -> Option<u64> {
        let written_ns = match self.written_ns() {
            // Acquire: as in `limit_ns`.
            Some(written) => written.load(Ordering::Acquire),
            None if deadline_ns == Deadline::EXPIRED => return None,
            None => deadline_ns.saturating_sub(ttl_ns),
        };
        (!self.upkeep().is_changed()).then_some(written_ns)
    }

    /// What hits cannot move the deadline beyond, if that stands by itself.
    #[inline]
    pub(crate) fn own_limit_ns(&self) -> Option<&AtomicU64> {
        self.extent().is_limited().then(|| {
            // SAFETY: as above, for this extent.
            unsafe { &(*limited_extension_of(self.0)).limit_ns }
        })
    }

    /// The deadline that an [`Expiry`](crate::Expiry) has computed last, if that is kept.
    #[inline]
    pub(crate) fn own_computed_ns(&self) -> Option<&AtomicU64> {
        self.extent().is_computed().then(|| {
            // SAFETY: as above, for the extents that have it.
            unsafe { &(*computed_extension_of(self.0)).computed_ns }
        })
    }

    /// The entry's tags, if it has any.
    #[inline]
    pub(crate) fn tags(&self) -> Option<&TagSet> {
        let extent = self.extent();
        extent.is_tagged().then(|| {
            // SAFETY: as above, for the extents that have them.
            unsafe { &*tags_of(self.0, extent) }
        })
    }

    /// Whether one of its tags was invalidated, which stays so; or nobody may see it yet.
    #[inline]
    pub(crate) fn is_invalidated(self) -> bool {
        self.is_unconfirmed() || self.tags().is_some_and(TagSet::is_dead)
    }
}

/// Makes the upkeep of the entry of `header`.
///
/// # Safety
/// There is memory for it where this extent has it, and nobody else has that.
#[inline]
pub(super) unsafe fn write_upkeep(header: NonNull<Header>, extent: Extent, weight: u32) {
    // SAFETY: by the caller's promise; aligned, as headers and what stands in front of them are, and
    // what is beside them.
    unsafe { upkeep_of(header, extent).write(Upkeep::new(weight)) };
}

/// Where the upkeep of the entry of `header` is, if it has this extent.
#[inline]
fn upkeep_of(header: NonNull<Header>, extent: Extent) -> *mut Upkeep {
    if extent == Extent::Nothing {
        return memory::beside(header.as_ptr().cast()).cast();
    }
    stay_a_branch();
    header.as_ptr().cast::<Upkeep>().wrapping_sub(1)
}

/// Keeps the compiler from choosing between two results without a branch. What follows a branch is
/// tried before it is known to be right, so the upkeep is fetched along with the header, not after.
#[inline(always)]
fn stay_a_branch() {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    // SAFETY: no instruction at all.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Makes what stands in front of a header by these terms and tags.
///
/// # Safety
/// As many bytes precede the header as their extent has in front, and nobody else has them.
pub(super) unsafe fn write_extension(header: NonNull<Header>, terms: Terms, tags: Option<TagSet>) {
    let extent = terms.extent(tags.is_some());
    // SAFETY: every extent that terms have ends in an extension right before the upkeep, aligned.
    unsafe { extension_of(header).write(terms.extension()) };
    if let Some(written_ns) = terms.written_ns {
        // SAFETY: as above, of a timed one, which this extent ends in.
        let written = unsafe { &raw mut (*timed_extension_of(header)).written_ns };
        // SAFETY: as above.
        unsafe { written.write(AtomicU64::new(written_ns)) };
    }
    if let Some(limit_ns) = terms.limit_ns {
        // SAFETY: as above, of a limited one.
        let limit = unsafe { &raw mut (*limited_extension_of(header)).limit_ns };
        // SAFETY: as above.
        unsafe { limit.write(AtomicU64::new(limit_ns)) };
    }
    if extent.is_computed() {
        // SAFETY: as above, of a computed one.
        let computed = unsafe { &raw mut (*computed_extension_of(header)).computed_ns };
        // SAFETY: as above.
        unsafe { computed.write(AtomicU64::new(Deadline::NEVER)) };
    }
    if let Some(tags) = tags {
        // SAFETY: this extent has them in front, aligned, as `tags_of` says.
        unsafe { tags_of(header, extent).write(tags) };
    }
}

/// Where the extension of the entry of `header` ends, if it has one.
#[inline]
fn end_of(header: NonNull<Header>) -> *mut u8 {
    header.as_ptr().cast::<Upkeep>().wrapping_sub(1).cast()
}

/// Where it stands.
#[inline]
fn extension_of(header: NonNull<Header>) -> *mut Extension {
    end_of(header).cast::<Extension>().wrapping_sub(1)
}

/// The same, if it is a timed one.
#[inline]
fn timed_extension_of(header: NonNull<Header>) -> *mut TimedExtension {
    end_of(header).cast::<TimedExtension>().wrapping_sub(1)
}

/// The same, if it is a limited one.
#[inline]
fn limited_extension_of(header: NonNull<Header>) -> *mut LimitedExtension {
    end_of(header).cast::<LimitedExtension>().wrapping_sub(1)
}

/// The same, if it is a computed one.
#[inline]
fn computed_extension_of(header: NonNull<Header>) -> *mut ComputedExtension {
    end_of(header).cast::<ComputedExtension>().wrapping_sub(1)
}

/// Where the tags of the entry of `header` stand, if it has this extent, which has some.
#[inline]
fn tags_of(header: NonNull<Header>, extent: Extent) -> *mut TagSet {
    let size = match extent {
        Extent::TaggedComputed => size_of::<TaggedComputedExtension>(),
        Extent::TaggedLimited => size_of::<TaggedLimitedExtension>(),
        _ => size_of::<TaggedExtension>(),
    };
    end_of(header).wrapping_byte_sub(size).cast()
}

/// Drops the tags of the entry of `header`, if it has this extent and so any.
///
/// # Safety
/// The entry was made with this extent, nobody else has it, and its tags are not used again.
pub(super) unsafe fn drop_tags(header: NonNull<Header>, extent: Extent) {
    if extent.is_tagged() {
        // SAFETY: `Owned::extended` has put them there, and by the caller's promise they are ours.
        unsafe { ptr::drop_in_place(tags_of(header, extent)) };
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
        assert_eq!(Extent::Upkeep.around(plain).0.size(), 48);
        assert_eq!(Extent::Dated.around(plain).0.size(), 56);
        assert_eq!(Extent::Timed.around(plain).0.size(), 64);
        assert_eq!(Extent::Limited.around(plain).0.size(), 72);
    }
}
