//! What the steps of all computations share: finding an entry, making the one that takes its place, and noting
//! the change.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::{Cache, Computation};
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::load_time::LoadTime;
use crate::cache::expire::Answer;
use crate::cache::options::{Traits, UpdateOptions};
use crate::engine::Change;
use crate::entry::{Entry, EntryPtr, Owned};
use crate::expiry::EntryTtl;
use crate::reclaim::Guard;
use crate::tags::TagSet;

/// What a new entry is made of besides its value.
pub(super) struct Basis<K> {
    pub(super) key: K,
    pub(super) lifetime: EntryTtl,
    /// Whether it gets the deadline of the entry that it replaces.
    pub(super) keeps_lifetime: bool,
    pub(super) tags: Option<TagSet>,
    pub(super) is_unevictable: bool,
    /// The number of the namespace that was given, unless `tags` have one.
    pub(super) namespace: Option<u32>,
    /// Zero if it is unknown.
    pub(super) cost: LoadTime,
}

/// An entry, and whether it is valid.
pub(super) type Linked<'g, K, V> = (EntryPtr, &'g Entry<K, V>, bool);

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The entry of the key that is linked now, and whether it is valid.
    pub(super) fn linked<'g, Q, O>(
        &self,
        wanted: &Computation<'_, Q, O>,
        guard: &'g Guard,
    ) -> Option<Linked<'g, K, V>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let is_match = |held: &K| wanted.key.equivalent(held);
        let (pointer, entry) = self.shared.engine.table.get(wanted.hash, is_match, guard)?;
        Some((pointer, entry, self.is_valid(pointer)))
    }

    /// What the entry that replaces `valid`, or is the first of its key, is made of.
    pub(super) fn basis<Q, O>(
        &self,
        valid: Option<(EntryPtr, &Entry<K, V>)>,
        wanted: &Computation<'_, Q, O>,
    ) -> Basis<K>
    where
        Q: ?Sized,
        O: Fn() -> K,
        K: Clone,
    {
        let UpdateOptions { ttl, keeps_lifetime, tags, is_unevictable } = wanted.options;
        let timing = &self.shared.engine.timing;
        let keeps_lifetime = keeps_lifetime || (ttl.is_none() && !timing.gives_lifetimes());
        let own_tags = || valid.and_then(|(old, _)| old.tags().cloned());
        Basis {
            key: valid.map_or_else(&wanted.owned, |(_, entry)| entry.key.clone()),
            lifetime: ttl.map_or(EntryTtl::Default, EntryTtl::For),
            keeps_lifetime: keeps_lifetime
                && valid.is_some_and(|(old, _)| old.extension().is_some()),
            // Held anew by each attempt: a tag that was invalidated since has a new generation. That there are
            // not too many was checked before.
            tags: tags.map_or_else(own_tags, |names| {
                let tags = self.hold_tags(names).ok().flatten();
                match own_tags().as_ref().and_then(TagSet::namespace) {
                    None => tags,
                    Some(namespace) => Some(TagSet::in_namespace(tags, Arc::clone(namespace))),
                }
            }),
            namespace: None,
            is_unevictable: is_unevictable
                || valid.is_some_and(|(old, _)| old.meta().is_unevictable()),
            // The value that was computed is lost with the entry: a miss loads what it was computed from.
            cost: match valid {
                Some((old, _)) if self.shared.settings.weighs_costs => old.meta().load_time(),
                _ => LoadTime::default(),
            },
        }
    }

    /// Makes an entry. Also returns the lifetime from which its deadline is computed again if an attempt had to
    /// wait; `None` if it keeps that of the entry that it replaces.
    pub(super) fn make_from(
        &self,
        hash: KeyHash,
        weight: u32,
        value: V,
        basis: Basis<K>,
    ) -> (Owned<K, V>, Option<EntryTtl>) {
        let Basis { key, lifetime, keeps_lifetime, tags, is_unevictable, namespace, cost } = basis;
        if keeps_lifetime {
            let spec = self.shared.engine.timing.spec_always(EntryTtl::Default, hash);
            let tags = self.with_namespace(tags, namespace, &key);
            let pair = (key, value);
            let new = self.make_extended(hash, weight, pair, Some(spec), tags, is_unevictable);
            new.set_load_time(cost);
            (new, None)
        } else {
            let traits = Traits { lifetime, tags, is_unevictable, namespace, cost };
            (self.make(hash, weight, key, value, traits), Some(lifetime))
        }
    }

    /// Gives `new`, which is about to replace `valid`, the deadline that the user's `Expiry` computes, or that
    /// of `valid`, if it keeps that. In that case it returns the latest time to which `valid` may live, for
    /// [`note_kept`](Self::note_kept).
    pub(super) fn set_deadline(
        &self,
        new: &Owned<K, V>,
        valid: Option<(EntryPtr, &Entry<K, V>)>,
        lifetime: Option<EntryTtl>,
        answer: &mut Option<Answer>,
    ) -> Option<u64> {
        let timing = &self.shared.engine.timing;
        match (lifetime, valid) {
            (Some(lifetime), _) => {
                self.apply_expiry(new, valid, lifetime, answer);
                None
            }
            (None, Some((old, _))) => {
                timing.keep_lifetime(old, new.as_ptr());
                Some(timing.lives_until_ns(new.as_ptr()))
            }
            (None, None) => None,
        }
    }

    /// Reports that `new` has taken the place of `old`, and keeps the time to which `old` may live, if it was valid.
    pub(super) fn note_kept(
        &self,
        change: &mut Change<'_, K, V>,
        (old, new): (EntryPtr, EntryPtr),
        was_valid: bool,
        kept_until: Option<u64>,
        guard: &Guard,
    ) {
        self.note_replaced(change, (old, new), Some(was_valid), guard);
        if let (Some(kept_until), true) = (kept_until, was_valid) {
            self.shared.engine.carry_lifetime(old, new, kept_until);
        }
    }
}
