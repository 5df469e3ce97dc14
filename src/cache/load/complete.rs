//! How a load ends: what its value is stored with, and how it is stored unless the key was changed.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use super::options::{Load, LoadSettings, Loaded};
use crate::base::cause::RemovalCause;
use crate::base::equivalent::ToKey;
use crate::base::error::{Inserted, Rejection};
use crate::base::hash::KeyHash;
use crate::base::load_error::LoadError;
use crate::base::load_time::LoadTime;
use crate::base::stats::Counter;
use crate::base::sync::{self, Ordering};
use crate::buffer::write_buffer::ChangeKind;
use crate::cache::Cache;
use crate::cache::options::{InsertOptions, Traits};
use crate::cache::stored::try_confirm;
use crate::engine::flight::{KeptTraits, Leader, Outcome, Role, SharedError};
use crate::engine::history::Absence;
use crate::engine::{Attempt, Incoming};
use crate::entry::{Entry, EntryPtr};
use crate::expiry::EntryTtl;
use crate::expiry::clock::nanoseconds;
use crate::listener::MustNotWait;
use crate::reclaim;
use crate::table::AttemptStage;

/// Below this, the load timeout is measured exactly.
const EXACT_LOAD_TIMEOUT: Duration = Duration::from_secs(2);

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Ends a load that began at `started_ns`, and whose loader has returned `loaded`: stores the value, unless
    /// the key was changed since the load began, and notifies the waiters. `load` is the loader's context, if it had
    /// one.
    pub(super) fn complete_load<E>(
        &self,
        leader: Leader<K, V>,
        started_ns: u64,
        options: InsertOptions<'_>,
        load: Option<&Load<K, V>>,
        loaded: Result<Loaded<V>, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        K: Clone + Send + Sync + 'static,
        V: Clone,
        E: Send + Sync + 'static,
    {
        leader.keep_running();
        let hash = leader.fill().hash;
        let measured = self.count_load(hash, started_ns, loaded.is_err());
        let settings = load.map(Load::take_settings).unwrap_or_default();
        let cost = settings.cost.or(options.cost).filter(|cost| !cost.is_zero());
        let load_time = cost.unwrap_or(measured);
        let mut kept = KeptTraits::default();
        // A value that is renewed stays in the namespace of the old one, unless the load names another.
        let kept_namespace = leader.kept_traits().namespace();
        let value = match loaded {
            Ok(Loaded::Store(value)) => value,
            Ok(Loaded::Reject(value)) => {
                if leader.is_refreshing() {
                    // The old value is still due, and is not to be renewed by each call.
                    self.note_failed_refresh(hash);
                }
                leader.end(|| Outcome::Value(value.clone()));
                return Ok(Some(value));
            }
            Ok(Loaded::NotModified) => {
                // Without one, the leader is dropped: a waiter loads for itself.
                let Some(value) = load.and_then(Load::stale) else {
                    return Err(LoadError::NotLoaded);
                };
                if self.renew_loaded(&leader, options, &settings, load_time) {
                    leader.end(|| Outcome::Value(value.clone()));
                    return Ok(Some(value.clone()));
                }
                kept = leader.kept_traits().clone();
                value.clone()
            }
            Ok(Loaded::Missing) => {
                // First, since remembering the key closes the fill.
                let is_absent = self.remove_outdated(&leader);
                match &self.shared.settings.missing {
                    Some(missing) if is_absent => {
                        missing.store(leader.key().clone(), settings.ttl, leader.fill());
                        // SeqCst: between the store in the memory and the search of the table; pairs with the fence in
                        // `forget_known`. An insertion that marked the fills before this one was opened is seen here,
                        // or forgets the key after its step.
                        sync::fence(Ordering::SeqCst);
                        if self.find(leader.key(), hash, &reclaim::pin()).is_some() {
                            self.shared.engine.forget_known(hash);
                        }
                    }
                    // It completes as a fill does.
                    _ => {
                        leader.fill().confirm(|| true);
                    }
                }
                leader.end(|| Outcome::Missing);
                return Ok(None);
            }
            Err(error) => {
                let error = Arc::new(error);
                leader.end(|| Outcome::Failed(Arc::clone(&error) as SharedError));
                return Err(LoadError::Failed(error));
            }
        };
        match self.load_traits(options, settings, kept) {
            Ok(traits) => {
                let namespace = traits.namespace.or(kept_namespace);
                let traits = Traits { namespace, ..traits };
                let (key, stored) = (leader.key().clone(), value.clone());
                let stored = self.store_loaded(key, stored, traits, load_time, &leader);
                match stored {
                    Inserted::Rejected(Rejection::Stale | Rejection::Present) => {
                        self.count(Counter::LoadsDiscarded, &reclaim::pin());
                    }
                    // The old value was to be replaced, and must not be read as if it were current.
                    Inserted::Rejected(Rejection::TooHeavy { .. } | Rejection::StoresNothing) => {
                        self.remove_outdated(&leader);
                    }
                    _ => {}
                }
            }
            Err(rejection) => {
                self.reject_and_note(rejection, hash);
            }
        }
        leader.end(|| Outcome::Value(value.clone()));
        Ok(Some(value))
    }

    /// Ends a load that began at `started_ns`, and that has failed with an error that others share.
    pub(super) fn fail_load<E>(&self, leader: Leader<K, V>, started_ns: u64, error: &Arc<E>)
    where
        E: Send + Sync + 'static,
    {
        self.count_load(leader.fill().hash, started_ns, true);
        leader.end(|| Outcome::Failed(Arc::clone(error) as SharedError));
    }

    /// Counts a load that began at `started_ns`, and returns how long it took.
    fn count_load(&self, hash: KeyHash, started_ns: u64, has_failed: bool) -> Duration {
        let taken_ns = self.load_clock_ns().saturating_sub(started_ns);
        let guard = reclaim::pin();
        self.shared.engine.counters.add(guard.thread(), Counter::LoadTime, taken_ns);
        if let Some(times) = &self.shared.engine.load_times {
            times.record(Duration::from_nanos(taken_ns));
        }
        if has_failed {
            self.count(Counter::LoadFailures, &guard);
        }
        if self.may_use_stale() {
            if has_failed { self.note_failed_refresh(hash) } else { self.note_loaded(hash) }
        }
        Duration::from_nanos(taken_ns)
    }

    /// Gives the entry whose value is still right a new lifetime. Says whether it did; if not, the entry has
    /// left, or the loader has set a trait that an entry has for life, so the value has to be stored anew.
    fn renew_loaded(
        &self,
        leader: &Leader<K, V>,
        options: InsertOptions<'_>,
        settings: &LoadSettings,
        load_time: Duration,
    ) -> bool {
        if settings.tags.is_some() || settings.namespace.is_some() || settings.is_unevictable {
            return false;
        }
        let (key, hash) = (leader.key(), leader.fill().hash);
        let guard = reclaim::pin();
        let found = match self.find(key, hash, &guard) {
            Some(found) => Some(found),
            None => self.find_stale(key, hash, &guard).map(|stale| (stale.pointer, stale.entry)),
        };
        let Some((pointer, entry)) = found else { return false };
        // After the entry was found: no change of the key has put it there since the load began.
        if !leader.fill().is_fresh() {
            return false;
        }
        let ttl = settings.ttl.or(options.ttl);
        let lifetime = ttl.map_or(EntryTtl::Default, EntryTtl::For);
        self.renew(pointer, entry, lifetime, load_time, &guard)
    }

    /// Removes the entry whose value was to be renewed, after a loader has found that there is none any more,
    /// or one that cannot be stored, unless the key was changed since the load began. A valid entry stays unless
    /// it was to be renewed. In a thread that must not wait the entry may stay. Returns whether the key is absent.
    fn remove_outdated(&self, leader: &Leader<K, V>) -> bool {
        let (key, fill) = (leader.key(), leader.fill());
        let (engine, hash) = (&self.shared.engine, fill.hash);
        let removed = engine.attempt_unmarked(hash, &mut Incoming::none(), |change, _, guard| {
            let Some((old, _)) = engine.table.get(hash, |stored| stored == key, guard) else {
                return Attempt::Done(true);
            };
            // As in `store_loaded`. An entry that the listener was notified of has to leave.
            let may_stay = || !leader.is_refreshing() && self.is_valid(old);
            if change.notified().is_none() && (!fill.is_fresh() || may_stay()) {
                return Attempt::Done(false);
            }
            let cause = || self.cause_now(old, RemovalCause::Explicit);
            if change.must_notify(old, cause) || !change.reserve(ChangeKind::Remove) {
                return Attempt::Retry;
            }
            if engine.table.remove_entry(old, guard) {
                self.note_removed(change, old, Absence::Removed, guard);
            } else {
                change.cancel();
            }
            Attempt::Done(true)
        });
        removed.unwrap_or(false)
    }

    /// What a loaded value is stored with. `kept` are the traits of the entry that had the value already, if any.
    fn load_traits(
        &self,
        options: InsertOptions<'_>,
        settings: LoadSettings,
        kept: KeptTraits,
    ) -> Result<Traits, Rejection> {
        let LoadSettings { ttl, tags, is_unevictable, namespace, cost: _ } = settings;
        let options = match ttl {
            Some(ttl) => options.ttl(ttl),
            None => options,
        };
        let options = match &namespace {
            Some(namespace) => options.namespace(namespace),
            None => options,
        };
        let is_unevictable = is_unevictable || kept.is_unevictable;
        let options = if is_unevictable { options.unevictable() } else { options };
        match tags {
            None if kept.tags.is_some() => {
                Ok(Traits { tags: kept.tags, ..self.traits(options.tags(&[]))? })
            }
            None => self.traits(options),
            Some(tags) => {
                let tags = self.hold_tags(tags)?;
                Ok(Traits { tags, ..self.traits(options.tags(&[]))? })
            }
        }
    }

    /// Stores a value that `leader` has loaded, in place of the entry of the key, if there is one, unless the
    /// key was changed since the load began.
    ///
    /// If the key was missing, and the load does not [refresh](Leader::set_refreshing) it, an entry that is
    /// valid stays. It was stored by another fill, or by a change that had marked the fills just before this
    /// one was opened and has changed the table since.
    ///
    /// An absent key is stored as any fill is: unconfirmed at first. An entry is replaced, by one step of
    /// the table, while the lock is held under which fills become stale. That step compares no keys, so no
    /// user code runs under the lock.
    pub(in crate::cache) fn store_loaded(
        &self,
        key: K,
        value: V,
        traits: Traits,
        load_time: Duration,
        leader: &Leader<K, V>,
    ) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let fill = leader.fill();
        let hash = fill.hash;
        let engine = &self.shared.engine;
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_and_note(rejection, hash),
        };
        let lifetime = traits.lifetime;
        let new = self.make(hash, weight.units, key, value, traits);
        if self.needs_load_times() {
            new.set_load_time(LoadTime::of(load_time));
        }
        let _loan = self.borrow_for(&new, weight, hash);
        let mut answer = None;
        let mut incoming = Incoming::new(new, Some(lifetime));
        let stored = engine.attempt_unmarked(hash, &mut incoming, |change, incoming, guard| {
            // An `Expiry` is asked about the entry that leaves, if there is one.
            let found = match self.shared.settings.expiry {
                None => None,
                Some(_) => {
                    let key = incoming.entry().key();
                    engine.table.get(hash, |stored| stored == key, guard).map(|(old, _)| old)
                }
            };
            let old = match found {
                Some(old) => old,
                None => {
                    self.apply_expiry(incoming.entry(), None, lifetime, &mut answer);
                    let new = incoming.take();
                    new.as_ptr().set_unconfirmed();
                    let on_attempt = |stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                        change.on_attempt(stage, |_, _| Some(ChangeKind::Insert))
                    };
                    match engine.table.insert_if_absent(new, on_attempt, guard) {
                        Ok(new) => {
                            // Also if it is refused below: it counts as invalidated when it leaves.
                            self.note_inserted(change, new, guard);
                            return Attempt::Done(match try_confirm(new, fill) {
                                true => StoredLoad::Stored(Inserted::Added),
                                false => StoredLoad::Unconfirmed(new),
                            });
                        }
                        Err((unused, old)) => {
                            incoming.put_back(unused);
                            let Some(old) = old else { return Attempt::Retry };
                            old
                        }
                    }
                }
            };
            let entry = engine.table.at(old, guard);
            // Before the listener is notified: after that, the entry has to leave.
            if change.notified().is_none() {
                if !fill.is_fresh() {
                    return Attempt::Done(StoredLoad::Stale);
                }
                if !leader.is_refreshing() && self.is_valid(old) {
                    return Attempt::Done(StoredLoad::Present);
                }
            }
            if change.must_notify(old, || self.cause_now(old, RemovalCause::Replaced)) {
                return Attempt::Retry;
            }
            self.apply_expiry(incoming.entry(), Some((old, entry)), lifetime, &mut answer);
            if !change.reserve(ChangeKind::Replace) {
                return Attempt::Retry;
            }
            let mut new = Some(incoming.take());
            let mut replaced = None;
            let confirmed = fill.confirm(|| {
                let Some(entry) = new.take() else { return false };
                // An earlier attempt may have hidden it.
                entry.as_ptr().confirm();
                match engine.table.replace_entry(old, entry, guard) {
                    Ok(shared) => replaced = Some(shared),
                    Err(unused) => new = Some(unused),
                }
                replaced.is_some()
            });
            if let Some(new) = replaced {
                let inserted = self.note_replaced(change, (old, new), None, guard);
                return Attempt::Done(StoredLoad::Stored(inserted));
            }
            change.cancel();
            if let Some(unused) = new {
                incoming.put_back(unused);
            }
            if confirmed.is_some() {
                // Another thread has changed the table, without marking the fill: maintenance, or a fill.
                return Attempt::Retry;
            }
            if change.notified().is_some() {
                // The listener was notified that the entry leaves, so it must.
                change.reserve_pinned(ChangeKind::Remove);
                if engine.table.remove_entry(old, guard) {
                    self.note_removed(change, old, Absence::Removed, guard);
                } else {
                    change.cancel();
                }
            }
            Attempt::Done(StoredLoad::Stale)
        });
        match stored {
            Ok(StoredLoad::Stored(inserted)) => inserted,
            Ok(StoredLoad::Stale) => self.reject(Rejection::Stale),
            Ok(StoredLoad::Present) => self.reject(Rejection::Present),
            Ok(StoredLoad::Unconfirmed(unconfirmed)) => self.reject_stale(unconfirmed, hash),
            Err(MustNotWait) => self.reject(Rejection::WithinListener),
        }
    }

    /// Joins the flight of the key, or begins to lead one. Gives up a flight whose bound has passed: a caller that
    /// does not wait for it would otherwise never find the key free again.
    pub(super) fn join_in_time<Q>(&self, key: &Q, hash: KeyHash, now_ns: u64) -> Role<K, V>
    where
        Q: ToKey<K> + ?Sized,
    {
        let until_ns = now_ns.saturating_add(self.load_timeout_ns());
        loop {
            match self.shared.engine.fills.join_flight(hash, key.to_key(), until_ns) {
                Role::Waiter(waiter)
                    if waiter.until_ns() <= now_ns && !waiter.is_within_loader() =>
                {
                    waiter.give_up();
                }
                role => return role,
            }
        }
    }

    /// For how long a load goes on before its waiters give it up.
    pub(super) fn load_timeout_ns(&self) -> u64 {
        nanoseconds(self.load_timeout())
    }

    /// Whether the cache renews values, or keeps expired ones for some time.
    pub(super) fn may_use_stale(&self) -> bool {
        self.shared.settings.refresh_rule.is_some() || self.shared.engine.timing.grace.is_some()
    }

    /// Whether it matters later how long a value took to load: for its early refresh, or for its eviction.
    fn needs_load_times(&self) -> bool {
        self.may_use_stale() || self.shared.settings.weighs_costs
    }

    /// The time of the cache, for the beginning and the end of a load: read cheaply if a few milliseconds do not
    /// matter. Over many loads, the errors of such readings cancel out.
    pub(super) fn load_clock_ns(&self) -> u64 {
        let time = &self.shared.engine.timing.time;
        let needs_exact = self.shared.engine.load_times.is_some() || self.needs_load_times();
        if needs_exact || self.load_timeout() < EXACT_LOAD_TIMEOUT {
            return time.now_ns();
        }
        time.around_ns().0
    }

    /// The time of the cache.
    pub(super) fn now_ns(&self) -> u64 {
        self.shared.engine.timing.time.now_ns()
    }
}

/// The result of an attempt to store a loaded value.
enum StoredLoad {
    Stored(Inserted),
    Stale,
    Present,
    /// The fill has become stale: its entry is in the table, but invisible.
    Unconfirmed(EntryPtr),
}
