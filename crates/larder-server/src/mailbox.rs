//! What other threads send to a client: invalidations and messages.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// A bounded queue of encoded messages for one client.
///
/// Any thread may post; the task of the client takes what has come between two batches of its commands. A
/// client that does not read fast enough to stay within the bound is disconnected: a message that is lost
/// without notice would leave it with a stale copy.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<VecDeque<Arc<[u8]>>>,
    /// The bytes of the queue.
    bytes: AtomicUsize,
    max_bytes: usize,
    is_closed: AtomicBool,
    /// Whether it was closed because a message had no room.
    has_overflowed: AtomicBool,
    waker: AtomicWaker,
}

impl Mailbox {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            bytes: AtomicUsize::new(0),
            max_bytes,
            is_closed: AtomicBool::new(false),
            has_overflowed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Adds a message. If there is no room for it, the client is disconnected.
    pub(crate) fn post(&self, message: Arc<[u8]>) {
        {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // Relaxed: written only under the lock.
            let bytes = self.bytes.load(Ordering::Relaxed) + message.len();
            if bytes > self.max_bytes {
                self.has_overflowed.store(true, Ordering::Relaxed);
                // Release: with the Acquire in `is_closed`.
                self.is_closed.store(true, Ordering::Release);
            } else {
                queue.push_back(message);
                // Release: with the Acquire in `has_mail`, which then finds the message.
                self.bytes.store(bytes, Ordering::Release);
            }
        }
        self.waker.wake();
    }

    /// Disconnects the client, as soon as its task runs.
    pub(crate) fn close(&self) {
        // Release: with the Acquire in `is_closed`.
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: with the Release in `close` and `post`.
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether the client was disconnected because a message had no room.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.has_overflowed.load(Ordering::Relaxed)
    }

    /// Whether a message waits.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        // Acquire: with the Release in `post`.
        self.bytes.load(Ordering::Acquire) > 0
    }

    /// The bytes of the messages that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Moves all messages to the end of `output`.
    pub(crate) fn take_into(&self, output: &mut Vec<u8>) {
        let queue = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // Relaxed: the lock orders it with `post`.
            self.bytes.store(0, Ordering::Relaxed);
            std::mem::take(&mut *queue)
        };
        for message in queue {
            output.extend_from_slice(&message);
        }
    }

    /// Has `waker` woken by the next message, or when the client is disconnected. Check for both after this.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
