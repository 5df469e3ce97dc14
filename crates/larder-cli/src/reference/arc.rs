//! ARC: N. Megiddo, D. S. Modha, "ARC: A self-tuning, low overhead replacement cache", FAST 2003;
//! figure 4.

use crate::reference::policy::ReferencePolicy;
use crate::reference::queue::{Links, Queue};

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArcList {
    Absent,
    /// In the cache, seen once recently.
    T1,
    /// In the cache, seen at least twice recently.
    T2,
    /// A ghost that was evicted from `T1`.
    B1,
    /// A ghost that was evicted from `T2`.
    B2,
}

pub(super) struct Arc {
    links: Links,
    list_of: Vec<ArcList>,
    t1: Queue,
    t2: Queue,
    b1: Queue,
    b2: Queue,
    /// The target length of `t1`.
    p: f64,
    c: usize,
}

impl Arc {
    pub(super) fn new(keys: usize, entries: usize) -> Self {
        Arc {
            links: Links::new(keys),
            list_of: vec![ArcList::Absent; keys],
            t1: Queue::new(),
            t2: Queue::new(),
            b1: Queue::new(),
            b2: Queue::new(),
            p: 0.0,
            c: entries,
        }
    }

    fn push_t2(&mut self, key: u32) {
        self.links.push(&mut self.t2, key);
        self.list_of[key as usize] = ArcList::T2;
    }

    /// The subroutine REPLACE.
    fn replace(&mut self, is_in_b2: bool) {
        let t1 = self.t1.len() as f64;
        let is_t1_over = if is_in_b2 { t1 >= self.p } else { t1 > self.p };
        if self.t1.len() > 0 && is_t1_over {
            if let Some(left) = self.links.pop(&mut self.t1) {
                self.links.push(&mut self.b1, left);
                self.list_of[left as usize] = ArcList::B1;
            }
        } else if let Some(left) = self.links.pop(&mut self.t2) {
            self.links.push(&mut self.b2, left);
            self.list_of[left as usize] = ArcList::B2;
        }
    }

    /// Case IV: a key that is in none of the lists.
    fn make_room_for_unknown(&mut self) {
        let l1 = self.t1.len() + self.b1.len();
        let l2 = self.t2.len() + self.b2.len();
        let forgotten = if l1 == self.c {
            if self.t1.len() < self.c {
                let forgotten = self.links.pop(&mut self.b1);
                self.replace(false);
                forgotten
            } else {
                self.links.pop(&mut self.t1)
            }
        } else if l1 + l2 >= self.c {
            let forgotten = if l1 + l2 == 2 * self.c { self.links.pop(&mut self.b2) } else { None };
            self.replace(false);
            forgotten
        } else {
            None
        };
        if let Some(key) = forgotten {
            self.list_of[key as usize] = ArcList::Absent;
        }
    }
}

impl ReferencePolicy for Arc {
    fn request(&mut self, key: u32, _weight: u32) -> bool {
        match self.list_of[key as usize] {
            ArcList::T1 => {
                self.links.remove(&mut self.t1, key);
                self.push_t2(key);
                true
            }
            ArcList::T2 => {
                self.links.remove(&mut self.t2, key);
                self.push_t2(key);
                true
            }
            ArcList::B1 => {
                let step = (self.b2.len() as f64 / self.b1.len() as f64).max(1.0);
                self.p = (self.p + step).min(self.c as f64);
                self.replace(false);
                self.links.remove(&mut self.b1, key);
                self.push_t2(key);
                false
            }
            ArcList::B2 => {
                let step = (self.b1.len() as f64 / self.b2.len() as f64).max(1.0);
                self.p = (self.p - step).max(0.0);
                self.replace(true);
                self.links.remove(&mut self.b2, key);
                self.push_t2(key);
                false
            }
            ArcList::Absent => {
                self.make_room_for_unknown();
                self.links.push(&mut self.t1, key);
                self.list_of[key as usize] = ArcList::T1;
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
    fn keys_that_were_seen_twice_outlive_a_scan() {
        // 0 and 1 are in T2 when 2 to 9 are requested once each; LRU evicts both.
        let requests = [0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1];
        assert_eq!(outcomes(Published::Arc, &requests, 4), "..hh........hh");
        assert_eq!(outcomes(Published::Lru, &requests, 4), "..hh..........");
    }

    #[test]
    fn a_ghost_that_returns_raises_the_target_for_what_is_new() {
        // 2 moves 0 from T1 to B1. When 0 returns, the target becomes 1, and 1 is evicted from T2
        // although it was seen twice and 2 only once. Then 1 returns, and 2 is evicted.
        let requests = [1, 1, 0, 2, 0, 0, 1, 0, 2];
        assert_eq!(outcomes(Published::Arc, &requests, 2), ".h...h.h.");
    }
}
