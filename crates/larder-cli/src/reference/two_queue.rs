//! 2Q: T. Johnson, D. Shasha, "2Q: A low overhead high performance buffer management replacement
//! algorithm", VLDB 1994; the full version with the constants that the paper recommends.

use crate::reference::policy::Reference;
use crate::reference::queue::{Links, Queue};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    A1In,
    /// Remembered only.
    A1Out,
    Am,
}

pub(super) struct TwoQueue {
    links: Links,
    place: Vec<Place>,
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
            place: vec![Place::Nowhere; keys],
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
            self.place[left as usize] = Place::Nowhere;
            return;
        }
        if let Some(left) = self.links.pop(&mut self.a1_in) {
            self.links.push(&mut self.a1_out, left);
            self.place[left as usize] = Place::A1Out;
        }
        if self.a1_out.len() > self.max_out
            && let Some(forgotten) = self.links.pop(&mut self.a1_out)
        {
            self.place[forgotten as usize] = Place::Nowhere;
        }
    }
}

impl Reference for TwoQueue {
    fn request(&mut self, key: u32, _weight: u32) -> bool {
        match self.place[key as usize] {
            Place::Am => {
                self.links.remove(&mut self.am, key);
                self.links.push(&mut self.am, key);
                true
            }
            Place::A1In => true,
            Place::A1Out => {
                // Before room is made, which may forget the oldest of these.
                self.links.remove(&mut self.a1_out, key);
                self.reclaim();
                self.links.push(&mut self.am, key);
                self.place[key as usize] = Place::Am;
                false
            }
            Place::Nowhere => {
                self.reclaim();
                self.links.push(&mut self.a1_in, key);
                self.place[key as usize] = Place::A1In;
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
    fn what_comes_again_after_it_has_left_stays() {
        // Four entries, one of them for newcomers. 0 leaves for 4, comes back from the ghosts,
        // and outlives 5 to 9.
        let requests = [0, 1, 2, 3, 4, 0, 5, 6, 7, 8, 9, 0];
        assert_eq!(outcomes(Published::TwoQueue, &requests, 4), "...........h");
        assert_eq!(outcomes(Published::Lru, &requests, 4), "............");
    }
}
