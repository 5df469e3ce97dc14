//! The namespaces of a cache: their minimums, what they hold, and the bound that they share.
//!
//! Each entry belongs to one namespace. Its first tag is a generation of that namespace (`tags`), in which
//! the account of the namespace is too ([`Account`]). So an entry says by itself what its namespace is, and to
//! invalidate a namespace is to end its generation: O(1), however many entries it has. Entries of ended
//! generations are in no account that a minimum protects.
//!
//! The bound is one for all partitions: a partition evicts if `total` is above it, whatever the partition
//! itself holds. The next generation is made when the last one is ended, so a namespace always has one.
//!
//! A namespace with a maximum that has more than that loses entries until it does not, whatever the bound is. If the
//! partition of the new entry has no other entry of the namespace, the excess is noted here, for the thread to seek it
//! in the other partitions (`engine::room`).
//!
//! # What always holds
//! While no thread is between two steps, `total` is the sum of all accounts, those of ended generations
//! included. The sum of the minimums is at most the bound. So if `total` is above the bound, then some
//! namespace is above its minimum, or there are entries of ended generations: there is something to evict. Which
//! namespaces are above their minimums is noted, so that they are found among thousands of others.
//!
//! # Orderings
//! All counts are relaxed: none publishes other memory. The lock of a namespace orders its generations, as
//! the lock of a shard does in `tags`.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::base::hash::KeyHash;
use crate::base::sync::{self, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::tags::{Account, Crossing, QuotaUnit, Share, Tag};

/// The most threads that count hits apart from each other.
const MAX_STRIPES: usize = 8;

/// What a namespace holds and has done, as [`Cache::namespace_stats`](crate::Cache::namespace_stats) returns
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NamespaceStats {
    /// The name; empty for the namespace of all entries that are in no other.
    pub name: String,
    /// What it is guaranteed, in entries or in units of weight.
    pub minimum: u64,
    /// The most that it may hold, in the same unit; `None` if only the bound limits it.
    pub maximum: Option<u64>,
    /// The number of its entries that maintenance has seen and that may be evicted, without those that were
    /// [invalidated](crate::Cache::invalidate_namespace).
    pub entries: u64,
    /// The weight of these.
    pub weight: u64,
    /// Lookups that found one of its entries. `None` unless
    /// [`Builder::count_lookups`](crate::Builder::count_lookups) was called.
    pub hits: Option<u64>,
    /// Calls of [`Cache::get_in`](crate::Cache::get_in) for this namespace that found nothing; also `None`
    /// unless lookups are counted. Other lookups do not say which namespace a key that is absent belongs to.
    pub misses: Option<u64>,
    /// Entries that came into it, without those that have replaced another one. In background mode, a few that have
    /// replaced an entry that was just being evicted count too.
    pub insertions: u64,
    /// Entries that left because the bound or the maximum was reached.
    pub evictions: u64,
    /// The weight of these.
    pub evicted_weight: u64,
}

/// A namespace of which no other thread has counted anything yet.
struct Namespace {
    name: Arc<str>,
    share: Share,
    /// The generation to which new entries belong.
    current: Mutex<Arc<Tag>>,
    insertions: AtomicU64,
    evictions: AtomicU64,
    evicted_weight: AtomicU64,
}

/// A namespace above its maximum, whose excess is sought in all partitions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    pub(crate) namespace: u32,
    /// The key whose insertion was too much. It is spared as long as there is another entry.
    pub(crate) newest: Option<KeyHash>,
    ticket: u64,
}

#[derive(Default)]
struct Excesses {
    noted: Vec<Excess>,
    next_ticket: u64,
}

/// Hits and misses of each namespace, in turn, as some of the threads have counted them.
type LookupCounts = CachePadded<Box<[AtomicU64]>>;

/// All namespaces of a cache.
pub(crate) struct Quotas {
    unit: QuotaUnit,
    bound: AtomicU64,
    /// What there may be while a lowered bound is approached; of no effect if that is less than the bound.
    approached: AtomicU64,
    /// What all partitions hold of what may be evicted.
    total: CachePadded<AtomicU64>,
    /// The partition in which the last search for room elsewhere began.
    hand: AtomicUsize,
    minimums: u64,
    /// How many accounts there are: one for each namespace, and those of ended generations with entries.
    accounts: Arc<AtomicUsize>,
    /// The namespaces that have more than their minimums.
    above_minimums: Mutex<HashSet<u32, ahash::RandomState>>,
    /// Whether some namespace has a maximum.
    has_maximums: bool,
    /// Namespaces above their maximums, whose excess is not in the partition that has noticed it.
    excesses: Mutex<Excesses>,
    has_excesses: AtomicBool,
    namespaces: Box<[CachePadded<Namespace>]>,
    numbers: HashMap<Arc<str>, u32, ahash::RandomState>,
    /// Empty if lookups are not counted.
    lookups: Box<[LookupCounts]>,
}

impl Quotas {
    /// Namespaces of different names with their shares, one of them, without a name, for all entries that are in no
    /// other.
    /// `counted_by` threads count lookups; 0 if none does.
    pub(crate) fn new(
        unit: QuotaUnit,
        bound: u64,
        namespaces: Vec<(Arc<str>, Share)>,
        counted_by: usize,
    ) -> Self {
        let numbers = (0..).zip(&namespaces).map(|(at, (name, _))| (Arc::clone(name), at));
        let numbers = numbers.collect();
        let minimums = namespaces.iter().map(|(_, share)| share.minimum);
        let minimums = minimums.fold(0_u64, u64::saturating_add);
        let has_maximums = namespaces.iter().any(|(_, share)| share.has_maximum());
        let counts = || (0..2 * namespaces.len()).map(|_| AtomicU64::new(0)).collect();
        let stripes = counted_by.next_power_of_two().min(MAX_STRIPES);
        let stripes = if counted_by == 0 { 0 } else { stripes };
        let lookups = (0..stripes).map(|_| CachePadded::new(counts())).collect();
        let accounts = Arc::default();
        let make = |(at, (name, share)): (u32, (Arc<str>, Share))| {
            let current = Tag::of_namespace(&name, Account::new(at, unit, share, &accounts));
            CachePadded::new(Namespace {
                name,
                share,
                current: Mutex::new(current),
                insertions: AtomicU64::new(0),
                evictions: AtomicU64::new(0),
                evicted_weight: AtomicU64::new(0),
            })
        };
        let namespaces = (0..).zip(namespaces).map(make).collect();
        Self {
            unit,
            bound: AtomicU64::new(bound),
            approached: AtomicU64::new(0),
            total: CachePadded::new(AtomicU64::new(0)),
            hand: AtomicUsize::new(0),
            minimums,
            accounts,
            above_minimums: Mutex::new(HashSet::default()),
            has_maximums,
            excesses: Mutex::new(Excesses::default()),
            has_excesses: AtomicBool::new(false),
            lookups,
            numbers,
            namespaces,
        }
    }

    /// The number of the namespace of that name.
    pub(crate) fn number_of(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// How many namespaces there are.
    pub(crate) fn len(&self) -> usize {
        self.namespaces.len()
    }

    /// The name of a namespace of this cache.
    pub(crate) fn name(&self, number: u32) -> &Arc<str> {
        &self.namespaces[number as usize].name
    }

    /// The generation of a namespace to which new entries belong.
    pub(crate) fn current(&self, number: u32) -> Arc<Tag> {
        Arc::clone(&sync::lock(&self.namespaces[number as usize].current))
    }

    /// Ends the current generation of a namespace, and begins the next.
    pub(crate) fn invalidate(&self, number: u32) {
        let Namespace { name, share, current, .. } = &*self.namespaces[number as usize];
        let account = Account::new(number, self.unit, *share, &self.accounts);
        let next = Tag::of_namespace(name, account);
        let ended = {
            let mut current = sync::lock(current);
            // Under the lock, so that no entry is given the next one while this still lives.
            current.end();
            std::mem::replace(&mut *current, next)
        };
        drop(ended);
        self.note_crossing(number);
    }

    /// Notes whether a namespace is above its minimum, after an account of it has crossed that.
    ///
    /// Of several threads that do so at the same time, the last one to get the lock reads the account after all of
    /// them have changed it.
    #[cold]
    fn note_crossing(&self, number: u32) {
        let mut above = sync::lock(&self.above_minimums);
        let current = sync::lock(&self.namespaces[number as usize].current);
        if current.account().is_some_and(Account::is_above_minimum) {
            above.insert(number);
        } else {
            above.remove(&number);
        }
    }

    #[inline]
    fn follow(&self, account: &Account, crossing: Crossing) {
        if crossing == Crossing::Minimum {
            self.note_crossing(account.namespace);
        }
    }

    /// The namespaces that can lose entries, if they are fewer than `most` and no others can: there is no entry of
    /// an ended generation.
    ///
    /// A thread that has just changed an account may not have noted it yet.
    pub(crate) fn above_minimums(&self, most: usize) -> Option<Vec<u32>> {
        if self.accounts.load(Ordering::Relaxed) > self.namespaces.len() {
            return None;
        }
        let above = sync::lock(&self.above_minimums);
        (above.len() < most).then(|| above.iter().copied().collect())
    }

    /// The sum of the minimums.
    pub(crate) fn minimums(&self) -> u64 {
        self.minimums
    }

    /// Whether some namespace has a maximum.
    pub(crate) fn has_maximums(&self) -> bool {
        self.has_maximums
    }

    /// Whether the namespace of that number has more than its maximum.
    pub(crate) fn is_above_maximum(&self, number: u32) -> bool {
        let namespace = &self.namespaces[number as usize];
        namespace.share.has_maximum()
            && sync::lock(&namespace.current).account().is_some_and(Account::is_above_maximum)
    }

    /// Notes a namespace above its maximum in which a partition has nothing to evict except `newest`.
    #[cold]
    pub(crate) fn note_excess(&self, namespace: u32, newest: Option<KeyHash>) {
        let mut excesses = sync::lock(&self.excesses);
        let ticket = excesses.next_ticket;
        excesses.next_ticket += 1;
        let excess = Excess { namespace, newest, ticket };
        // One for each namespace, however long nothing can leave. The new ticket keeps a thread that seeks the old one
        // from settling this.
        match excesses.noted.iter_mut().find(|noted| noted.namespace == namespace) {
            Some(noted) => *noted = excess,
            None => excesses.noted.push(excess),
        }
        self.has_excesses.store(true, Ordering::Relaxed);
    }

    /// An excess that was noted and not [settled](Self::settle_excess) yet. Several threads may seek the same one,
    /// so that none returns before it is gone.
    #[inline]
    pub(crate) fn noted_excess(&self) -> Option<Excess> {
        // Relaxed: the thread that has noted one calls this itself, later.
        if self.has_excesses.load(Ordering::Relaxed) { self.last_excess() } else { None }
    }

    #[cold]
    fn last_excess(&self) -> Option<Excess> {
        sync::lock(&self.excesses).noted.last().copied()
    }

    /// Forgets an excess that was evicted.
    pub(crate) fn settle_excess(&self, settled: Excess) {
        let mut excesses = sync::lock(&self.excesses);
        excesses.noted.retain(|excess| excess.ticket != settled.ticket);
        self.has_excesses.store(!excesses.noted.is_empty(), Ordering::Relaxed);
    }

    /// The bound on weight, if that is what the namespaces share.
    pub(crate) fn max_weight(&self) -> Option<u64> {
        (self.unit == QuotaUnit::Weight).then(|| self.bound.load(Ordering::Relaxed))
    }

    /// Changes the bound. A lower one is approached in steps.
    pub(crate) fn set_bound(&self, bound: u64) {
        self.approached.store(self.total.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// Whether there is more than the bound allows.
    #[inline]
    pub(crate) fn is_above_bound(&self) -> bool {
        self.total.load(Ordering::Relaxed) > self.bound.load(Ordering::Relaxed)
    }

    /// Whether there would be more than is allowed now, with a new entry of that weight; or is, without one.
    #[inline]
    pub(crate) fn is_above_enforced(&self, new: Option<u32>) -> bool {
        let new = new.map_or(0, |weight| self.unit.cost(weight));
        let bound = self.bound.load(Ordering::Relaxed);
        let enforced = bound.max(self.approached.load(Ordering::Relaxed));
        self.total.load(Ordering::Relaxed).saturating_add(new) > enforced
    }

    /// Allows no more than there is now, as far as that is above the bound.
    pub(crate) fn ratchet(&self) {
        self.approached.fetch_min(self.total.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The partition in which the next search for room begins.
    pub(crate) fn next_partition(&self, partitions: usize) -> usize {
        self.hand.fetch_add(1, Ordering::Relaxed) % partitions
    }

    /// Notes an entry that may be evicted from now on.
    pub(crate) fn add(&self, account: &Account, weight: u32) {
        let crossing = account.add(weight);
        self.total.fetch_add(self.unit.cost(weight), Ordering::Relaxed);
        self.follow(account, crossing);
    }

    /// Notes that an entry has left for another reason than the bound.
    pub(crate) fn subtract(&self, account: &Account, weight: u32) {
        let crossing = account.subtract(weight);
        self.total.fetch_sub(self.unit.cost(weight), Ordering::Relaxed);
        self.follow(account, crossing);
    }

    /// Takes an entry that is to be evicted off the accounts, unless its namespace must not lose it.
    pub(crate) fn try_lose(&self, account: &Account, weight: u32, may_cross: bool) -> bool {
        self.lose(account, weight, account.try_lose(weight, may_cross))
    }

    /// Takes an entry that is to be evicted off the accounts, if its namespace is above its maximum.
    pub(crate) fn try_lose_excess(&self, account: &Account, weight: u32) -> bool {
        self.lose(account, weight, account.try_lose_excess(weight))
    }

    /// Follows an entry that was taken off its account, if it was.
    fn lose(&self, account: &Account, weight: u32, lost: Option<Crossing>) -> bool {
        let Some(crossing) = lost else { return false };
        self.total.fetch_sub(self.unit.cost(weight), Ordering::Relaxed);
        self.follow(account, crossing);
        true
    }

    pub(crate) fn count_insertion(&self, number: u32) {
        self.namespaces[number as usize].insertions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_eviction(&self, number: u32, weight: u32) {
        let Namespace { evictions, evicted_weight, .. } = &*self.namespaces[number as usize];
        evictions.fetch_add(1, Ordering::Relaxed);
        evicted_weight.fetch_add(u64::from(weight), Ordering::Relaxed);
    }

    /// Counts a lookup by the thread of that number, if lookups are counted.
    #[inline]
    pub(crate) fn count_lookup(&self, number: u32, is_hit: bool, thread: usize) {
        if !self.lookups.is_empty() {
            let at = 2 * number as usize + usize::from(!is_hit);
            self.lookups[thread % self.lookups.len()][at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a namespace holds and has done.
    pub(crate) fn stats(&self, number: u32) -> NamespaceStats {
        let at = number as usize;
        let Namespace { name, share, insertions, evictions, evicted_weight, .. } =
            &*self.namespaces[at];
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counted = |at: usize| {
            let counts = self.lookups.iter().map(|stripe| read(&stripe[at]));
            (!self.lookups.is_empty()).then(|| counts.sum())
        };
        let (entries, weight) = self.current(number).account().map_or((0, 0), Account::held);
        NamespaceStats {
            name: name.to_string(),
            minimum: share.minimum,
            maximum: share.has_maximum().then_some(share.maximum),
            entries,
            weight,
            hits: counted(2 * at),
            misses: counted(2 * at + 1),
            insertions: read(insertions),
            evictions: read(evictions),
            evicted_weight: read(evicted_weight),
        }
    }

    /// Takes the locks, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        // In the order of `note_crossing`.
        let above = sync::lock_for_fork(&self.above_minimums);
        let generations = self.namespaces.iter().map(|namespace| &namespace.current);
        let generations = generations.map(sync::lock_for_fork).collect::<Vec<_>>();
        (above, generations, sync::lock_for_fork(&self.excesses))
    }

    /// Panics unless the entries that the partitions hold make up the total, and it is known which namespaces have more
    /// than their minimums.
    pub(crate) fn validate(&self, held: u64) {
        assert_eq!(self.total.load(Ordering::Relaxed), held, "the namespaces are miscounted");
        let mut noted: Vec<_> = sync::lock(&self.above_minimums).iter().copied().collect();
        noted.sort_unstable();
        let is_above =
            |number: &u32| self.current(*number).account().is_some_and(Account::is_above_minimum);
        let above: Vec<_> = (0..self.len() as u32).filter(is_above).collect();
        assert_eq!(noted, above, "other namespaces have more than their minimums");
    }

    /// What an entry of that weight takes of the bound.
    pub(crate) fn cost(&self, weight: u32) -> u64 {
        self.unit.cost(weight)
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn ended_generation_leaves_the_account_of_the_next_empty() {
        let names = vec![("".into(), Share::at_least(0)), ("a".into(), Share::at_least(2))];
        let quotas = Quotas::new(QuotaUnit::Entries, 10, names, 1);
        let (number, old) = (quotas.number_of("a").unwrap(), quotas.current(1));
        (0..4).for_each(|_| quotas.add(old.account().unwrap(), 3));
        assert_eq!((quotas.stats(number).entries, quotas.stats(number).weight), (4, 12));
        quotas.invalidate(number);
        assert_eq!(quotas.stats(number).entries, 0);
        quotas.subtract(old.account().unwrap(), 3);
        assert_eq!(quotas.stats(number).entries, 0, "it was not of this generation");
        quotas.validate(3);
    }

    #[test]
    fn lowered_bound_is_approached_and_never_left_behind() {
        let quotas = Quotas::new(QuotaUnit::Entries, 10, vec![("".into(), Share::at_least(0))], 0);
        let current = quotas.current(0);
        let account = current.account().unwrap();
        (0..10).for_each(|_| quotas.add(account, 1));
        quotas.set_bound(4);
        assert!(quotas.is_above_bound() && !quotas.is_above_enforced(None));
        assert!(quotas.is_above_enforced(Some(1)));
        while quotas.is_above_bound() {
            assert!(quotas.try_lose(account, 1, false));
            quotas.ratchet();
        }
        assert!(quotas.is_above_enforced(Some(1)) && !quotas.is_above_enforced(None));
        quotas.set_bound(5);
        quotas.ratchet();
        assert!(!quotas.is_above_enforced(Some(1)), "a higher bound holds at once");
    }

    #[test]
    fn excesses_are_noted_once_for_each_namespace_and_settled_by_who_sought_them_last() {
        let names = vec![("".into(), Share::at_least(0)), ("a".into(), Share::at_least(2))];
        let quotas = Quotas::new(QuotaUnit::Entries, 10, names, 0);
        quotas.note_excess(1, None);
        let sought = quotas.noted_excess().unwrap();
        (0..1_000).for_each(|_| quotas.note_excess(1, None));
        quotas.note_excess(0, None);
        assert_eq!(sync::lock(&quotas.excesses).noted.len(), 2);
        quotas.settle_excess(sought);
        let left = || quotas.noted_excess().map(|excess| excess.namespace);
        assert_eq!(left(), Some(0));
        quotas.settle_excess(quotas.noted_excess().unwrap());
        assert_eq!(left(), Some(1), "it was noted again while it was sought");
        quotas.settle_excess(quotas.noted_excess().unwrap());
        assert_eq!(left(), None);
    }

    #[test]
    fn those_above_their_minimums_are_known_whoever_crosses_them_at_the_same_time() {
        let names = vec![("".into(), Share::at_least(0)), ("a".into(), Share::at_least(2))];
        let quotas = Quotas::new(QuotaUnit::Entries, 10, names, 0);
        let current = quotas.current(1);
        let account = current.account().unwrap();
        quotas.add(account, 1);
        quotas.add(account, 1);
        assert_eq!(quotas.above_minimums(1), Some(vec![]));
        for round in 0..200 {
            std::thread::scope(|scope| {
                scope.spawn(|| quotas.add(account, 1));
                scope.spawn(|| quotas.add(account, 1));
                scope.spawn(|| quotas.subtract(account, 1));
                if round % 2 == 0 {
                    scope.spawn(|| quotas.subtract(account, 1));
                }
            });
            let is_above = quotas.stats(1).entries > 2;
            assert_eq!(quotas.above_minimums(2), Some(if is_above { vec![1] } else { vec![] }));
            if is_above {
                quotas.subtract(account, 1);
            }
        }
        quotas.add(account, 1);
        assert_eq!(quotas.above_minimums(1), None, "there are as many");
        assert_eq!(quotas.above_minimums(2), Some(vec![1]));
        quotas.validate(3);
    }

    #[test]
    fn while_an_ended_generation_has_entries_others_than_those_above_their_minimums_may_leave() {
        let names = vec![("".into(), Share::at_least(0)), ("a".into(), Share::at_least(2))];
        let quotas = Quotas::new(QuotaUnit::Entries, 10, names, 0);
        let current = quotas.current(1);
        (0..3).for_each(|_| quotas.add(current.account().unwrap(), 1));
        assert_eq!(quotas.above_minimums(2), Some(vec![1]));
        quotas.invalidate(1);
        quotas.validate(3);
        assert_eq!(quotas.above_minimums(2), None);
        (0..3).for_each(|_| quotas.subtract(current.account().unwrap(), 1));
        // As the last entry does.
        drop(current);
        assert_eq!(quotas.above_minimums(2), Some(vec![]));
    }
}
