//! Computing what to store from what is stored, in one atomic step: what updates, counters and the entry API
//! share.
//!
//! A computation is given the value of a key, or is given none, and answers what to do. Its answer takes
//! effect only on the very entry that it was given, or on the absence of one; otherwise it starts anew. There
//! are two ways to ensure that:
//!
//! | | optimistic | by a fill |
//! |---|---|---|
//! | the entry is recognized | by its address, under one guard | by its address, while the fill is fresh ([`fills`](crate::engine::fills)) |
//! | the user's closure runs | pinned | pinned, or as a future without a pin |
//! | the change is made | by one compare-and-swap on the entry's link | by the same, under the lock of the fill |
//! | used for | synchronous computations | those that are asynchronous, that meet an atomic listener, a heavy value or other tags, or whose optimistic attempts have failed several times |
//!
//! # Linearization
//! A change takes effect by the compare-and-swap of `Table::replace_entry`, `insert_if_absent` or
//! `remove_entry`. An answer that changes nothing takes effect when the value was read. The entry that is
//! replaced counts as valid if it was so directly before the compare-and-swap, as with
//! [`Cache::replace`]: if it expires at that moment, a lookup may have missed it already.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;

use super::Cache;
use super::options::UpdateOptions;
use crate::base::equivalent::Equivalent;
use crate::base::error::{Inserted, Rejection};
use crate::base::hash::KeyHash;
use crate::engine::fills::OpenFill;
use crate::engine::flight::Flight;
use crate::reclaim;

mod optimistic;
mod by_fill;
mod basis;

use basis::Basis;
use by_fill::{Expected, SeenEntry, Step};
use optimistic::Optimistic;

/// A computation whose own closure changes the key is given up after it has done so this many times.
const MAX_OWN_CHANGES: u32 = 8;

/// The answer of a computation: what to do with the key. For
/// [`CacheEntry::and_compute_with`](crate::CacheEntry::and_compute_with) and similar methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<V> {
    /// Store this value, in the place of the one that is there, if any.
    Put(V),
    /// Leave everything as it is.
    Keep,
    /// Remove the key, if it is there.
    Remove,
}

/// What a computation has done, as returned by
/// [`CacheEntry::and_compute_with`](crate::CacheEntry::and_compute_with) and similar methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Computed<V> {
    /// The key was absent, and this value was stored.
    Inserted(V),
    /// The key was present, and this value has taken the place of the one before.
    Replaced(V),
    /// The key is present, and keeps this value.
    Unchanged(V),
    /// The key was present with this value, and was removed.
    Removed(V),
    /// The key was absent, and still is.
    StillAbsent,
    /// The new value was not stored. The [`Rejection`] says why, and what has become of the old one.
    Rejected(Rejection),
}

impl<V> Computed<V> {
    /// The value that the key had directly after the computation; `None` if it had none, or if a new one was
    /// rejected.
    #[must_use]
    pub fn into_value(self) -> Option<V> {
        match self {
            Self::Inserted(value) | Self::Replaced(value) | Self::Unchanged(value) => Some(value),
            Self::Removed(_) | Self::StillAbsent | Self::Rejected(_) => None,
        }
    }

    /// Whether a new value was stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Inserted(_) | Self::Replaced(_))
    }
}

/// What a computation has done, with references to the values.
pub(super) enum Effect<'g, V> {
    Inserted(&'g V),
    Replaced { old: &'g V, new: &'g V },
    Unchanged(&'g V),
    Removed(&'g V),
    StillAbsent,
}

/// The effect with clones of the values.
pub(super) fn cloned<V: Clone>(effect: Effect<'_, V>) -> Computed<V> {
    match effect {
        Effect::Inserted(value) => Computed::Inserted(value.clone()),
        Effect::Replaced { new, .. } => Computed::Replaced(new.clone()),
        Effect::Unchanged(value) => Computed::Unchanged(value.clone()),
        Effect::Removed(value) => Computed::Removed(value.clone()),
        Effect::StillAbsent => Computed::StillAbsent,
    }
}

/// Which key is computed. `owned` makes the key to store where there is none.
pub(super) struct Computation<'r, Q: ?Sized, O> {
    key: &'r Q,
    hash: KeyHash,
    owned: O,
    options: UpdateOptions<'r>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    pub(super) fn computation<'r, Q, O>(
        &self,
        key: &'r Q,
        owned: O,
        options: UpdateOptions<'r>,
    ) -> Result<Computation<'r, Q, O>, Rejection>
    where
        Q: Hash + ?Sized,
        O: Fn() -> K,
    {
        let hash = self.hash(key);
        if let Err(rejection) = self.hold_tags(options.tags.unwrap_or_default()) {
            self.reject_and_note(rejection, hash);
            return Err(rejection);
        }
        Ok(Computation { key, hash, owned, options })
    }

    /// Asks `decide` about the value of the key until an answer takes effect on exactly that value, and returns what
    /// `see` returns for the effect. Both run pinned.
    ///
    /// # Errors
    /// The outer error is that of `decide`.
    pub(super) fn compute<Q, O, E, R>(
        &self,
        wanted: &Computation<'_, Q, O>,
        decide: &mut impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Result<Result<R, Rejection>, E>
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        K: Clone,
    {
        if self.is_within_removal() {
            return Ok(Err(self.refused(Rejection::WithinListener)));
        }
        // Within the gate of an atomic listener, the closure could not change the cache.
        if self.shared.engine.atomic.is_none() {
            match self.compute_optimistically(wanted, decide, see)? {
                Optimistic::Done(done) => return Ok(Ok(done)),
                Optimistic::ByFill(None) => {}
                Optimistic::ByFill(Some((open, seen, step))) => {
                    let seen = Expected::Seen(seen);
                    if let Some(done) = self.conclude(&open, seen, step, wanted, see) {
                        return Ok(done);
                    }
                }
            }
        }
        self.compute_by_fill(wanted, decide, see)
    }

    fn compute_by_fill<Q, O, E, R>(
        &self,
        wanted: &Computation<'_, Q, O>,
        decide: &mut impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Result<Result<R, Rejection>, E>
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        K: Clone,
    {
        let mut own_changes = 0;
        loop {
            let open = self.shared.engine.fills.open(wanted.hash);
            let (seen, step) = {
                let guard = reclaim::pin();
                let found = self.find(wanted.key, wanted.hash, &guard);
                let answer = open.run(|| decide(found.map(|(_, entry)| &entry.value)))?;
                let step = match (answer, found) {
                    (Compute::Put(value), _) => Step::Put(value, self.basis(found, wanted)),
                    (Compute::Remove, Some(_)) => Step::Remove,
                    (Compute::Keep, Some((_, entry))) => {
                        return Ok(Ok(see(Effect::Unchanged(&entry.value))));
                    }
                    (Compute::Keep | Compute::Remove, None) => {
                        return Ok(Ok(see(Effect::StillAbsent)));
                    }
                };
                (Expected::Seen(found.map(|(pointer, _)| SeenEntry::of(pointer))), step)
            };
            if let Some(done) = self.conclude(&open, seen, step, wanted, see) {
                return Ok(done);
            }
            if let Some(rejection) = self.count_own_change(&open, &mut own_changes) {
                return Ok(Err(rejection));
            }
        }
    }

    /// As [`compute`](Self::compute), with a closure that returns a future and is given a clone of the value.
    /// No lock and no pin is held while the future is polled, or between.
    pub(super) async fn compute_async<Q, O, E, F>(
        &self,
        wanted: &Computation<'_, Q, O>,
        mut decide: impl FnMut(Option<V>) -> F,
    ) -> Result<Computed<V>, E>
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        F: Future<Output = Result<Compute<V>, E>>,
        K: Clone,
        V: Clone,
    {
        let mut own_changes = 0;
        loop {
            if self.is_within_removal() {
                return Ok(Computed::Rejected(self.refused(Rejection::WithinListener)));
            }
            let open = self.shared.engine.fills.open(wanted.hash);
            let (seen, value, basis) = self.read_for(wanted);
            let answer = {
                let mut answering = pin!(open.run(|| decide(value.clone())));
                poll_fn(|context| open.run(|| answering.as_mut().poll(context))).await?
            };
            let step = match (answer, value) {
                (Compute::Put(new), _) => Step::Put(new, basis),
                (Compute::Remove, Some(_)) => Step::Remove,
                (Compute::Keep, Some(value)) => return Ok(Computed::Unchanged(value)),
                (Compute::Keep | Compute::Remove, None) => return Ok(Computed::StillAbsent),
            };
            if let Some(done) = self.conclude(&open, seen, step, wanted, &mut cloned) {
                return Ok(done.unwrap_or_else(Computed::Rejected));
            }
            if let Some(rejection) = self.count_own_change(&open, &mut own_changes) {
                return Ok(Computed::Rejected(rejection));
            }
        }
    }

    /// Reads the value of a key for a computation without a pin.
    fn read_for<Q, O>(&self, wanted: &Computation<'_, Q, O>) -> (Expected, Option<V>, Basis<K>)
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        K: Clone,
        V: Clone,
    {
        let guard = reclaim::pin();
        let found = self.find(wanted.key, wanted.hash, &guard);
        let seen = Expected::Seen(found.map(|(pointer, _)| SeenEntry::of(pointer)));
        (seen, found.map(|(_, entry)| entry.value.clone()), self.basis(found, wanted))
    }

    /// After an answer that came too late: gives up a computation that has changed its own key too often.
    fn count_own_change(
        &self,
        open: &OpenFill<Flight<K, V>>,
        own_changes: &mut u32,
    ) -> Option<Rejection> {
        *own_changes += u32::from(open.has_own_change());
        (*own_changes == MAX_OWN_CHANGES).then(|| self.refused(Rejection::Stale))
    }

    /// Counts a rejection.
    fn refused(&self, rejection: Rejection) -> Rejection {
        match self.reject(rejection) {
            Inserted::Rejected(rejection) => rejection,
            Inserted::Added | Inserted::Replaced => rejection,
        }
    }
}
