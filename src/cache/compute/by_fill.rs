//! Steps that a fill makes, on exactly the entry that was seen after it was opened.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::basis::Basis;
use super::{Cache, Computation, Effect};
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::base::error::Rejection;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::ChangeKind;
use crate::cache::options::{Traits, UpdateOptions};
use crate::engine::fills::{FreshFill, OpenFill};
use crate::engine::flight::Flight;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Change, Incoming};
use crate::entry::{Entry, EntryPtr};
use crate::listener::MustNotWait;
use crate::reclaim::Guard;
use crate::table::AttemptStage;

/// The address of the entry that a computation was given. A fill tells by it whether the entry is still there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SeenEntry(usize);

impl SeenEntry {
    pub(super) fn of(pointer: EntryPtr) -> Self {
        Self(pointer.as_raw().addr().get())
    }
}

/// What has to be there for a step to be made.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// The valid entry that was seen, or none; nothing else.
    Seen(Option<SeenEntry>),
    /// Whatever is there.
    Anything,
}

/// The change that an answer asks for.
pub(super) enum Step<K, V> {
    Put(V, Basis<K>),
    Remove,
}

/// The result of an attempt to make a step by a fill.
enum Concluded<R> {
    Done(R),
    /// The old value was removed because the new one was rejected.
    RemovedRejected,
    /// The key was changed since the computation was given its value.
    Outdated,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Stores a value in the place of whatever is there, if the fill is fresh; `None` if it is not.
    pub(in crate::cache) fn replace_by_fill<R>(
        &self,
        open: &OpenFill<Flight<K, V>>,
        key: K,
        value: V,
        traits: Traits,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Option<Result<R, Rejection>>
    where
        K: Clone,
    {
        let Traits { lifetime, tags, is_unevictable, namespace, cost } = traits;
        let options = UpdateOptions::new();
        let wanted = Computation { key: &key, hash: open.hash, owned: || key.clone(), options };
        let basis = Basis {
            key: key.clone(),
            lifetime,
            keeps_lifetime: false,
            tags,
            is_unevictable,
            namespace,
            cost,
        };
        self.conclude(open, Expected::Anything, Step::Put(value, basis), &wanted, see)
    }

    /// Makes `step` if `expected` is there and the fill is fresh; otherwise returns `None`. An entry was seen
    /// after `open` was opened.
    pub(super) fn conclude<Q, O, R>(
        &self,
        open: &OpenFill<Flight<K, V>>,
        expected: Expected,
        step: Step<K, V>,
        wanted: &Computation<'_, Q, O>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Option<Result<R, Rejection>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let engine = &self.shared.engine;
        let hash = wanted.hash;
        let (mut incoming, mut lifetime, mut rejection) = (Incoming::none(), None, None);
        let mut _loan = None;
        if let Step::Put(value, basis) = step {
            match self.weigh(&basis.key, &value, hash) {
                Ok(weight) => {
                    let new;
                    (new, lifetime) = self.make_from(hash, weight.units, value, basis);
                    _loan = self.borrow_for(&new, weight, hash);
                    incoming = Incoming::new(new, lifetime);
                }
                Err(refused) => rejection = Some(refused),
            }
        }
        let stores = incoming.is_some();
        let mut answer = None;
        let made = engine.attempt_unmarked(hash, &mut incoming, |change, incoming, guard| {
            let notified = change.notified();
            let linked = match (self.linked(wanted, guard), notified) {
                // It leaves as the listener was notified, even if it has expired since.
                (Some((old, entry, _)), Some((leaving, cause))) if old == leaving => {
                    let was_valid =
                        matches!(cause, RemovalCause::Replaced | RemovalCause::Explicit);
                    Some((old, entry, was_valid))
                }
                (linked, _) => linked,
            };
            let valid =
                linked.filter(|(.., is_valid)| *is_valid).map(|(old, entry, _)| (old, entry));
            let is_expected = match expected {
                Expected::Seen(seen) => valid.map(|(old, _)| SeenEntry::of(old)) == seen,
                Expected::Anything => true,
            };
            if !is_expected {
                return Attempt::Done(Concluded::Outdated);
            }
            // If any entry will do, and this one has left meanwhile, the next attempt searches again.
            let outdated = || match expected {
                Expected::Seen(_) => Attempt::Done(Concluded::Outdated),
                Expected::Anything => Attempt::Retry,
            };
            // Once the listener was notified, the entry has to leave. The gate keeps out all changes that could have
            // made the fill stale before.
            let is_due = notified.is_some();
            if !is_due && open.lock_fresh().is_none() {
                return Attempt::Done(Concluded::Outdated);
            }
            if let Some((old, _, was_valid)) = linked {
                let cause = || match (was_valid, stores) {
                    (true, true) => RemovalCause::Replaced,
                    (true, false) => RemovalCause::Explicit,
                    (false, _) => self.cause_now(old, RemovalCause::Replaced),
                };
                if change.must_notify(old, cause) {
                    return Attempt::Retry;
                }
            }
            let mut kept_until = None;
            if stores {
                kept_until = self.set_deadline(incoming.entry(), valid, lifetime, &mut answer);
            }
            let Some((old, entry, was_valid)) = linked else {
                return match stores {
                    true => self.insert_by_fill(open, expected, change, incoming, see, guard),
                    false => Attempt::Done(Concluded::RemovedRejected),
                };
            };
            change.reserve_pinned(if stores { ChangeKind::Replace } else { ChangeKind::Remove });
            let is_outdated = !is_due && self.is_valid(old) != was_valid;
            // From here until the change is noted, no user code may run.
            let fresh = open.lock_fresh();
            if fresh.is_none() && !is_due {
                return Attempt::Done(Concluded::Outdated);
            }
            if is_outdated {
                return outdated();
            }
            if !stores {
                if !engine.table.remove_entry(old, guard) {
                    return outdated();
                }
                self.note_effect(fresh, hash);
                let cause = self.note_removed(change, old, Absence::Removed, guard);
                return Attempt::Done(match (rejection, cause) {
                    (Some(_), _) => Concluded::RemovedRejected,
                    (None, RemovalCause::Explicit) => {
                        Concluded::Done(see(Effect::Removed(&entry.value)))
                    }
                    // It had expired before.
                    (None, _) => Concluded::Outdated,
                });
            }
            match engine.table.replace_entry(old, incoming.take(), guard) {
                Ok(new) => {
                    self.note_effect(fresh, hash);
                    self.note_kept(change, (old, new), was_valid, kept_until, guard);
                    let new = &engine.table.at(new, guard).value;
                    Attempt::Done(Concluded::Done(see(match was_valid {
                        true => Effect::Replaced { old: &entry.value, new },
                        false => Effect::Inserted(new),
                    })))
                }
                Err(unused) => {
                    incoming.put_back(unused);
                    outdated()
                }
            }
        });
        match (made, rejection) {
            (Ok(Concluded::Done(done)), _) => Some(Ok(done)),
            (Ok(Concluded::RemovedRejected), Some(rejection)) => {
                self.reject_and_note(rejection, hash);
                Some(Err(rejection))
            }
            (Ok(Concluded::Outdated | Concluded::RemovedRejected), _) => None,
            (Err(MustNotWait), _) => Some(Err(self.refused(Rejection::WithinListener))),
        }
    }

    /// The last part of an attempt of [`conclude`](Self::conclude), where no entry of the key is linked.
    fn insert_by_fill<'e, R>(
        &'e self,
        open: &OpenFill<Flight<K, V>>,
        expected: Expected,
        change: &mut Change<'e, K, V>,
        incoming: &mut Incoming<K, V>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
        guard: &Guard,
    ) -> Attempt<Concluded<R>> {
        let table = &self.shared.engine.table;
        let mut fresh = None;
        let on_attempt = |stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| match stage {
            AttemptStage::Found(_) => {
                change.reserve_pinned(ChangeKind::Insert);
                fresh = open.lock_fresh();
                fresh.is_some()
            }
            AttemptStage::Failed => {
                // The search that follows compares keys, so no lock may be held and no slot claimed.
                fresh = None;
                change.cancel();
                true
            }
        };
        match table.insert_if_absent(incoming.take(), on_attempt, guard) {
            Ok(new) => {
                self.note_effect(fresh, new.hash());
                self.note_inserted(change, new, guard);
                let value = &table.at(new, guard).value;
                Attempt::Done(Concluded::Done(see(Effect::Inserted(value))))
            }
            Err((unused, present)) => {
                incoming.put_back(unused);
                match (expected, present) {
                    (Expected::Anything, Some(_)) => Attempt::Retry,
                    _ => Attempt::Done(Concluded::Outdated),
                }
            }
        }
    }

    /// Notes for other fills that a step was made by a fill.
    fn note_effect(&self, fresh: Option<FreshFill<'_, Flight<K, V>>>, hash: KeyHash) {
        match fresh {
            Some(fresh) => fresh.note_changed(),
            // Within a gate: a change that waits for it has made this fill stale.
            None => self.shared.engine.mark_changed(hash),
        }
    }
}
