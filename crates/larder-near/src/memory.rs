//! The tier in memory: what it holds, when it serves that, and what it lets in.
//!
//! # The way of a value into memory
//! | step | who | what |
//! |---|---|---|
//! | 1 | the reader | reserves the key: begins a fill ([`Memory::reserve`]) |
//! | 2 | the reader | asks the link, which takes the connection of the moment and its generation |
//! | 3 | the server | executes `GET`, remembers that this connection has read the key, and replies |
//! | 4 | the connection's task | hands on, in the order of the stream, replies and invalidations |
//! | 5 | the reader | stores the value with its generation, if the reservation has survived ([`Memory::fill`]) |
//!
//! An invalidation removes the key, which ends its reservations and its value ([`Memory::forget`]). Let a value
//! be overwritten after step 3. The invalidation follows the reply in the stream. It may be applied before step 5,
//! because the reader is another task: then the reservation is gone, and the value is refused. Or it is applied
//! after step 5: then it removes the value. If the stream ends before the invalidation, the generation ends,
//! and the value is never served (see [`crate::lease`]): either step 2 took a connection that was live after step 1,
//! and everything is as above, or it got a later one, with a later generation.
//!
//! **Tags.** A tag is a key of the server whose value is a random stamp; `invalidate_tag` gives it another one. A
//! value names its tags with the stamps that they had before it was written, and is valid as long as they have
//! them; a stamp that is gone never comes back. The stamps of tags are held in a [`Memory`] of their own under
//! the rules above, and a hit of a value with tags looks each of them up there, after the value. So what holds
//! for a value that is overwritten holds for one whose tag is invalidated.
//!
//! **The moments at which calls take effect.** A read that the server answers: the execution of `GET`. A read
//! that memory answers: the last change of the value before it, or the moment `max_stale` before the read, if
//! that is later. A write: its execution by the server. When a write has returned, no call that begins later
//! returns an older value from memory or from a flight, since the writer has ended both after the reply.

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder::{Cache, Fill, Inserted};

use crate::envelope::TagStamp;
use crate::error::NearError;
use crate::flight::Flights;
use crate::key::{NearKey, is_turn};
use crate::lease::{Lease, MOST_GENERATIONS, NO_GENERATION, nanoseconds, now_ns};
use crate::link::Holder;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held<V> {
    /// The server has this value.
    Value(V),
    /// The server has nothing under the key.
    Absent,
    /// The server says that there is no value, because a loader has found none.
    Missing,
    /// The server has bytes that are not a value: they cannot be read, or one of their tags was invalidated. What a
    /// loader finds takes their place.
    Unreadable,
}

impl<V> Held<V> {
    pub(crate) fn into_value(self) -> Option<V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Missing | Self::Unreadable => None,
        }
    }
}

/// What memory has under a key. It is small, so that a hit touches little memory.
#[derive(Clone, Debug)]
pub(crate) struct Slot<V> {
    pub(crate) held: Held<V>,
    /// The generation, and whether there are tags. That of a slot without tags is its generation, so a plain hit
    /// makes one comparison for both.
    ///
    /// ```text
    /// 63     62                  0
    /// | tags |    generation     |
    /// ```
    mark: u64,
    /// The deadline. The cache itself is given none: a hit has read the clock for the lease, and would read it
    /// again for a deadline of the cache's. What has expired is removed by [`Memory::tidy`], or evicted.
    until_ns: u64,
    /// What few slots have, and plain hits do not read.
    rare: Option<Arc<Rare>>,
}

#[derive(Debug)]
struct Rare {
    fetched_ns: u64,
    tags: Tags,
}

/// The bit of a mark that says that there are tags.
const TAGGED: u64 = 1 << 63;
const _: () = assert!(MOST_GENERATIONS == TAGGED);

impl<V> Slot<V> {
    fn new(fetched: Fetched<V>, until_ns: u64, keeps_time: bool) -> Self {
        let Fetched { held, tags, generation, sent_ns, .. } = fetched;
        let mark = if tags.is_some() { generation | TAGGED } else { generation };
        let has_rare = keeps_time || tags.is_some();
        let rare = has_rare.then(|| Arc::new(Rare { fetched_ns: sent_ns, tags }));
        Self { held, mark, until_ns, rare }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.mark & !TAGGED
    }

    fn has_tags(&self) -> bool {
        self.mark & TAGGED != 0
    }

    fn tags(&self) -> impl Iterator<Item = &TagStamp> {
        self.rare.iter().flat_map(|rare| &rare.tags).flat_map(|tags| tags.iter())
    }

    fn fetched_ns(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.fetched_ns)
    }
}

/// The tags of a value with their stamps; `None` if it has none, which a hit sees at once.
pub(crate) type Tags = Option<Arc<[TagStamp]>>;

/// What the server has answered for a key, with what decides for how long it may be held.
pub(crate) struct Fetched<V> {
    pub(crate) held: Held<V>,
    pub(crate) tags: Tags,
    pub(crate) generation: u64,
    pub(crate) sent_ns: u64,
    pub(crate) bound: Bound,
}

/// For how long a value may be held from when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Until it is invalidated.
    None,
    /// At most for so long.
    For(Duration),
    /// Not at all.
    Never,
}

impl Bound {
    pub(crate) fn at_most(self, other: Duration) -> Self {
        match self {
            Self::None => Self::For(other),
            Self::For(own) => Self::For(own.min(other)),
            Self::Never => Self::Never,
        }
    }
}

/// A call's outcome, which its waiters share.
pub(crate) type Outcome<V> = Result<Held<V>, NearError>;

impl Memory<Vec<u8>, u64> {
    /// The memory of the tags of a cache whose keys begin with `prefix`.
    pub(crate) fn of_tags(
        cache: Cache<Vec<u8>, Slot<u64>>,
        prefix: &[u8],
        max_stale_ns: u64,
        stale_if_error_ns: u64,
    ) -> TagMemory {
        let prefix = [prefix, TAG_MARK].concat();
        Arc::new(Self::new(cache, prefix, None, max_stale_ns, stale_if_error_ns))
    }
}

/// The tier in memory of one near cache.
pub(crate) struct Memory<K, V> {
    pub(crate) cache: Cache<K, Slot<V>>,
    pub(crate) reads: Flights<Outcome<V>>,
    pub(crate) loads: Flights<Outcome<V>>,
    prefix: Vec<u8>,
    /// The stamps of tags; `None` in the memory of these itself.
    tags: Option<TagMemory>,
    /// Values are kept when the server cannot be asked, to be served for so long.
    stale_if_error_ns: u64,
    /// Whether an entry may have a deadline. It is a hint: what is missed once is found by the next round.
    has_deadlines: AtomicBool,
    /// Whether a walk that removes what is of past generations is about to begin.
    is_purge_due: AtomicBool,
}

/// The stamps of tags by their names, which come after [`TAG_MARK`].
pub(crate) type TagMemory = Arc<Memory<Vec<u8>, u64>>;

/// What comes between the prefix of a cache and the name of a tag. A text that begins with it is not a likely key.
const TAG_MARK: &[u8] = b"\0tag:";

/// How often entries are removed that have expired.
const TIDY_PERIOD: Duration = Duration::from_secs(15);
/// How many entries are looked through at a time.
const KEYS_PER_STEP: usize = 256;

impl<K, V> Memory<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(
        cache: Cache<K, Slot<V>>,
        prefix: Vec<u8>,
        tags: Option<TagMemory>,
        max_stale_ns: u64,
        stale_if_error_ns: u64,
    ) -> Self {
        // A load is closed by any change of its key, and may take as long as it takes.
        let (reads, loads) = (Flights::new(max_stale_ns), Flights::new(u64::MAX));
        let (has_deadlines, is_purge_due) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { cache, reads, loads, prefix, tags, stale_if_error_ns, has_deadlines, is_purge_due }
    }

    /// Of what is `None`, the memory of tags itself, no value has tags.
    pub(crate) fn tags(&self) -> Option<&TagMemory> {
        self.tags.as_ref()
    }

    pub(crate) fn close_flights(&self) {
        self.reads.close_all();
        self.loads.close_all();
    }

    /// The name of `key` for the server.
    pub(crate) fn name(&self, key: &K) -> Vec<u8> {
        // With room for a key of ordinary length.
        let mut name = Vec::with_capacity(self.prefix.len() + 32);
        name.extend_from_slice(&self.prefix);
        key.encode(&mut name);
        name
    }

    /// What memory may say of `key` at the moment.
    #[inline]
    pub(crate) fn lookup(&self, lease: &Lease, key: &K) -> Option<Held<V>> {
        let time = lease.time_of_hit()?;
        let read = |slot: &Slot<V>| {
            // After the slot was found; see the head of `lease`.
            let is_present = lease.is_present(slot.mark) || self.is_present_with_tags(lease, slot);
            let is_served = is_present && time.is_within(slot.until_ns);
            is_served.then(|| slot.held.clone())
        };
        self.cache.read(key, read).flatten()
    }

    /// Whether a slot has tags, its generation is present, and memory knows that its tags have their stamps.
    #[cold]
    fn is_present_with_tags(&self, lease: &Lease, slot: &Slot<V>) -> bool {
        let has_stamp = |tag: &TagStamp| {
            let held = self.tags.as_ref().and_then(|memory| memory.lookup(lease, &tag.tag));
            held == Some(Held::Value(tag.stamp))
        };
        #[cfg(test)]
        let has_stamp =
            |tag: &TagStamp| has_stamp(tag) || lease.has(crate::lease::Defect::TagsUnchecked);
        slot.has_tags() && lease.is_present(slot.generation()) && slot.tags().all(has_stamp)
    }

    /// What memory may say of `key` if the server cannot be asked.
    pub(crate) fn lookup_stale(&self, lease: &Lease, key: &K) -> Option<Held<V>> {
        if self.stale_if_error_ns == 0 {
            return None;
        }
        let slot = self.cache.peek(key)?;
        let known_ns = lease.known_current_ns(slot.generation(), slot.fetched_ns());
        let now = now_ns();
        let is_served =
            now <= slot.until_ns && now.saturating_sub(known_ns) <= self.stale_if_error_ns;
        let has_tags = slot.tags().all(|tag| {
            let held = self.tags.as_ref().and_then(|memory| memory.lookup_stale(lease, &tag.tag));
            held == Some(Held::Value(tag.stamp))
        });
        (is_served && has_tags).then_some(slot.held)
    }

    /// Reserves `key`, before the server is asked for it.
    pub(crate) fn reserve(&self, key: &K) -> Fill<K, Slot<V>> {
        self.cache.begin_fill(key)
    }

    /// Stores what was fetched, if the reservation has survived.
    pub(crate) fn fill(
        &self,
        lease: &Lease,
        reservation: Fill<K, Slot<V>>,
        fetched: Fetched<V>,
    ) -> Filled {
        #[cfg(not(test))]
        let sent_ns = fetched.sent_ns;
        #[cfg(test)]
        let sent_ns = match lease.has(crate::lease::Defect::LateDeadline) {
            true => now_ns(),
            false => fetched.sent_ns,
        };
        let mut until_ns = u64::MAX;
        match fetched.bound {
            Bound::None => {}
            Bound::Never => return Filled::NotHeld,
            Bound::For(bound) => {
                until_ns = sent_ns.saturating_add(nanoseconds(bound));
                if until_ns <= now_ns() {
                    return Filled::NotHeld;
                }
                self.has_deadlines.store(true, Ordering::Relaxed);
            }
        }
        // It would not be served.
        if fetched.generation == NO_GENERATION || !lease.is_present(fetched.generation) {
            return Filled::Refused;
        }
        let slot = Slot::new(fetched, until_ns, self.stale_if_error_ns > 0);
        #[cfg(test)]
        if lease.has(crate::lease::Defect::LateFill) {
            self.cache.insert(reservation.key().clone(), slot);
            return Filled::Held;
        }
        match self.cache.complete_fill_replacing(reservation, slot) {
            Inserted::Rejected(larder::Rejection::Stale) => Filled::Refused,
            Inserted::Rejected(_) => Filled::NotHeld,
            _ => Filled::Held,
        }
    }

    /// Removes what has expired at `now_ns`.
    pub(crate) fn tidy_up(&self, now_ns: u64) {
        if self.has_deadlines.swap(false, Ordering::Relaxed) && self.remove_expired(now_ns) {
            self.has_deadlines.store(true, Ordering::Relaxed);
        }
    }

    /// The same by a walk through all entries. Says whether anything with a deadline is left.
    fn remove_expired(&self, now_ns: u64) -> bool {
        let (mut has_deadlines, mut cursor) = (false, 0);
        loop {
            // A removal of all at once would end the reservations of all keys.
            let mut expired = Vec::new();
            cursor = self.cache.scan(cursor, KEYS_PER_STEP, |key, slot, _| {
                if slot.until_ns < now_ns {
                    expired.push(key.clone());
                } else {
                    has_deadlines |= slot.until_ns != u64::MAX;
                }
            });
            for key in &expired {
                self.cache.remove_if(key, |_, slot| slot.until_ns < now_ns);
            }
            if cursor == 0 {
                return has_deadlines;
            }
        }
    }

    /// Removes what has expired, again and again, as long as the cache exists.
    pub(crate) async fn tidy(memory: Weak<Self>) {
        loop {
            tokio::time::sleep(TIDY_PERIOD).await;
            let Some(memory) = memory.upgrade() else { return };
            // On a thread where the walk, and the user's drops, hold nothing up.
            let walked = tokio::task::spawn_blocking(move || {
                memory.tidy_up(now_ns());
                if let Some(tags) = memory.tags() {
                    tags.tidy_up(now_ns());
                }
            });
            // A panic of a drop was reported by the runtime, and the next round goes on.
            let _ = walked.await;
        }
    }

    /// Removes what is of generations that are no longer present.
    fn remove_past(&self, lease: &Lease) {
        self.cache.invalidate_if(|_, slot| !lease.is_present(slot.generation()));
        if let Some(tags) = self.tags() {
            tags.cache.invalidate_if(|_, slot| !lease.is_present(slot.generation()));
        }
    }

    /// Forgets a key: its value, its reservations, and its flights.
    pub(crate) fn forget_key(&self, key: &K, name: &[u8]) {
        self.reads.close(name);
        self.loads.close(name);
        self.cache.remove_and_read(key, |_, _| ());
    }
}

/// What has become of a value that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    Held,
    /// It may have been overwritten since it was fetched.
    Refused,
    /// It has expired, or the cache in memory does not want it.
    NotHeld,
}

/// What the link does to the tier in memory.
pub(crate) struct Hands<K, V>(pub(crate) Arc<Memory<K, V>>);

impl<K, V> Hands<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Removes what cannot be served any more, on a thread where the user's drops hold nothing up.
    fn purge(&self, lease: &Arc<Lease>) {
        // A test that models the time has this thread alone.
        #[cfg(test)]
        if crate::lease::modelled_time::get().is_some() {
            self.0.remove_past(lease);
            return;
        }
        // AcqRel: pairs with the swap of the walk. One that has not begun yet sees the generations of this call; when
        // slots of a cluster move one by one, there are not as many walks as slots.
        if self.0.is_purge_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let (memory, lease) = (Arc::clone(&self.0), Arc::clone(lease));
        tokio::task::spawn_blocking(move || {
            // AcqRel: pairs with the swap above.
            memory.is_purge_due.swap(false, Ordering::AcqRel);
            memory.remove_past(&lease);
        });
    }
}

impl<K, V> Holder for Hands<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn forget(&self, names: &[Vec<u8>]) -> usize {
        let mut foreign = 0;
        for name in names {
            let own = name.strip_prefix(&self.0.prefix[..]);
            let tag = own.and_then(|own| own.strip_prefix(TAG_MARK));
            if let (Some(tag), Some(tags)) = (tag, self.0.tags()) {
                tags.forget_key(&tag.to_vec(), name);
            }
            // Some keys look like tags, or like turns.
            match own.and_then(K::decode) {
                Some(key) => self.0.forget_key(&key, name),
                None if tag.is_some() || is_turn(name) => {}
                None => foreign += 1,
            }
        }
        foreign
    }

    fn forget_past(&self, lease: &Arc<Lease>) {
        self.0.close_flights();
        self.purge(lease);
    }

    fn lose_past(&self, lease: &Arc<Lease>) {
        self.0.close_flights();
        if self.0.stale_if_error_ns == 0 {
            self.purge(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::modelled_time;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_has_expired_is_not_served_and_is_removed_without_ending_reservations() {
        modelled_time::set(SECOND);
        let cache = Cache::builder().capacity(10_000).build().unwrap();
        let memory = Memory::<u64, u64>::new(cache, Vec::new(), None, u64::MAX, 0);
        let lease = Lease::of_one(Duration::from_secs(1000));
        lease.begin(0, true, SECOND);
        let generation = lease.generations(0, std::iter::once(0))[0];
        for key in 0..3000 {
            let bound = match key % 3 {
                0 => Bound::None,
                1 => Bound::For(Duration::from_secs(10)),
                _ => Bound::For(Duration::from_secs(20)),
            };
            let held = Held::Value(key);
            let fetched = Fetched { held, tags: None, generation, sent_ns: SECOND, bound };
            assert_eq!(memory.fill(&lease, memory.reserve(&key), fetched), Filled::Held);
        }
        let reservation = memory.reserve(&0);
        modelled_time::set(11 * SECOND);
        assert_eq!(memory.lookup(&lease, &1), Some(Held::Value(1)));
        modelled_time::set(11 * SECOND + 1);
        assert_eq!(memory.lookup(&lease, &1), None);
        assert_eq!(memory.lookup(&lease, &2), Some(Held::Value(2)));
        for (seconds, left) in [(11, 3000), (12, 2000), (30, 1000), (1000, 1000)] {
            memory.tidy_up(seconds * SECOND);
            assert_eq!(memory.cache.len(), left, "after {seconds} s");
        }
        let bound = Bound::None;
        let fetched =
            Fetched { held: Held::Value(7), tags: None, generation, sent_ns: SECOND, bound };
        assert_eq!(memory.fill(&lease, reservation, fetched), Filled::Held);
        assert_eq!(memory.lookup(&lease, &0), Some(Held::Value(7)));
    }
}
