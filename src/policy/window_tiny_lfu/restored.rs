//! The word by which a snapshot restores a node: how it is made, and how it is read.
//!
//! ```text
//! 31      30 29        26 25      24 23       12 11                  0
//! | segment | frequency  | window   | distance | age of the last use |
//! ```
//!
//! `window` is the same in all words: the index of the window's size in `WINDOWS`.
#![forbid(unsafe_code)]

use super::WINDOWS;

use super::segments::Segments;
use super::word::{NodeWord, SegmentId, TICK_MASK};
use crate::base::node_id::NodeId;
use crate::policy::Nodes;

const MAX_FREQUENCY: u64 = 15;

const _: () = assert!(WINDOWS.len() <= 4);

impl Segments {
    /// Names all nodes with the words that [`restore`](Self::restore) needs, the next to leave first.
    pub(super) fn to_restore<N: Nodes + ?Sized>(
        &self,
        nodes: &N,
        name: &mut dyn FnMut(NodeId, u32),
    ) {
        let is_now = |percent: &u64| *percent == self.window_percent();
        let window = WINDOWS.iter().position(is_now).unwrap_or(0);
        let window = u32::try_from(window).expect("two bits");
        for segment in [SegmentId::Probation, SegmentId::Window, SegmentId::Protected] {
            for id in self.oldest_first(segment) {
                let word = NodeWord::of(id, nodes);
                let mark = u64::from(nodes.frequency(id));
                let frequency = (self.frequency(id, nodes) - mark).min(MAX_FREQUENCY);
                let distance = u32::from(word.distance);
                let age = u32::from(self.age(word.last));
                let frequency = u32::try_from(frequency).expect("four bits");
                let word = (segment as u32) << 30 | frequency << 26 | window << 24;
                name(id, word | distance << 12 | age);
            }
        }
    }

    /// Inserts a node with the state that `raw` describes.
    pub(super) fn restore<N: Nodes + ?Sized>(&mut self, id: NodeId, raw: u32, nodes: &N) {
        let segment = match raw >> 30 {
            0 => SegmentId::Window,
            1 => SegmentId::Probation,
            _ => SegmentId::Protected,
        };
        #[expect(clippy::cast_possible_truncation, reason = "twelve bits each")]
        let (distance, age) = ((raw >> 12) as u16 & TICK_MASK, raw as u16 & TICK_MASK);
        self.insert_restored(id, segment, distance, age, raw >> 26 & 15, nodes);
        let window = WINDOWS[(raw >> 24 & 3) as usize];
        if window != self.window_percent() {
            self.set_window(window);
        }
    }
}
