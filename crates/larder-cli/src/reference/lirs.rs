//! LIRS: S. Jiang, X. Zhang, "LIRS: An efficient low inter-reference recency set replacement policy
//! to improve buffer cache performance", SIGMETRICS 2002. One hundredth of the cache, at least one
//! entry, is for blocks of high inter-reference recency (HIR). The paper does not bound the evicted
//! blocks that the stack remembers; here they are at most twice the cache, as is usual in practice.

use crate::reference::policy::ReferencePolicy;
use crate::reference::queue::{Links, Queue};

/// One part in this many of the cache is for blocks of high inter-reference recency.
const HIR_PART: usize = 100;

/// The number of ghosts, evicted blocks that the stack remembers, per entry of the cache.
const GHOSTS: usize = 2;

pub(super) struct Lirs {
    /// By recency: the LIR blocks, and those HIR blocks, cached or ghosts, that are more recent
    /// than the oldest LIR block.
    stack: Queue,
    stack_links: Links,
    /// The cached HIR blocks, in the order of eviction.
    queue: Queue,
    queue_links: Links,
    /// The ghosts, in the order in which they were evicted.
    ghosts: Queue,
    is_ghost: Vec<bool>,
    max_ghosts: usize,
    is_lir: Vec<bool>,
    in_stack: Vec<bool>,
    in_queue: Vec<bool>,
    lir: usize,
    max_lir: usize,
    entries: usize,
}

impl Lirs {
    pub(super) fn new(keys: usize, entries: usize) -> Self {
        Lirs {
            stack: Queue::new(),
            stack_links: Links::new(keys),
            queue: Queue::new(),
            queue_links: Links::new(keys),
            ghosts: Queue::new(),
            is_ghost: vec![false; keys],
            max_ghosts: entries.saturating_mul(GHOSTS),
            is_lir: vec![false; keys],
            in_stack: vec![false; keys],
            in_queue: vec![false; keys],
            lir: 0,
            max_lir: entries - (entries / HIR_PART).max(1),
            entries,
        }
    }

    fn push_top(&mut self, key: u32) {
        if std::mem::replace(&mut self.in_stack[key as usize], true) {
            self.stack_links.remove(&mut self.stack, key);
        }
        self.stack_links.push(&mut self.stack, key);
    }

    fn enqueue(&mut self, key: u32) {
        self.dequeue(key);
        self.in_queue[key as usize] = true;
        self.queue_links.push(&mut self.queue, key);
    }

    fn dequeue(&mut self, key: u32) {
        if std::mem::replace(&mut self.in_queue[key as usize], false) {
            self.queue_links.remove(&mut self.queue, key);
        }
    }

    /// Removes HIR blocks from the bottom of the stack until it ends with a LIR block.
    fn prune(&mut self) {
        while let Some(bottom) = self.stack.back()
            && !self.is_lir[bottom as usize]
        {
            self.forget(bottom);
        }
    }

    /// Removes a key from the stack, and so forgets a ghost.
    fn forget(&mut self, key: u32) {
        self.stack_links.remove(&mut self.stack, key);
        self.in_stack[key as usize] = false;
        self.revive(key);
    }

    /// Takes a key out of the ghosts, if it is one.
    fn revive(&mut self, key: u32) {
        if std::mem::replace(&mut self.is_ghost[key as usize], false) {
            self.queue_links.remove(&mut self.ghosts, key);
        }
    }

    fn promote(&mut self, key: u32) {
        self.is_lir[key as usize] = true;
        self.lir += 1;
        self.dequeue(key);
        self.push_top(key);
        if self.lir > self.max_lir
            && let Some(bottom) = self.stack.back()
        {
            self.is_lir[bottom as usize] = false;
            self.lir -= 1;
            self.forget(bottom);
            self.enqueue(bottom);
        }
        self.prune();
    }

    /// A HIR block is requested.
    fn touch_hir(&mut self, key: u32) {
        if self.in_stack[key as usize] && self.max_lir > 0 {
            self.promote(key);
        } else {
            // Without room for LIR blocks nothing would end the stack, so it is not used.
            if self.max_lir > 0 {
                self.push_top(key);
            }
            self.enqueue(key);
        }
    }
}

impl ReferencePolicy for Lirs {
    fn request(&mut self, key: u32, _weight: u32) -> bool {
        if self.is_lir[key as usize] {
            self.push_top(key);
            self.prune();
            return true;
        }
        if self.in_queue[key as usize] {
            self.touch_hir(key);
            return true;
        }
        if self.lir + self.queue.len() >= self.entries
            && let Some(left) = self.queue_links.pop(&mut self.queue)
        {
            self.in_queue[left as usize] = false;
            if self.in_stack[left as usize] {
                self.is_ghost[left as usize] = true;
                self.queue_links.push(&mut self.ghosts, left);
            }
        }
        if self.ghosts.len() > self.max_ghosts
            && let Some(oldest) = self.ghosts.back()
        {
            self.forget(oldest);
        }
        self.revive(key);
        if self.lir < self.max_lir {
            self.promote(key);
        } else {
            self.touch_hir(key);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::Published;
    use super::super::tests::outcomes;

    #[test]
    fn a_loop_larger_than_the_cache_is_held_in_part() {
        let requests: Vec<u32> = (0..60).map(|i| i % 6).collect();
        // Of the six requests of each round only those for the four LIR blocks hit.
        assert_eq!(outcomes(Published::Lirs, &requests, 5).matches('h').count(), 4 * 9);
        assert_eq!(outcomes(Published::Lru, &requests, 5).matches('h').count(), 0);
    }

    #[test]
    fn a_short_distance_makes_a_block_lir() {
        // There are two LIR blocks, 0 and 1, and room for one HIR block. 2 is requested twice with
        // one other request between and is more recent than 0, so it becomes LIR in place of 0,
        // which is then evicted for 4.
        let requests = [0, 1, 2, 3, 2, 4, 2, 1, 0];
        assert_eq!(outcomes(Published::Lirs, &requests, 3), "......hh.");
    }
}
