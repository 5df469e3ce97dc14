//! Being notified of removals.
//!
//! There are two kinds, and a cache may have both.
//!
//! | | [`listener`](crate::Builder::listener) | [`atomic_listener`](crate::Builder::atomic_listener) |
//! |---|---|---|
//! | is called | after the removal, from a bounded queue | within the removal, before the next value of the key is visible |
//! | by | maintenance, or an [executor](crate::Listener::executor) of yours | the thread that removes |
//! | is for | logging, metrics, releasing resources, writing behind | values that must reach a slower store before anybody can miss them |
//! | may use the cache | without restriction | for lookups only |
//! | delays | writers, while its queue is full | changes of the same key |
//!
//! Both are called once for every removal, in order for each key, under no lock and no pin, with a
//! [`Removal`](crate::Removal): key, value, weight, age, and the
//! [cause](crate::RemovalCause) (evicted, expired, explicit, replaced, invalidated). Neither is called
//! for the entries that are in the cache when its last handle is dropped. Call
//! [`clear`](crate::Cache::clear) before that if you need it.
//!
//! # After the removal
//! ```
//! use std::sync::mpsc;
//! use larder::{Cache, Listener};
//!
//! let (sender, receiver) = mpsc::channel();
//! let listener = Listener::<u64, String>::new(move |removal| {
//!     let _ = sender.send(format!("{} {}", removal.key, removal.cause));
//! });
//! let cache = Cache::builder().capacity(100).listener(listener).build()?;
//! cache.insert(1, "one".to_owned());
//! cache.insert(1, "uno".to_owned());
//! cache.remove(&1);
//! cache.flush()?; // everything that was removed before has been delivered and dropped
//! assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["1 replaced", "1 removed"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `Listener::<u64, String>` names the types of key and value, so that the closure need not. After `Listener::new`
//! alone the compiler does not know them yet when it checks the closure, which then has to spell them out:
//! `|removal: &Removal<'_, u64, String>|`.
//!
//! When notifications come faster than the listener takes them, writers wait. With
//! [`Overflow::Drop`](crate::Overflow::Drop) notifications are dropped and counted instead. A listener
//! that does I/O belongs on a thread of its own: let an [`executor`](crate::Listener::executor) run it
//! there.
//!
//! # Within the removal
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//! use larder::{Cache, Maintenance};
//!
//! let store = Arc::new(Mutex::new(HashMap::new()));
//! let slow = Arc::clone(&store);
//! let cache = Cache::<u32, u32>::builder() // with the types, which the closure then need not spell out
//!     .capacity(10)
//!     .maintenance(Maintenance::Inline)
//!     .atomic_listener(move |removal| {
//!         slow.lock().unwrap().insert(*removal.key, *removal.value);
//!     })
//!     .build()?;
//! for key in 0..100 {
//!     cache.insert(key, key * key);
//! }
//! // A thread that misses the cache finds the value in the store: there is no moment in between.
//! let find = |key| cache.get(&key).or_else(|| store.lock().unwrap().get(&key).copied());
//! assert!((0..100).all(|key| find(key) == Some(key * key)));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # What a listener may do
//! The rule is that code which a cache calls never waits for other code that a cache calls. So no
//! deadlock can arise, however caches and listeners are nested. In practice:
//!
//! - A listener may use any cache, including its own. It is notified of what it removes there after it
//!   has returned. It must not expect the key to be absent: another thread may have stored it again.
//! - An *atomic* listener may look up entries of its own cache, but not change it. An insertion there is
//!   rejected with [`Rejection::WithinListener`](crate::Rejection::WithinListener), and a removal, whose
//!   result cannot say so, panics. In a cache with an atomic listener the same holds for the closures
//!   that a change calls: the conditions of `remove_if` and `retain`, and an [`Expiry`](crate::Expiry).
//! - `WithinListener` can also come from a listener, an executor or the `Drop` of a value that changes
//!   *another* cache with an atomic listener, if another thread is changing the same key there. The
//!   call would have to wait for that thread's listener, so it is rejected. Try again later, outside of
//!   the listener.
//! - [`flush`](crate::Cache::flush) from inside a listener is an error. A full queue does not make a
//!   listener wait: the queue grows to about twice its bound, and further notifications are dropped and
//!   counted.
//! - A listener may drop the last handle of another cache. If a thread is inside that cache at the
//!   moment, the drop waits for it for at most a quarter of a second; then that thread drops the entries.
//! - A listener of either kind must not wait for another thread that changes the cache.
//! - A panic of a listener is caught and counted
//!   ([`Stats::listener_panics`](crate::Stats::listener_panics)).
