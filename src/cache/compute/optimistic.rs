//! Computations that recognize the entry by its address under one guard, and start over if it has left.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::by_fill::{SeenEntry, Step};
use super::{Cache, Computation, Compute, Effect};
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::buffer::write_buffer::ChangeKind;
use crate::engine::fills::OpenFill;
use crate::engine::flight::Flight;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Change, Incoming};
use crate::entry::{Entry, EntryPtr, Owned};
use crate::listener::MustNotWait;
use crate::reclaim::Guard;
use crate::table::AttemptStage;

/// After this many failed optimistic attempts, a computation goes on by a fill.
const OPTIMISTIC_ATTEMPTS: u32 = 8;

/// How far an optimistic computation has come.
pub(super) enum Optimistic<K, V, R> {
    Done(R),
    /// It goes on by a fill: with this step, which the closure has asked for already, or from the start.
    ByFill(Option<AskedStep<K, V>>),
}

/// A step that a closure has asked for about the entry that it was shown, and the fill that was opened before.
type AskedStep<K, V> = (OpenFill<Flight<K, V>>, Option<SeenEntry>, Step<K, V>);

/// What optimistic attempts have made and could not use, to be dropped without a guard.
struct Unused<K, V> {
    entries: Vec<Owned<K, V>>,
    steps: Vec<Step<K, V>>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    pub(super) fn compute_optimistically<Q, O, E, R>(
        &self,
        wanted: &Computation<'_, Q, O>,
        decide: &mut impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Result<Optimistic<K, V, R>, E>
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        K: Clone,
    {
        let engine = &self.shared.engine;
        let mut unused = Unused { entries: Vec::new(), steps: Vec::new() };
        let mut attempts = 0;
        let done =
            engine.attempt_unmarked(wanted.hash, &mut Incoming::none(), |change, _, guard| {
                if attempts == OPTIMISTIC_ATTEMPTS {
                    return Attempt::Done(Ok(Optimistic::ByFill(None)));
                }
                attempts += 1;
                self.attempt_optimistically(wanted, decide, see, change, &mut unused, guard)
            });
        done.unwrap_or_else(|MustNotWait| unreachable!("a cache without gates refuses no change"))
    }

    fn attempt_optimistically<'e, Q, O, E, R>(
        &'e self,
        wanted: &Computation<'_, Q, O>,
        decide: &mut impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
        change: &mut Change<'e, K, V>,
        unused: &mut Unused<K, V>,
        guard: &Guard,
    ) -> Attempt<Result<Optimistic<K, V, R>, E>>
    where
        Q: Equivalent<K> + ?Sized,
        O: Fn() -> K,
        K: Clone,
    {
        let engine = &self.shared.engine;
        let hash = wanted.hash;
        let mut done = |effect| Attempt::Done(Ok(Optimistic::Done(see(effect))));
        let linked = match self.find(wanted.key, hash, guard) {
            Some((pointer, entry)) => Some((pointer, entry, true)),
            None => match self.linked(wanted, guard) {
                Some((.., true)) => return Attempt::Retry,
                invalid => invalid,
            },
        };
        let valid = linked.filter(|(.., is_valid)| *is_valid).map(|(old, entry, _)| (old, entry));
        let answer = match decide(valid.map(|(_, entry)| &entry.value)) {
            Ok(answer) => answer,
            Err(error) => return Attempt::Done(Err(error)),
        };
        let value = match (answer, valid) {
            (Compute::Put(value), _) => value,
            (Compute::Keep, Some((_, entry))) => return done(Effect::Unchanged(&entry.value)),
            (Compute::Keep | Compute::Remove, None) => return done(Effect::StillAbsent),
            (Compute::Remove, Some((old, entry))) => {
                change.reserve_pinned(ChangeKind::Remove);
                engine.mark_changed(hash);
                if !engine.table.remove_entry(old, guard) {
                    return Attempt::Retry;
                }
                return match self.note_removed(change, old, Absence::Removed, guard) {
                    RemovalCause::Explicit => done(Effect::Removed(&entry.value)),
                    // It had expired before, so the closure has to be asked about a key that is absent.
                    _ => Attempt::Retry,
                };
            }
        };
        let basis = self.basis(valid, wanted);
        let changes_tags =
            wanted.options.tags.is_some() && valid.is_some_and(|it| it.0.tags().is_some());
        let weight = match self.weigh(&basis.key, &value, hash) {
            Ok(weight) if !weight.is_above_share && !changes_tags => weight,
            // It is rejected, has to borrow weight, or must not outlive the tags of the old value.
            _ => {
                let step = Step::Put(value, basis);
                // The fill counts as opened before the value was read, if the entry is still there.
                let open = engine.fills.open(hash);
                let is_there = match valid {
                    Some((old, _)) => engine.table.is_linked(old, guard) && self.is_valid(old),
                    None => self.find(wanted.key, hash, guard).is_none(),
                };
                if !is_there {
                    unused.steps.push(step);
                    return Attempt::Retry;
                }
                let seen = valid.map(|(old, _)| SeenEntry::of(old));
                return Attempt::Done(Ok(Optimistic::ByFill(Some((open, seen, step)))));
            }
        };
        let (new, lifetime) = self.make_from(hash, weight.units, value, basis);
        let kept_until = self.set_deadline(&new, valid, lifetime, &mut None);
        let Some((old, entry, was_valid)) = linked else {
            let on_attempt = |stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                match stage {
                    AttemptStage::Found(_) => {
                        change.reserve_pinned(ChangeKind::Insert);
                        engine.mark_changed(hash);
                    }
                    // The search that follows compares keys, so no slot may be claimed meanwhile.
                    AttemptStage::Failed => change.cancel(),
                }
                true
            };
            return match engine.table.insert_if_absent(new, on_attempt, guard) {
                Ok(new) => {
                    self.note_inserted(change, new, guard);
                    done(Effect::Inserted(&engine.table.at(new, guard).value))
                }
                Err((new, _)) => {
                    unused.entries.push(new);
                    Attempt::Retry
                }
            };
        };
        change.reserve_pinned(ChangeKind::Replace);
        // After the entry was allocated, as `fills` requires.
        engine.mark_changed(hash);
        if self.is_valid(old) != was_valid {
            unused.entries.push(new);
            return Attempt::Retry;
        }
        match engine.table.replace_entry(old, new, guard) {
            Ok(new) => {
                self.note_kept(change, (old, new), was_valid, kept_until, guard);
                let new = &engine.table.at(new, guard).value;
                done(match was_valid {
                    true => Effect::Replaced { old: &entry.value, new },
                    false => Effect::Inserted(new),
                })
            }
            Err(new) => {
                unused.entries.push(new);
                Attempt::Retry
            }
        }
    }
}
