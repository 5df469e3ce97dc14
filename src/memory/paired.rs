//! Where the memory of small entries is, and the memory beside it.
//!
//! A page of 4 KiB holds 85 slots of 32 bytes, and behind them 16 bytes for each. Who has the address
//! of a slot has that of the bytes beside it, and both lie in the same page of virtual memory. So what
//! is needed often has no room taken between it by what is not: two slots fill a cache line, and none
//! lies across two. Where no slot can be had, memory of another layout takes its place, with what
//! belongs beside a slot in front; its address tells it from a slot.
//!
//! ```text
//!  0        32                2688      2720       2736               4064       4080    4096
//!  | slot 0 | slot 1 | ...    | slot 84 | beside 0 | beside 1 | ...   | beside 84 | unused |
//! ```
#![forbid(unsafe_code)]

use std::alloc::Layout;

/// The layout of a slot. No layout of other entries is the same: an entry of that alignment which has
/// something in front of its header takes at least twice as much.
pub(crate) const PAIRED: Layout = match Layout::from_size_align(SLOT_BYTES, SLOT_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("it is a valid layout"),
};
/// The layout of what takes the place of a slot with its bytes beside it. It begins with those: what
/// comes behind them has no address that a slot may have.
pub(crate) const UNPAIRED: Layout = match Layout::from_size_align(2 * SLOT_BYTES, SLOT_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("it is a valid layout"),
};
/// What is beside each slot.
pub(crate) const BESIDE_BYTES: usize = SLOT_BYTES / 2;

/// Whether entries of that layout have slots. Their size alone does not say so: where no slot can be
/// had, an entry lies [`BESIDE_BYTES`] into memory of the layout [`UNPAIRED`], which is too little
/// for one that has to lie at a multiple of [`SLOT_BYTES`]; and its address would be one that a slot
/// may have.
pub(crate) const fn has_slots(entry: Layout) -> bool {
    entry.size() == SLOT_BYTES && entry.align() <= BESIDE_BYTES
}

// A slot has the alignment of all entries that have slots, and so has the place of the others.
const _: () = assert!(PAIRED.size() == SLOT_BYTES && PAIRED.align() == SLOT_BYTES);
const _: () =
    assert!(UNPAIRED.align() == SLOT_BYTES && UNPAIRED.size() >= SLOT_BYTES + BESIDE_BYTES);
const _: () = assert!(!BESIDE_BYTES.is_multiple_of(SLOT_BYTES), "or `is_paired` could not tell");
// Each page begins with a slot, and what is beside the last one ends within it.
const _: () =
    assert!(PAGE_BYTES.is_multiple_of(SLOT_BYTES) && FIRST_BESIDE.is_multiple_of(BESIDE_BYTES));
const _: () = assert!(FIRST_BESIDE + PAGE_SLOTS * BESIDE_BYTES <= PAGE_BYTES);

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const PAGE_SLOTS: usize = PAGE_BYTES / (SLOT_BYTES + BESIDE_BYTES);
const SLOT_BYTES: usize = 32;
const FIRST_BESIDE: usize = PAGE_SLOTS * SLOT_BYTES;

/// The offset of a slot from the start of a row of pages.
pub(super) fn offset_of(slot: usize) -> usize {
    slot / PAGE_SLOTS * PAGE_BYTES + slot % PAGE_SLOTS * SLOT_BYTES
}

/// The memory beside `slot`, if that is one of a page.
#[inline]
pub(crate) fn beside(slot: *mut u8) -> *mut u8 {
    let in_page = slot.addr() % PAGE_BYTES;
    // Wrapping, for it is asked of what is no slot, too, where the answer is but a hint.
    slot.wrapping_add(FIRST_BESIDE).wrapping_sub(in_page - in_page / (SLOT_BYTES / BESIDE_BYTES))
}

/// Whether an address may be that of a slot: all are that may be one or what takes its place.
#[inline]
pub(crate) fn is_paired(address: *mut u8) -> bool {
    address.addr().is_multiple_of(SLOT_BYTES)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn what_takes_the_place_of_a_slot_is_told_from_it() {
        assert!(UNPAIRED.size() >= SLOT_BYTES + BESIDE_BYTES);
        for slot in 0..2 * PAGE_SLOTS {
            assert!(is_paired(ptr::without_provenance_mut(offset_of(slot))));
            let other = slot * UNPAIRED.align() + BESIDE_BYTES;
            assert!(!is_paired(ptr::without_provenance_mut(other)));
        }
    }

    #[test]
    fn slots_and_what_is_beside_them_fill_pages_without_overlap() {
        let base = 7 * PAGE_BYTES;
        let mut parts = Vec::new();
        for slot in 0..3 * PAGE_SLOTS {
            let at = base + offset_of(slot);
            let beside = beside(ptr::without_provenance_mut(at)).addr();
            assert_eq!((at % PAIRED.align(), beside % BESIDE_BYTES), (0, 0));
            assert_eq!(at / PAGE_BYTES, beside / PAGE_BYTES, "in one page");
            parts.extend([(at, SLOT_BYTES), (beside, BESIDE_BYTES)]);
        }
        parts.sort_unstable();
        assert!(parts.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        let (last, bytes) = parts[parts.len() - 1];
        assert_eq!(base + 3 * PAGE_BYTES - (last + bytes), 16, "what is left of a page");
    }
}
