//! How arrays that are indexed by bits of a hash grow: by doubling, in the end to hardly more than is needed.
//!
//! The index of a hash in an array of twice the length is one of two neighbours (`KeyBits::index`), so each
//! element has two copies in the array that replaces it, and every hash finds what it stored. An array begins
//! with at most `MAX_FIRST` elements, a number from which doublings lead to the final one.
#![forbid(unsafe_code)]

/// The most elements at the beginning.
const MAX_FIRST: usize = 64;

/// The number of doublings that lead to at least `needed` elements.
fn doublings(needed: usize) -> u32 {
    (usize::BITS - needed.leading_zeros()).saturating_sub(MAX_FIRST.trailing_zeros())
}

/// The final length of an array that needs `needed` elements: up to a thirty-second more.
pub(super) fn final_len(needed: usize) -> usize {
    needed.next_multiple_of(1 << doublings(needed))
}

/// The first length of an array with that final length.
pub(super) fn first_len(final_len: usize) -> usize {
    final_len >> doublings(final_len)
}

/// An array of twice the length, with two copies of each element.
pub(super) fn doubled<T: Copy>(elements: &[T]) -> Vec<T> {
    elements.iter().flat_map(|element| [*element; 2]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sketch::KeyBits;

    #[test]
    fn doublings_lead_from_the_first_length_to_the_final_one() {
        for needed in (1..2_000).chain([1 << 20, (1 << 20) + 1, 1 << 26, 1_234_567]) {
            let last = final_len(needed);
            assert!(last >= needed && last - needed <= needed / 32, "{needed}: {last}");
            assert_eq!(final_len(last), last, "{needed}");
            let mut len = first_len(last);
            assert!((1..=MAX_FIRST).contains(&len), "{needed}: {len}");
            while len < last {
                len *= 2;
            }
            assert_eq!(len, last, "{needed}");
        }
    }

    #[test]
    fn a_hash_finds_its_element_after_a_doubling() {
        let elements: Vec<usize> = (0..37).collect();
        let twice = doubled(&elements);
        for hash in 0..10_000 {
            let key = KeyBits::of(hash);
            assert_eq!(twice[key.index(twice.len())], elements[key.index(elements.len())]);
        }
    }
}
