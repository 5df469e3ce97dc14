//! How often keys were used lately: a count-min sketch of 4-bit counters that ages by halving.
//!
//! Cormode, Muthukrishnan: "An Improved Data Stream Summary: The Count-Min Sketch and its
//! Applications", 2005, with conservative update (Estan and Varghese 2002), and ageing as in TinyLFU
//! (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017).
//!
//! All counters of a key are in one cache line:
//!
//! ```text
//!   line:  | row 0 | row 1 | row 2 | row 3 |    a row is two words, that is 32 counters
//!   hash:  63 ... 20 19 15 14 10 9  5 4   0
//!          |  line  | row 3| row 2|row 1|row 0|
//! ```

/// Where counters saturate.
pub(super) const MAX_COUNT: u64 = 15;
const ROWS: usize = 4;
/// Bits of a hash that choose a row's counter.
const ROW_BITS: usize = 5;
/// Entries for each line: eight bytes for an entry.
const LINE_ENTRIES: usize = 8;
const MAX_LINES: usize = 1 << 26;
/// Increments for each entry after which all counters are halved.
const SAMPLE_FACTOR: u64 = 20;
/// All bits of a word but the highest of each counter: when words are halved, the lowest bit of the counter
/// above it moves there.
const HALVED: u64 = 0x7777_7777_7777_7777;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct CounterLine([u64; 2 * ROWS]);

const _: () = assert!(size_of::<CounterLine>() == 64);

/// Estimates of how often hashes were counted.
#[derive(Debug)]
pub(super) struct Sketch {
    /// A power of two of lines, or none yet.
    lines: Vec<CounterLine>,
    max_lines: usize,
    /// The number of entries that the lines suffice for.
    sized_for: usize,
    /// Increments, halved together with the counters.
    increments: u64,
    /// The `increments` at which everything is halved.
    sample: u64,
    /// Whether the capacity is known, so that `sample` does not grow with the lines.
    is_bounded: bool,
}

/// Mixes the bits of `hash`: those that choose partitions, buckets or samples must not choose sets or
/// counters too.
#[inline]
pub(super) fn spread(hash: u64) -> u64 {
    const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 32)
}

/// A mixed hash, from which several structures choose: the sketch its counters, the ghost its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyBits(pub(super) u64);

impl KeyBits {
    #[inline]
    pub(super) fn of(hash: u64) -> Self {
        Self(spread(hash))
    }
}

/// The place of a row's counter in its line: word and shift.
#[inline]
fn position(bits: u64, row: usize) -> (usize, u32) {
    let counter = bits >> (ROW_BITS * row);
    (2 * row + (counter >> 4) as usize % 2, (counter % 16 * 4) as u32)
}

impl CounterLine {
    #[inline]
    fn count(&self, (word, shift): (usize, u32)) -> u64 {
        (self.0[word] >> shift) & MAX_COUNT
    }

    /// The least counter of all rows.
    #[inline]
    fn least(&self, bits: u64) -> u64 {
        (0..ROWS).fold(MAX_COUNT, |least, row| least.min(self.count(position(bits, row))))
    }
}

impl Sketch {
    /// A sketch for `capacity` entries, if that is known. Its memory grows with [`Self::grow`].
    pub(super) fn new(capacity: Option<u64>) -> Self {
        let lines = |entries: u64| {
            usize::try_from(entries).map_or(MAX_LINES, |entries| lines_for(entries.max(1)))
        };
        Self {
            lines: Vec::new(),
            max_lines: capacity.map_or(MAX_LINES, lines),
            sized_for: 0,
            increments: 0,
            sample: capacity.map_or(0, |entries| entries.max(1).saturating_mul(SAMPLE_FACTOR)),
            is_bounded: capacity.is_some(),
        }
    }

    /// The number of entries that it is sized for. [`grow`](Self::grow) has to be called before there are
    /// more.
    pub(super) fn sized_for(&self) -> usize {
        self.sized_for
    }

    /// Sizes the sketch for `entries` entries. `counted` has the hashes of the entries, or is empty if there
    /// are too many to walk through.
    ///
    /// One more bit of the hash chooses the line then. If `counted` is empty, each line is copied to the two
    /// lines that take its place, so that every key finds its counters. But half of the counts in a copy
    /// belong to keys of the other one. So if the hashes are known, only their estimates are carried over.
    #[cold]
    pub(super) fn grow(&mut self, entries: usize, counted: impl Iterator<Item = u64>) {
        let counts: Vec<(KeyBits, u64)> =
            counted.map(KeyBits::of).map(|key| (key, self.estimate(key))).collect();
        let lines = lines_for(entries).min(self.max_lines);
        self.sized_for = if lines >= self.max_lines { usize::MAX } else { lines * LINE_ENTRIES };
        if self.lines.is_empty() {
            self.lines.push(CounterLine::default());
        }
        if counts.is_empty() {
            while self.lines.len() < lines {
                self.lines.extend_from_within(..);
            }
        } else {
            self.lines = vec![CounterLine::default(); lines];
            for (key, count) in counts {
                self.raise(key, count);
            }
        }
        if !self.is_bounded {
            self.sample = (lines * LINE_ENTRIES) as u64 * SAMPLE_FACTOR;
        }
    }

    /// Changes the capacity. It frees no memory.
    pub(super) fn resize(&mut self, capacity: u64) {
        let Self { max_lines, sample, .. } = Self::new(Some(capacity));
        self.max_lines = max_lines.max(self.lines.len());
        self.sized_for = self.sized_for.min(self.lines.len() * LINE_ENTRIES);
        self.sample = sample;
        self.is_bounded = true;
    }

    #[inline]
    fn place(&self, KeyBits(bits): KeyBits) -> Option<(usize, u64)> {
        let mask = self.lines.len().checked_sub(1)?;
        Some(((bits >> (ROW_BITS * ROWS)) as usize & mask, bits))
    }

    /// Counts a key once more.
    #[inline]
    pub(super) fn count(&mut self, key: KeyBits) {
        let Some((at, bits)) = self.place(key) else { return };
        let line = &mut self.lines[at];
        let least = line.least(bits);
        if least == MAX_COUNT {
            return;
        }
        for row in 0..ROWS {
            let (word, shift) = position(bits, row);
            // Conservative update: only the least counters are raised. The others count other keys too.
            line.0[word] += u64::from(line.count((word, shift)) == least) << shift;
        }
        self.increments += 1;
        if self.increments >= self.sample {
            self.age();
        }
    }

    /// Makes the estimate of a key at least `count`.
    fn raise(&mut self, key: KeyBits, count: u64) {
        let Some((at, bits)) = self.place(key) else { return };
        let line = &mut self.lines[at];
        for row in 0..ROWS {
            let (word, shift) = position(bits, row);
            let lacking = count.saturating_sub(line.count((word, shift)));
            line.0[word] += lacking << shift;
        }
    }

    /// An estimate of how often a key was counted.
    #[inline]
    pub(super) fn estimate(&self, key: KeyBits) -> u64 {
        let Some((at, bits)) = self.place(key) else { return 0 };
        self.lines[at].least(bits)
    }

    /// Halves every counter.
    #[cold]
    fn age(&mut self) {
        for word in self.lines.iter_mut().flat_map(|line| &mut line.0) {
            *word = (*word >> 1) & HALVED;
        }
        self.increments /= 2;
    }

    /// Prefetches the line of a key.
    #[inline]
    pub(super) fn prefetch(&self, key: KeyBits) {
        if let Some((at, _)) = self.place(key) {
            crate::base::prefetch::prefetch_for_write(&raw const self.lines[at]);
        }
    }
}

fn lines_for(entries: usize) -> usize {
    entries.div_ceil(LINE_ENTRIES).min(MAX_LINES).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u64) -> KeyBits {
        KeyBits::of((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    #[test]
    fn estimates_are_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::new(Some(1_000));
        sketch.grow(1_000, std::iter::empty());
        for key in 0..500 {
            for _ in 0..key % 12 {
                sketch.count(hash(key));
            }
        }
        let mut too_high = 0;
        for key in 0..500 {
            let estimate = sketch.estimate(hash(key));
            assert!(estimate >= key % 12, "key {key}: {estimate}");
            too_high += u32::from(estimate > key % 12);
        }
        assert!(too_high < 25, "{too_high} of 500");
    }

    #[test]
    fn counters_saturate_and_halve() {
        let mut sketch = Sketch::new(Some(8));
        sketch.grow(1, std::iter::empty());
        for _ in 0..100 {
            sketch.count(hash(1));
        }
        assert_eq!(sketch.estimate(hash(1)), MAX_COUNT);
        // A saturated counter is not incremented. 160 increments would halve the counters.
        assert_eq!(sketch.increments, MAX_COUNT);
        sketch.age();
        assert_eq!(sketch.estimate(hash(1)), MAX_COUNT / 2);
        assert_eq!(sketch.increments, MAX_COUNT / 2);
    }

    #[test]
    fn ages_after_twenty_increments_an_entry() {
        let mut sketch = Sketch::new(Some(1_000));
        sketch.grow(1_000, std::iter::empty());
        for step in 0..19_999 {
            sketch.count(hash(step));
        }
        assert_eq!(sketch.increments, 19_999);
        sketch.count(hash(1 << 40));
        assert_eq!(sketch.increments, 10_000);
    }

    #[test]
    fn growing_loses_no_count() {
        let mut sketch = Sketch::new(None);
        sketch.grow(1, std::iter::empty());
        for (entries, lines) in [(1, 1), (9, 2), (100, 16), (5_000, 1_024)] {
            sketch.grow(entries, std::iter::empty());
            assert_eq!(sketch.lines.len(), lines, "eight entries a line");
            assert_eq!(sketch.sized_for(), 8 * lines);
            sketch.count(hash(7));
        }
        assert!(sketch.estimate(hash(7)) >= 4);
    }
}
