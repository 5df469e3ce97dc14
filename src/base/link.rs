//! A link of the list: one atomic word that holds a pointer and three tags.
//!
//! ```text
//!  63                                   3  2         1      0
//!  |  entry or bucket head, 8-aligned   | PENDING | HEAD | DELETED |
//! ```
#![forbid(unsafe_code)]

use std::ptr::{self, NonNull};

use crate::base::sync::{AtomicPtr, Ordering, const_unless_loom};

/// In the link of an entry: the entry itself has left the table, and the word never changes again.
const DELETED: usize = 0b001;
/// The pointee is a bucket head; with a null pointer, the end of the list.
const HEAD: usize = 0b010;
/// In a bucket head: a thread has claimed it, but perhaps not yet linked it into the list.
const PENDING: usize = 0b100;
const TAGS: usize = DELETED | HEAD | PENDING;

/// What a link held when it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkWord(*mut u8);

impl LinkWord {
    /// The word of a bucket head that no thread has claimed, as in zeroed memory.
    pub(crate) const UNCLAIMED: Self = Self(ptr::null_mut());

    /// The end of the list. It has the tag of a bucket head, so that one test ends every walk.
    #[inline]
    pub(crate) const fn end() -> Self {
        Self(ptr::without_provenance_mut(HEAD))
    }

    /// A link to an entry, by its header, which is aligned to 8 bytes.
    #[inline]
    pub(crate) fn entry(header: NonNull<u8>) -> Self {
        debug_assert_eq!(header.addr().get() & TAGS, 0, "a header is aligned");
        Self(header.as_ptr())
    }

    /// A link to a bucket head.
    #[inline]
    pub(crate) fn head(head: &Link) -> Self {
        Self(ptr::from_ref(head).cast_mut().cast::<u8>().map_addr(|address| address | HEAD))
    }

    #[inline]
    pub(crate) fn is_deleted(self) -> bool {
        self.0.addr() & DELETED != 0
    }

    #[inline]
    pub(crate) fn is_head(self) -> bool {
        self.0.addr() & HEAD != 0
    }

    /// Whether a walk may start at the bucket head that held this word.
    #[inline]
    pub(crate) fn is_usable(self) -> bool {
        self != Self::UNCLAIMED && self.0.addr() & PENDING == 0
    }

    #[inline]
    pub(crate) fn is_pending(self) -> bool {
        self.0.addr() & PENDING != 0
    }

    #[inline]
    pub(crate) fn deleted(self) -> Self {
        Self(self.0.map_addr(|address| address | DELETED))
    }

    #[inline]
    pub(crate) fn not_deleted(self) -> Self {
        Self(self.0.map_addr(|address| address & !DELETED))
    }

    #[inline]
    pub(crate) fn pending(self) -> Self {
        Self(self.0.map_addr(|address| address | PENDING))
    }

    #[inline]
    pub(crate) fn not_pending(self) -> Self {
        Self(self.0.map_addr(|address| address & !PENDING))
    }

    #[inline]
    pub(crate) fn has_tags(self) -> bool {
        self.0.addr() & TAGS != 0
    }

    /// The pointee without tags; null at the end of the list.
    #[inline]
    pub(crate) fn pointer(self) -> *mut u8 {
        self.0.map_addr(|address| address & !TAGS)
    }
}

/// The atomic that holds a [`LinkWord`]. All zero bytes are an unclaimed bucket head.
// The alignment leaves three bits for tags where pointers have 4 bytes, too.
#[repr(C, align(8))]
pub(crate) struct Link(AtomicPtr<u8>);

const _: () = assert!(align_of::<Link>() > TAGS);

impl Link {
    #[cfg(larder_loom)]
    pub(crate) fn unclaimed() -> Self {
        Self(AtomicPtr::new(LinkWord::UNCLAIMED.0))
    }

    const_unless_loom! {
        /// A link to nothing: that of an entry that is not in the list yet.
        #[inline]
        pub(crate) fn end() -> Self {
            Self(AtomicPtr::new(LinkWord::end().0))
        }
    }

    /// Acquire: makes visible what was written to the pointee before it was published; pairs with
    /// the release in [`replace`](Self::replace) and [`clear_pending`](Self::clear_pending).
    #[inline]
    pub(crate) fn load(&self) -> LinkWord {
        LinkWord(self.0.load(Ordering::Acquire))
    }

    /// Sets a link that no other thread follows yet.
    #[inline]
    pub(crate) fn set(&self, word: LinkWord) {
        // Relaxed: published by the `replace` that links the owner of this link.
        self.0.store(word.0, Ordering::Relaxed);
    }

    /// Changes the link from `current` to `new`, or returns what it held instead.
    #[inline]
    pub(crate) fn replace(&self, current: LinkWord, new: LinkWord) -> Result<(), LinkWord> {
        // AcqRel: the release publishes the pointee of `new` and pairs with the acquire in `load`;
        // the acquire pairs with the release of the thread that wrote `current`, whose pointee the
        // link of `new` passes on.
        self.0
            .compare_exchange(current.0, new.0, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(LinkWord)
    }

    /// Opens a linked bucket head to all threads. Returns what it holds now.
    pub(crate) fn clear_pending(&self) -> LinkWord {
        // A compare-exchange loop, because `AtomicPtr::fetch_and` came after our minimum Rust version.
        // It takes at most one more round for each insertion directly behind this head meanwhile.
        let mut word = self.load();
        while word.is_pending() {
            match self.replace(word, word.not_pending()) {
                Ok(()) => return word.not_pending(),
                Err(now) => word = now,
            }
        }
        word
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    /// The properties of a word: deleted, head, pending, usable.
    fn flags(word: LinkWord) -> [bool; 4] {
        [word.is_deleted(), word.is_head(), word.is_pending(), word.is_usable()]
    }

    #[test]
    fn a_word_gives_back_its_pointee_and_state() {
        let (head, header) = (Link::end(), NonNull::<u64>::dangling().cast::<u8>());
        let (end, to_head, to_entry) =
            (LinkWord::end(), LinkWord::head(&head), LinkWord::entry(header));
        assert_eq!(flags(LinkWord::UNCLAIMED), [false, false, false, false]);
        assert_eq!(flags(end), [false, true, false, true]);
        assert_eq!(flags(to_head), [false, true, false, true]);
        assert_eq!(flags(to_entry), [false, false, false, true]);
        assert_eq!(flags(to_entry.deleted()), [true, false, false, true]);
        assert_eq!(flags(to_entry.pending()), [false, false, true, false]);
        assert_eq!(flags(end.pending()), [false, true, true, false]);
        assert!(LinkWord::UNCLAIMED.pointer().is_null() && end.pointer().is_null());
        assert_eq!(to_head.pointer(), ptr::from_ref(&head).cast_mut().cast());
        assert_eq!(to_entry.deleted().pending().pointer(), header.as_ptr());
    }

    #[test]
    fn a_tag_that_is_set_twice_is_cleared_at_once() {
        let word = LinkWord::entry(NonNull::<u64>::dangling().cast());
        assert!(word.deleted().deleted() == word.deleted());
        assert!(word.deleted().not_deleted().not_deleted() == word);
        assert!(word.pending().pending() == word.pending());
        assert!(word.pending().not_pending().not_pending() == word);
    }

    #[test]
    fn opening_a_pending_head_keeps_its_link() {
        let head = Link::end();
        head.set(LinkWord::end().pending());
        assert!(head.clear_pending() == LinkWord::end());
        assert!(head.load() == LinkWord::end());
        assert!(head.clear_pending() == LinkWord::end(), "open already");
    }
}
