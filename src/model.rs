//! Under loom: handles on the structures of the crate, for the models in `loom-tests`.
//!
//! Keys are their own hashes, so a model chooses which keys share a bucket and where an entry
//! stands. Values are cells that loom watches: if a thread reads a value before it has acquired its
//! initialization, loom reports a race. Nothing is freed before the model ends. To check that a
//! removed entry could be freed, [`Map`] looks for it in the list.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::base::hash::KeyHash;
use crate::base::lazy_box::LazyBox;
use loom::cell::UnsafeCell;
use loom::thread::Thread;

use crate::base::lock::Lock;
use crate::base::node_id::NodeId;
use crate::base::sync::{AtomicUsize, Ordering};
use crate::buffer::read_buffer::{ReadBuffer, ReadRecord};
use crate::buffer::write_buffer::{ChangeKind, Event, Popped, SLOTS, WriteBuffer};
use crate::entry::{Entry, EntryPtr, Owned, dispose};
use crate::maintainer::{Attendance, Maintained, Maintainer, is_left};
use crate::reclaim::pin;
use crate::table::{AttemptStage, Cursor, Table};

mod filled;
mod flying;
mod governed;
mod gated;
mod guarded;
mod living;
mod locked;
mod parked;
mod tagged;
mod timed;

pub use filled::{Begun, Filled};
pub use flying::{Boarded, Flying};
pub use gated::{Gated, Victim};
pub use governed::{Governed, Member};
pub use guarded::{Guarded, Unlinked};
pub use living::Living;
pub use locked::Locked;
pub use parked::{Handed, Waiting};
pub use tagged::Tagged;
pub use timed::Timed;

/// A value of which loom checks every access.
struct Watched(UnsafeCell<u64>);

// SAFETY: loom reports any access that is not ordered, which is the purpose of the models.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new(value: u64) -> Self {
        let cell = UnsafeCell::new(0);
        // SAFETY: the pointer is valid, and no other thread has the cell yet.
        cell.with_mut(|pointer| unsafe { *pointer = value });
        Self(cell)
    }

    fn read(&self) -> u64 {
        // SAFETY: the pointer is valid; loom checks that no thread writes.
        self.0.with(|pointer| unsafe { *pointer })
    }

    /// Stands for freeing the value: an access with which no other may be concurrent.
    fn free(&self) {
        // SAFETY: the pointer is valid; loom checks that no other thread accesses it.
        self.0.with_mut(|pointer| unsafe { *pointer = u64::MAX });
    }
}

/// The entries to free at the end. A lock of the standard library, which adds no edge that loom
/// sees.
#[derive(Default)]
struct Keep(Mutex<Vec<EntryPtr>>);

impl Keep {
    fn entry(&self, key: u64, value: u64) -> Owned<u64, Watched> {
        Owned::new(KeyHash::from_raw(key), 1, key, Watched::new(value))
    }

    fn keep(&self, entry: EntryPtr) -> EntryPtr {
        self.0.lock().expect("no panic while locked").push(entry);
        entry
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *self.0.lock().expect("no panic while locked"));
        // SAFETY: every thread of the model has ended, and each entry was added once.
        unsafe { dispose::<u64, Watched>(all) };
    }
}

/// An empty table that has its first buckets. Models of tables that do not have them begin with
/// [`FreshMap`].
fn table<K, V>() -> Table<K, V> {
    let table = Table::new(0);
    table.grow_for(1);
    table
}

/// A table.
pub struct Map {
    table: Table<u64, Watched>,
    keep: Keep,
}

impl Default for Map {
    fn default() -> Self {
        Self { table: table(), keep: Keep::default() }
    }
}

impl Map {
    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        self.table
            .get(KeyHash::from_raw(key), |other| *other == key, &guard)
            .map(|(_, entry)| entry.value.read())
    }

    pub fn insert_if_absent(&self, key: u64, value: u64) -> bool {
        match self.table.insert_if_absent(self.keep.entry(key, value), |_| true, &pin()) {
            Ok(entry) => {
                self.keep.keep(entry);
                true
            }
            Err(_) => false,
        }
    }

    /// Returns the replaced value.
    pub fn upsert(&self, key: u64, value: u64) -> Option<u64> {
        let new = self.keep.entry(key, value);
        let place = self.table.place(KeyHash::from_raw(key));
        let (new, old) = self.table.upsert_plain(new, place, &pin());
        self.keep.keep(new);
        old.map(|old| self.taken(old))
    }

    /// Returns the replaced value.
    pub fn replace(&self, key: u64, value: u64) -> Option<u64> {
        match self.table.replace(self.keep.entry(key, value), |_| true, |_, _| true, &pin()) {
            Ok((new, old)) => {
                self.keep.keep(new);
                Some(self.taken(old))
            }
            Err(_) => None,
        }
    }

    pub fn remove(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, _) =
            self.table.remove(KeyHash::from_raw(key), |other| *other == key, |_| true, &guard)?;
        Some(self.taken(entry))
    }

    /// Takes out the entry that is found now, as an eviction does. `None` if there is none, or if
    /// another thread took it out first.
    pub fn evict(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, _) = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        self.table.remove_entry(entry, &guard).then(|| self.taken(entry))
    }

    /// Replaces the very entry that is found now by one of the value that `change` makes of its own;
    /// returns the old value. `None` if there is none, or if another thread took it out first.
    pub fn replace_found(&self, key: u64, change: impl FnOnce(u64) -> u64) -> Option<u64> {
        let guard = pin();
        let (old, entry) = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        let new = self.keep.entry(key, change(entry.value.read()));
        let new = self.table.replace_entry(old, new, &guard).ok()?;
        self.keep.keep(new);
        Some(self.taken(old))
    }

    /// Takes out all entries that a walk sees; returns the values.
    pub fn clear(&self) -> Vec<u64> {
        let mut values = Vec::new();
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            let guard = pin();
            cursor = self.table.step(cursor, &guard, |pointer, _| {
                if self.table.remove_entry(pointer, &guard) {
                    values.push(self.taken(pointer));
                }
            });
        }
        values
    }

    /// All keys that an iteration sees.
    pub fn keys(&self) -> Vec<u64> {
        let mut keys = Vec::new();
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &pin(), |_, entry| keys.push(entry.key));
        }
        keys
    }

    /// Makes room for `entries`.
    pub fn grow_for(&self, entries: usize) {
        self.table.grow_for(entries);
    }

    /// The value of an entry that was just taken out, which no walk may meet any more.
    fn taken(&self, entry: EntryPtr) -> u64 {
        assert!(!self.table.reaches(entry), "an entry that was taken out is still in the list");
        // SAFETY: entries live until the model ends.
        unsafe { entry.as_entry::<u64, Watched>() }.value.read()
    }
}

/// A table that has no bucket of its own yet: its first insertion adds them.
pub struct FreshMap(Map);

impl Default for FreshMap {
    fn default() -> Self {
        Self(Map { table: Table::new(0), keep: Keep::default() })
    }
}

impl std::ops::Deref for FreshMap {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.0
    }
}

/// A value that is made when it is first needed.
pub struct LazyValue(LazyBox<Watched>);

impl Default for LazyValue {
    fn default() -> Self {
        Self(LazyBox::new())
    }
}

impl LazyValue {
    /// What it holds, if it was made.
    pub fn get(&self) -> Option<u64> {
        self.0.get().map(Watched::read)
    }

    /// What it holds, which is `value` if it was not made.
    pub fn get_or_make(&self, value: u64) -> u64 {
        self.0.get_or_make(|| Watched::new(value)).read()
    }
}

type Found = Entry<u64, Watched>;

/// A table with a write buffer whose slots are claimed ahead of their events.
pub struct Ordered {
    table: Table<u64, Watched>,
    buffer: WriteBuffer,
    keep: Keep,
}

impl Default for Ordered {
    fn default() -> Self {
        Self { table: table(), buffer: WriteBuffer::new(SLOTS), keep: Keep::default() }
    }
}

impl Ordered {
    /// False if the buffer was full; then nothing has changed.
    pub fn upsert(&self, key: u64, value: u64) -> bool {
        let mut claim = None;
        let on_attempt =
            |_: &Owned<u64, Watched>, stage: AttemptStage<(EntryPtr, &Found)>| match stage {
                AttemptStage::Found(old) => {
                    claim = self
                        .buffer
                        .claim(if old.is_some() { ChangeKind::Replace } else { ChangeKind::Insert })
                        .ok();
                    claim.is_some()
                }
                AttemptStage::Failed => {
                    claim = None;
                    true
                }
            };
        let Ok((new, old)) = self.table.upsert(self.keep.entry(key, value), on_attempt, &pin())
        else {
            return false;
        };
        self.keep.keep(new);
        let event = old.map_or(Event::Inserted(new), |old| Event::Replaced { new, old });
        claim.expect("claimed for this attempt").fill(event);
        true
    }

    /// Whether the key was present. It stays in the table if the buffer is full.
    pub fn remove(&self, key: u64) -> bool {
        let mut claim = None;
        let on_attempt = |stage: AttemptStage<(EntryPtr, &Found)>| match stage {
            AttemptStage::Found(_) => {
                claim = self.buffer.claim(ChangeKind::Remove).ok();
                claim.is_some()
            }
            AttemptStage::Failed => {
                claim = None;
                true
            }
        };
        let guard = pin();
        let found =
            self.table.remove(KeyHash::from_raw(key), |other| *other == key, on_attempt, &guard);
        let Some((entry, _)) = found else { return false };
        claim.expect("claimed for this attempt").fill(Event::Removed(entry));
        true
    }

    /// Takes out the entry that is found now, as maintenance does. Returns up to which position the
    /// buffer must be popped before that is notified, and the value.
    pub fn evict(&self, key: u64) -> Option<(u32, u64)> {
        let guard = pin();
        let (entry, found) =
            self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        let position = self.buffer.position();
        self.table.remove_entry(entry, &guard).then(|| (position, found.value.read()))
    }

    /// Pops all events; `removed` gets the position and the value of each removal.
    pub fn drain(&self, removed: &mut Vec<(u32, u64)>) {
        // SAFETY: entries live until the model ends.
        let value = |entry: EntryPtr| unsafe { entry.as_entry::<u64, Watched>() }.value.read();
        loop {
            let position = self.buffer.popped();
            match self.buffer.pop_slot() {
                None => return,
                Some(Popped::Event(Event::Removed(old) | Event::Replaced { old, .. })) => {
                    removed.push((position, value(old)));
                }
                Some(Popped::Event(Event::Inserted(_)) | Popped::Void) => {}
            }
        }
    }

    pub fn live(&self) -> usize {
        self.buffer.live()
    }
}

/// The values of an event's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEvent {
    Inserted(u64),
    Removed(u64),
    Replaced { new: u64, old: u64 },
}

/// A write buffer.
pub struct Writes {
    buffer: WriteBuffer,
    keep: Keep,
}

impl Default for Writes {
    fn default() -> Self {
        Self { buffer: WriteBuffer::new(SLOTS), keep: Keep::default() }
    }
}

impl Writes {
    fn entry(&self, value: u64) -> EntryPtr {
        self.keep.keep(self.keep.entry(value, value).into_shared())
    }

    /// False if the buffer is full.
    pub fn push(&self, event: WriteEvent) -> bool {
        let event = match event {
            WriteEvent::Inserted(value) => Event::Inserted(self.entry(value)),
            WriteEvent::Removed(value) => Event::Removed(self.entry(value)),
            WriteEvent::Replaced { new, old } => {
                Event::Replaced { new: self.entry(new), old: self.entry(old) }
            }
        };
        self.buffer.push(&event).is_ok()
    }

    pub fn pop(&self) -> Option<WriteEvent> {
        // SAFETY: entries live until the model ends.
        let value = |entry: EntryPtr| unsafe { entry.as_entry::<u64, Watched>() }.value.read();
        Some(match self.buffer.pop()? {
            Event::Inserted(entry) => WriteEvent::Inserted(value(entry)),
            Event::Removed(entry) => WriteEvent::Removed(value(entry)),
            Event::Replaced { new, old } => {
                WriteEvent::Replaced { new: value(new), old: value(old) }
            }
        })
    }

    pub fn waiting(&self) -> u32 {
        self.buffer.waiting()
    }

    pub fn live(&self) -> usize {
        self.buffer.live()
    }

    pub fn adjust_live(&self, len_delta: i32) {
        self.buffer.adjust_live(len_delta);
    }
}

/// A read buffer.
pub struct Reads(ReadBuffer);

impl Reads {
    pub fn new(stripes: usize) -> Self {
        Self(ReadBuffer::new(stripes))
    }

    /// False if the thread's stripe is full.
    pub fn offer(&self, thread: usize, node: u32) -> bool {
        let hash = KeyHash::from_raw(u64::from(node) << 16);
        self.0.offer(thread, ReadRecord::new(NodeId::from_raw(node), hash))
    }

    pub fn drain(&self) -> Vec<u32> {
        let mut nodes = Vec::new();
        self.0.drain(|record| {
            assert_eq!(record.node().to_raw(), record.tag(), "a record is torn");
            nodes.push(record.tag());
        });
        nodes
    }
}

/// A maintenance thread of the model's own. Its caches are write buffers, of which it counts the
/// events.
#[derive(Clone, Copy)]
pub struct MaintainerModel(&'static Maintainer);

impl Default for MaintainerModel {
    fn default() -> Self {
        // Leaked, because a static one would outlive the model.
        Self(Box::leak(Box::new(Maintainer::new())))
    }
}

impl MaintainerModel {
    /// Registers a new cache with the maintainer; the first event starts the thread if there is none. Only
    /// the calling thread may await the events that are applied.
    pub fn register(self) -> CacheModel {
        let model = CacheModel {
            cache: Arc::new(VisitedCache {
                writes: Writes::default(),
                applied: AtomicUsize::new(0),
                left: AtomicUsize::new(0),
                lock: Lock::new(()),
                attendance: Attendance::new(),
                waiter: loom::thread::current(),
            }),
        };
        let weak: Weak<VisitedCache> = Arc::downgrade(&model.cache);
        self.0.register(weak, &model.cache.attendance);
        model
    }
}

/// A cache that a maintenance thread visits.
#[derive(Clone)]
pub struct CacheModel {
    cache: Arc<VisitedCache>,
}

struct VisitedCache {
    writes: Writes,
    applied: AtomicUsize,
    /// What direct runs leave to the thread, written under the lock.
    left: AtomicUsize,
    lock: Lock<()>,
    attendance: Attendance,
    waiter: Thread,
}

impl CacheModel {
    /// As the engine's `submit`, when no run of maintenance is due.
    pub fn write(&self, value: u64) {
        assert!(
            self.cache.writes.push(WriteEvent::Inserted(value)),
            "more events than the model has"
        );
        self.cache.attendance.notify();
    }

    /// As a direct run, which leaves garbage.
    pub fn run_directly(&self) {
        {
            let _held = self.cache.lock.lock();
            self.cache.left.store(1, Ordering::Relaxed);
        }
        self.cache.attendance.notify();
    }

    /// Returns once this many events were applied; never, if the thread sleeps although one waits.
    pub fn await_applied(&self, count: usize) {
        while self.cache.applied.load(Ordering::Acquire) < count {
            loom::thread::park();
        }
    }

    /// As the end of a cache: the maintainer forgets it, and its thread ends if it was the last.
    pub fn close(self) {
        drop(self);
    }
}

impl Maintained for VisitedCache {
    fn tick(&self) -> bool {
        while self.writes.pop().is_some() {
            self.applied.fetch_add(1, Ordering::Release);
            self.waiter.unpark();
        }
        if self.left.load(Ordering::Relaxed) > 0 {
            let held = self.lock.lock();
            self.left.store(0, Ordering::Relaxed);
            drop(held);
            self.applied.fetch_add(1, Ordering::Release);
            self.waiter.unpark();
        }
        self.has_work()
    }

    fn has_work(&self) -> bool {
        self.writes.waiting() > 0 || is_left(&self.lock, || self.left.load(Ordering::Relaxed) > 0)
    }

    fn next_timer(&self) -> Option<Duration> {
        None
    }
}
