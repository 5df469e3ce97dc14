//! The word by which a snapshot restores a node: how it is made, and how it is read.
//!
//! ```text
//! 31                              24 23       12 11                  0
//! | segment, variant and frequency   | distance | age of the last use |
//! ```
//!
//! The first part is `(segment * VARIANTS.len() + variant) * FREQUENCIES + frequency`. `variant`, the index of
//! the variant in force, is the same in all words.
#![forbid(unsafe_code)]

use super::segments::Segments;
use super::variants::VARIANTS;
use super::word::{NodeWord, SEGMENTS, SegmentId, TICK_MASK};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;

/// The number of frequencies that are told apart, from 0; a higher one counts as the highest.
const FREQUENCIES: usize = 14;

const _: () = assert!(SEGMENTS * VARIANTS.len() * FREQUENCIES <= 1 << 8);

impl Segments {
    /// Names all nodes with the words that [`restore`](Self::restore) needs, the next to leave first.
    pub(super) fn to_restore<N: Nodes + ?Sized>(
        &self,
        nodes: &N,
        name: &mut dyn FnMut(NodeId, u32),
    ) {
        for segment in [SegmentId::Probation, SegmentId::Window, SegmentId::Protected] {
            for id in self.oldest_first(segment) {
                let word = NodeWord::of(id, nodes);
                let mark = u64::from(nodes.frequency(id));
                let frequency = (self.frequency(id, nodes) - mark).min(FREQUENCIES as u64 - 1);
                let distance = u32::from(word.distance);
                let age = u32::from(self.age(word.last));
                let variant = segment as usize * VARIANTS.len() + self.variant();
                let first = (variant * FREQUENCIES) as u64 + frequency;
                let first = u32::try_from(first).expect("eight bits");
                name(id, first << 24 | distance << 12 | age);
            }
        }
    }

    /// Inserts a node with the state that `raw` describes.
    pub(super) fn restore<N: Nodes + ?Sized>(&mut self, id: NodeId, raw: u32, nodes: &N) {
        let first = (raw >> 24) as usize;
        let segment = match first / (VARIANTS.len() * FREQUENCIES) {
            0 => SegmentId::Window,
            1 => SegmentId::Probation,
            _ => SegmentId::Protected,
        };
        #[expect(clippy::cast_possible_truncation, reason = "twelve bits each")]
        let (distance, age) = ((raw >> 12) as u16 & TICK_MASK, raw as u16 & TICK_MASK);
        self.insert_restored(id, segment, distance, age, first % FREQUENCIES, nodes);
        let variant = first / FREQUENCIES % VARIANTS.len();
        if variant != self.variant() {
            self.set_variant(variant);
        }
    }
}
