//! Doubly linked queues of keys, linked by key.

const NONE: u32 = u32::MAX;

/// The links of all keys, for a set of queues; a key is in at most one of them at a time.
#[derive(Debug)]
pub(super) struct Links {
    newer: Vec<u32>,
    older: Vec<u32>,
}

/// One queue; new keys are pushed at the front.
#[derive(Debug)]
pub(super) struct Queue {
    front: u32,
    back: u32,
    len: usize,
}

impl Links {
    pub(super) fn new(keys: usize) -> Self {
        Links { newer: vec![NONE; keys], older: vec![NONE; keys] }
    }

    pub(super) fn push(&mut self, queue: &mut Queue, key: u32) {
        self.newer[key as usize] = NONE;
        self.older[key as usize] = queue.front;
        if queue.front == NONE {
            queue.back = key;
        } else {
            self.newer[queue.front as usize] = key;
        }
        queue.front = key;
        queue.len += 1;
    }

    /// Pushes a key at the back: it is the next to leave.
    pub(super) fn push_oldest(&mut self, queue: &mut Queue, key: u32) {
        self.older[key as usize] = NONE;
        self.newer[key as usize] = queue.back;
        if queue.back == NONE {
            queue.front = key;
        } else {
            self.older[queue.back as usize] = key;
        }
        queue.back = key;
        queue.len += 1;
    }

    /// Removes `key` from `queue`, which must contain it.
    pub(super) fn remove(&mut self, queue: &mut Queue, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        if newer == NONE {
            queue.front = older;
        } else {
            self.older[newer as usize] = older;
        }
        if older == NONE {
            queue.back = newer;
        } else {
            self.newer[older as usize] = newer;
        }
        queue.len -= 1;
    }

    /// Removes the oldest key.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<u32> {
        let key = queue.back()?;
        self.remove(queue, key);
        Some(key)
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue { front: NONE, back: NONE, len: 0 }
    }

    pub(super) fn back(&self) -> Option<u32> {
        Some(self.back).filter(|&back| back != NONE)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
