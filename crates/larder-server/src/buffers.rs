//! Buffers of connections: a connection with nothing under way keeps none.
//!
//! A thread lends its connections buffers from a pool, so thousands of idle clients take no memory for input and
//! output, and those that have sent a part of a request take little more than this part. All that clients have under
//! way is counted, and bounded for the whole server.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much room a buffer from the pool has.
pub(crate) const POOLED_BYTES: usize = 64 * 1024;
/// Up to this many bytes are kept in a buffer of their own while a client waits.
const MAX_CONDENSED: usize = POOLED_BYTES / 4;
/// How many buffers a thread's pool keeps.
const MAX_POOLED: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Gives a buffer without memory one from the pool.
#[inline]
pub(crate) fn borrow(buffer: &mut Vec<u8>) {
    if buffer.capacity() == 0 {
        let pooled = POOL.with_borrow_mut(Vec::pop);
        *buffer = pooled.unwrap_or_else(|| Vec::with_capacity(POOLED_BYTES));
    }
}

/// Takes the memory of an empty buffer back into the pool, or frees it if the pool has enough, or if it has
/// grown.
#[inline]
pub(crate) fn give_back(buffer: &mut Vec<u8>) {
    if !buffer.is_empty() || buffer.capacity() == 0 {
        return;
    }
    let buffer = std::mem::take(buffer);
    if buffer.capacity() == POOLED_BYTES {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < MAX_POOLED {
                pool.push(buffer);
            }
        });
    }
}

/// Moves the bytes of a buffer that is mostly empty into one that just holds them, and takes the memory back: a client
/// that has sent a part of a request may never send the rest.
#[inline]
pub(crate) fn condense(buffer: &mut Vec<u8>) {
    if buffer.capacity() == POOLED_BYTES && buffer.len() <= MAX_CONDENSED {
        let mut pooled = std::mem::replace(buffer, buffer.to_vec());
        pooled.clear();
        give_back(&mut pooled);
    }
}

/// Moves the bytes of a buffer that is smaller than those from the pool into one of these, so that there is room
/// for more.
#[inline]
pub(crate) fn expand(buffer: &mut Vec<u8>) {
    if buffer.capacity() < POOLED_BYTES {
        let small = std::mem::take(buffer);
        borrow(buffer);
        buffer.extend_from_slice(&small);
    }
}

/// The bytes that all clients have under way, and their bound.
#[derive(Debug)]
pub(crate) struct BufferBudget {
    used: AtomicUsize,
    max_bytes: usize,
}

impl BufferBudget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { used: AtomicUsize::new(0), max_bytes }
    }

    /// How many bytes are in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The part of one connection.
#[derive(Debug)]
pub(crate) struct BufferShare<'b> {
    budget: &'b BufferBudget,
    counted: usize,
}

impl<'b> BufferShare<'b> {
    pub(crate) fn new(budget: &'b BufferBudget) -> Self {
        Self { budget, counted: 0 }
    }

    /// Counts that the connection has this many bytes under way now, and says whether the budget allows it. What fits a
    /// buffer of the pool is not counted.
    #[inline]
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let bytes = if bytes <= 2 * POOLED_BYTES { 0 } else { bytes };
        if bytes == self.counted {
            return true;
        }
        // Relaxed: a plain sum.
        let used = self.budget.used.fetch_add(bytes.wrapping_sub(self.counted), Ordering::Relaxed);
        let is_more = bytes > self.counted;
        let total = used.wrapping_add(bytes).wrapping_sub(self.counted);
        self.counted = bytes;
        !is_more || total <= self.budget.max_bytes
    }
}

impl Drop for BufferShare<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_bounds_the_sum_and_gets_it_back() {
        let budget = BufferBudget::new(1_000_000);
        let (mut first, mut second) = (BufferShare::new(&budget), BufferShare::new(&budget));
        assert!(first.set(600_000) && second.set(400_000) && second.set(100));
        assert_eq!(budget.used(), 600_000);
        assert!(!second.set(400_001), "more than the budget");
        assert!(second.set(300_000), "less than before is always allowed");
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn idle_connections_keep_no_buffer() {
        let mut buffer = Vec::new();
        borrow(&mut buffer);
        assert_eq!(buffer.capacity(), POOLED_BYTES);
        buffer.push(1);
        give_back(&mut buffer);
        assert_eq!(buffer.len(), 1, "it is in use");
        buffer.clear();
        give_back(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
    }
}
