//! The memory of small entries: slots, and the bytes beside each slot.
//!
//! A page of 4 KiB holds 85 slots of 32 bytes, and behind them 16 bytes for each slot. The address
//! of the bytes beside a slot follows from that of the slot, and both lie in the same page of
//! virtual memory. So memory that is used seldom takes no room between the parts that are used
//! often: two slots fill a cache line, and none lies across two. If there is no free slot, an entry
//! gets memory of another layout instead, with the bytes that would be beside a slot in front; its
//! address distinguishes it from a slot.
//!
//! ```text
//!  0        32                2688      2720       2736               4064       4080    4096
//!  | slot 0 | slot 1 | ...    | slot 84 | beside 0 | beside 1 | ...   | beside 84 | unused |
//! ```
#![forbid(unsafe_code)]

use std::alloc::Layout;

/// The layout of a slot. No other entries have the same layout: an entry of that alignment with
/// parts in front of its header takes at least twice as much.
pub(crate) const PAIRED: Layout = match Layout::from_size_align(SLOT_BYTES, SLOT_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("it is a valid layout"),
};
/// The layout of the memory that an entry gets instead of a slot and the bytes beside it. It begins
/// with those bytes, so the entry that follows has an address that no slot has.
pub(crate) const UNPAIRED: Layout = match Layout::from_size_align(2 * SLOT_BYTES, SLOT_BYTES) {
    Ok(layout) => layout,
    Err(_) => panic!("it is a valid layout"),
};
/// The number of bytes beside each slot.
pub(crate) const BESIDE_BYTES: usize = SLOT_BYTES / 2;

/// Whether entries of this layout have slots. Their size alone does not decide that: if there is no
/// free slot, an entry lies [`BESIDE_BYTES`] into memory of the layout [`UNPAIRED`]. That memory is
/// too small for an entry that has to lie at a multiple of [`SLOT_BYTES`], whose address would also
/// be one that a slot may have.
pub(crate) const fn has_slots(entry: Layout) -> bool {
    entry.size() == SLOT_BYTES && entry.align() <= BESIDE_BYTES
}

// A slot has at least the alignment of all entries that have slots, and so has `UNPAIRED`.
const _: () = assert!(PAIRED.size() == SLOT_BYTES && PAIRED.align() == SLOT_BYTES);
const _: () =
    assert!(UNPAIRED.align() == SLOT_BYTES && UNPAIRED.size() >= SLOT_BYTES + BESIDE_BYTES);
const _: () =
    assert!(!BESIDE_BYTES.is_multiple_of(SLOT_BYTES), "`is_paired` could not distinguish them");
// Each page begins with a slot, and the bytes beside the last slot end within the page.
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

/// The memory beside `slot`, if that is a slot of a page.
#[inline]
pub(crate) fn beside(slot: *mut u8) -> *mut u8 {
    let in_page = slot.addr() % PAGE_BYTES;
    // Wrapping, because callers may also pass the address of other memory to get a mere hint.
    slot.wrapping_add(FIRST_BESIDE).wrapping_sub(in_page - in_page / (SLOT_BYTES / BESIDE_BYTES))
}

/// Whether an address is that of a slot, if it is that of a slot or of an entry in `UNPAIRED`
/// memory.
#[inline]
pub(crate) fn is_paired(address: *mut u8) -> bool {
    address.addr().is_multiple_of(SLOT_BYTES)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn an_entry_in_unpaired_memory_has_no_address_of_a_slot() {
        assert!(UNPAIRED.size() >= SLOT_BYTES + BESIDE_BYTES);
        for slot in 0..2 * PAGE_SLOTS {
            assert!(is_paired(ptr::without_provenance_mut(offset_of(slot))));
            let other = slot * UNPAIRED.align() + BESIDE_BYTES;
            assert!(!is_paired(ptr::without_provenance_mut(other)));
        }
    }

    #[test]
    fn slots_and_the_memory_beside_them_fill_pages_without_overlap() {
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
        assert_eq!(base + 3 * PAGE_BYTES - (last + bytes), 16, "the unused rest of a page");
    }
}
