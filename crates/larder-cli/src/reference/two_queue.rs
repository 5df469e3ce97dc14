//! 2Q: T. Johnson, D. Shasha, "2Q: A low overhead high performance buffer management replacement
//! algorithm", VLDB 1994; the full version with the constants that the paper recommends.

use crate::reference::policy::ReferencePolicy;
use crate::reference::queue::{Links, Queue};

#[derive(Clone, Copy, PartialEq, Eq)]
enum TwoQueueList {
    Absent,
    A1In,
    /// A ghost.
    A1Out,
    Am,
}

pub(super) struct TwoQueue {
    links: Links,
    list_of: Vec<TwoQueueList>,
    a1_in: Queue,
    a1_out: Queue,
    am: Queue,
    max_in: usize,
    max_out: usize,
    entries: usize,
}

impl TwoQueue {
    pub(super) fn new(keys: usize, entries: usize) -> Self {
        TwoQueue {
            links: Links::new(keys),
            list_of: vec![TwoQueueList::Absent; keys],
            a1_in: Queue::new(),
            a1_out: Queue::new(),
            am: Queue::new(),
            max_in: (entries / 4).max(1),
            max_out: (entries / 2).max(1),
            entries,
        }
    }

    /// The subroutine `reclaimfor`.
    fn reclaim(&mut self) {
        if self.a1_in.len() + self.am.len() < self.entries {
            return;
        }
        if self.a1_in.len() <= self.max_in
            && let Some(left) = self.links.pop(&mut self.am)
        {
            self.list_of[left as usize] = TwoQueueList::Absent;
            return;
        }
        if let Some(left) = self.links.pop(&mut self.a1_in) {
            self.links.push(&mut self.a1_out, left);
            self.list_of[left as usize] = TwoQueueList::A1Out;
        }
        if self.a1_out.len() > self.max_out
            && let Some(forgotten) = self.links.pop(&mut self.a1_out)
        {
            self.list_of[forgotten as usize] = TwoQueueList::Absent;
        }
    }
}

impl ReferencePolicy for TwoQueue {
    fn request(&mut self, key: u32, _weight: u32) -> bool {
        match self.list_of[key as usize] {
            TwoQueueList::Am => {
                self.links.remove(&mut self.am, key);
                self.links.push(&mut self.am, key);
                true
            }
            TwoQueueList::A1In => true,
            TwoQueueList::A1Out => {
                // Removed before room is made, which may forget the oldest ghost.
                self.links.remove(&mut self.a1_out, key);
                self.reclaim();
                self.links.push(&mut self.am, key);
                self.list_of[key as usize] = TwoQueueList::Am;
                false
            }
            TwoQueueList::Absent => {
                self.reclaim();
                self.links.push(&mut self.a1_in, key);
                self.list_of[key as usize] = TwoQueueList::A1In;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Published;
    use super::super::tests::outcomes;

    #[test]
    fn a_ghost_that_returns_outlives_new_keys() {
        // There are four entries, one of them for new keys. 0 is evicted for 4, returns from the
        // ghosts, and outlives 5 to 9.
        let requests = [0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 0];
        assert_eq!(outcomes(Published::TwoQueue, &requests, 4), "...........h");
        assert_eq!(outcomes(Published::Lru, &requests, 4), "............");
    }
}
