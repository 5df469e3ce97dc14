//! What the calls that load need of entries: values that may be used after their deadlines, whether a valid
//! value is to be renewed, and new lifetimes for entries whose values are still current.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::{Cache, Shared};
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::load_time::LoadTime;
use crate::entry::{Entry, EntryPtr};
use crate::expiry::{EntryTtl, Freshness};
use crate::reclaim::Guard;

/// An entry that has expired, and whose value may still be used.
pub(crate) struct Stale<'g, K, V> {
    pub(crate) pointer: EntryPtr,
    pub(crate) entry: &'g Entry<K, V>,
    /// How long ago it expired.
    overdue_ns: u64,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The entry of `key`, if it has expired and its value may still be used: the grace is not over, no tag
    /// was invalidated, and it is not that of a fill that may yet be refused. `None` for a valid entry too.
    pub(crate) fn find_stale<'g, Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<Stale<'g, K, V>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let engine = &self.shared.engine;
        if !engine.timing.grace.is_some() {
            return None;
        }
        let (pointer, entry) = engine.table.get(hash, |held| key.equivalent(held), guard)?;
        let overdue_ns = engine.timing.overdue_ns(pointer.extension()?)?;
        (!pointer.is_invalidated()).then_some(Stale { pointer, entry, overdue_ns })
    }

    /// Whether the value may be used while a loader renews it
    /// ([`stale_while_revalidate`](crate::Builder::stale_while_revalidate)).
    pub(crate) fn may_revalidate(&self, stale: &Stale<'_, K, V>) -> bool {
        stale.overdue_ns <= self.shared.settings.loading.revalidate_ns()
    }

    /// Whether the value may be used because a loader has failed
    /// ([`stale_if_error`](crate::Builder::stale_if_error)).
    pub(crate) fn may_use_on_error(&self, stale: &Stale<'_, K, V>) -> bool {
        stale.overdue_ns <= self.shared.settings.loading.if_error_ns()
    }

    /// Gives an entry, whether it is valid or stale, a new lifetime as if it were written now. The value
    /// does not change. `load_time` is how long the load took that has found the value current.
    ///
    /// Returns whether the entry was renewed. If not, it has left as an expired entry, or another thread is
    /// taking it out as such. An entry that is removed or replaced at the same time may have been renewed
    /// just before.
    pub(crate) fn renew(
        &self,
        pointer: EntryPtr,
        entry: &Entry<K, V>,
        lifetime: EntryTtl,
        load_time: Duration,
        guard: &Guard,
    ) -> bool {
        let engine = &self.shared.engine;
        // User code: before the entry is changed, in case it panics.
        let computed = match (&self.shared.settings.expiry, lifetime) {
            (Some(expiry), EntryTtl::Default) => {
                let valid = pointer.extension().filter(|_| self.is_valid(pointer));
                let remaining = valid.and_then(|extension| engine.timing.remaining(extension));
                Some(expiry.after_update(&entry.key, &entry.value, remaining))
            }
            _ => None,
        };
        // An entry that has left already may have left as a valid one, long ago.
        if pointer.is_invalidated() || !engine.table.is_linked(pointer, guard) {
            return false;
        }
        let is_renewed = engine.renew(pointer, lifetime, computed);
        if is_renewed {
            pointer.meta().set_load_time(LoadTime::of(load_time));
        }
        is_renewed
    }

    /// How long a load may take before its key is free again.
    pub(crate) fn load_timeout(&self) -> Duration {
        self.shared.settings.loading.load_timeout()
    }

    /// Whether the value of a valid entry is to be renewed. A call that asks more than once keeps its `random`
    /// number; with a new one for each question, it would renew values less often than it should.
    #[inline]
    pub(crate) fn freshness(&self, pointer: EntryPtr, random: &mut Option<f64>) -> Freshness {
        match &self.shared.settings.refresh_rule {
            None => Freshness::Fresh,
            Some(rule) => rule.judge(pointer, &self.shared.engine.timing, random),
        }
    }

    /// Whether [`freshness`](Self::freshness) may say that the value is to be renewed.
    #[inline]
    pub(crate) fn may_be_due(&self, pointer: EntryPtr) -> bool {
        let rule = self.shared.settings.refresh_rule.as_ref();
        rule.is_some_and(|rule| rule.may_be_due(pointer, &self.shared.engine.timing))
    }

    /// Whether a refresh of the key may be tried now: its last one has not failed a moment ago.
    pub(crate) fn may_refresh(&self, hash: KeyHash) -> bool {
        self.shared.settings.throttle.allows(hash, self.shared.engine.timing.time.now_ns())
    }

    /// Notes that the loader of the key has failed.
    pub(crate) fn note_failed_refresh(&self, hash: KeyHash) {
        self.shared.note_failed_refresh(hash);
    }

    /// Notes that the key was loaded.
    pub(crate) fn note_loaded(&self, hash: KeyHash) {
        self.shared.settings.throttle.forget(hash);
    }
}

impl<K, V, S> Shared<K, V, S> {
    /// See [`Cache::note_failed_refresh`].
    pub(super) fn note_failed_refresh(&self, hash: KeyHash) {
        self.settings.throttle.note_failure(hash, self.engine.timing.time.now_ns());
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::error::Inserted;
    use crate::base::mode::Maintenance;
    use crate::base::sync::{AtomicU64, Ordering};
    use crate::config::Builder;
    use crate::expiry::Expiry;
    use crate::reclaim;
    use crate::test::FakeClock;

    const SECOND: Duration = Duration::from_secs(1);
    const NANOSECOND: Duration = Duration::from_nanos(1);

    type Timed = Cache<u32, u32>;

    /// A builder of small inline caches, whose entries live for 100 seconds, may be used for 10 seconds more
    /// while they are renewed, and for 60 if loads fail.
    fn graced() -> (Builder<u32, u32>, FakeClock) {
        let clock = FakeClock::new();
        let builder = Cache::builder()
            .capacity(100)
            .maintenance(Maintenance::Inline)
            .clock(clock.clone())
            .time_to_live(100 * SECOND)
            .stale_while_revalidate(10 * SECOND)
            .stale_if_error(60 * SECOND);
        (builder, clock)
    }

    /// The stale value, and whether it may be used during a refresh, and after a failed one.
    fn stale(cache: &Timed, key: u32) -> Option<(u32, bool, bool)> {
        let guard = reclaim::pin();
        let stale = cache.find_stale(&key, cache.hash(&key), &guard)?;
        let uses = (cache.may_revalidate(&stale), cache.may_use_on_error(&stale));
        Some((stale.entry.value, uses.0, uses.1))
    }

    /// Renews the entry of the key, valid or stale; `None` if there is none.
    fn renew(cache: &Timed, key: u32, lifetime: EntryTtl) -> Option<bool> {
        let guard = reclaim::pin();
        let hash = cache.hash(&key);
        let (pointer, entry) = match cache.find(&key, hash, &guard) {
            Some(found) => found,
            None => cache.find_stale(&key, hash, &guard).map(|it| (it.pointer, it.entry))?,
        };
        Some(cache.renew(pointer, entry, lifetime, SECOND, &guard))
    }

    fn freshness(cache: &Timed, key: u32) -> Freshness {
        let guard = reclaim::pin();
        let (pointer, _) = cache.find(&key, cache.hash(&key), &guard).expect("it is valid");
        cache.freshness(pointer, &mut None)
    }

    #[test]
    fn a_value_is_stale_from_its_deadline_to_the_end_of_the_grace() {
        let (builder, clock) = graced();
        for cache in [builder.clone().build().unwrap(), builder.expire_lazily().build().unwrap()] {
            clock.set(Duration::ZERO);
            cache.insert(1, 10);
            for (after, expected) in [
                (100 * SECOND, None),
                (NANOSECOND, Some((10, true, true))),
                (10 * SECOND - NANOSECOND, Some((10, true, true))),
                (NANOSECOND, Some((10, false, true))),
                (50 * SECOND - NANOSECOND, Some((10, false, true))),
                (NANOSECOND, None),
            ] {
                clock.advance(after);
                assert_eq!(stale(&cache, 1), expected, "at {:?}", clock.time());
                assert_eq!(cache.get(&1).is_none(), clock.time() > 100 * SECOND);
                assert_eq!(stale(&cache, 1), expected, "after a lookup, at {:?}", clock.time());
            }
            assert_eq!(stale(&cache, 2), None);
            cache.validate();
        }
    }

    #[test]
    fn without_a_grace_nothing_is_stale() {
        let clock = FakeClock::new();
        let builder = Cache::builder().capacity(10).clock(clock.clone()).expire_lazily();
        let cache: Timed = builder.time_to_live(SECOND).build().unwrap();
        cache.insert(1, 10);
        clock.advance(2 * SECOND);
        assert_eq!((stale(&cache, 1), renew(&cache, 1, EntryTtl::Default)), (None, None));
        let guard = reclaim::pin();
        let hash = cache.hash(&1);
        let (pointer, entry) = cache.shared.engine.table.get(hash, |_| true, &guard).unwrap();
        assert_eq!(cache.get(&1), None);
        assert!(!cache.renew(pointer, entry, EntryTtl::Default, SECOND, &guard));
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn an_entry_that_must_not_be_seen_is_not_stale() {
        let (builder, clock) = graced();
        let cache = builder.build().unwrap();
        cache.insert_with_tags(1, 10, ["tag"]);
        cache.insert_with_ttl(2, 20, Duration::ZERO);
        cache.insert_with_ttl(3, 30, Duration::MAX);
        assert_eq!([1, 2, 3].map(|key| stale(&cache, key)), [None; 3]);
        clock.advance(101 * SECOND);
        assert_eq!(stale(&cache, 1), Some((10, true, true)));
        assert_eq!([2, 3].map(|key| stale(&cache, key)), [None; 2]);
        cache.invalidate_tag("tag");
        assert_eq!(stale(&cache, 1), None);
        cache.insert(4, 40);
        clock.advance(101 * SECOND);
        cache.get(&4);
        assert_eq!(stale(&cache, 4), Some((40, true, true)));
        assert_eq!(cache.insert(4, 41), Inserted::Added);
        assert_eq!((stale(&cache, 4), cache.get(&4)), (None, Some(41)));
        assert_eq!(cache.remove(&4), Some(41));
        assert_eq!(stale(&cache, 4), None);
        cache.validate();
    }

    #[test]
    fn what_was_found_expired_stays_stale_when_the_clock_jumps_back() {
        let (builder, clock) = graced();
        let cache = builder.build().unwrap();
        cache.insert(1, 10);
        cache.insert(2, 20);
        clock.advance(105 * SECOND);
        assert_eq!(cache.get(&1), None);
        clock.set(50 * SECOND);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(20)));
        assert!(cache.has_expired(&1) && !cache.has_expired(&2));
        assert_eq!(stale(&cache, 1), Some((10, true, true)));
        assert!(!cache.expire_after(&1, Some(SECOND)), "an expired entry has got another lifetime");
        assert_eq!(cache.iter().collect::<Vec<_>>(), [(2, 20)]);
        assert_eq!(cache.insert(1, 11), Inserted::Added);
        assert_eq!(cache.stats().expirations, 1);
        cache.validate();
    }

    #[test]
    fn a_renewed_entry_lives_as_if_it_were_new() {
        let (builder, clock) = graced();
        let cache = builder.keep_ages().build().unwrap();
        for after in [0, 50, 100, 101, 160] {
            // Even, as deadlines of a cache with a grace must be to be exact.
            clock.set(Duration::from_secs(clock.time().as_secs() + 1000));
            cache.insert(1, 10);
            clock.advance(after * SECOND);
            assert_eq!(renew(&cache, 1, EntryTtl::Default), Some(true), "after {after} seconds");
            let info = cache.inspect(&1).expect("it is valid");
            assert_eq!(info.age, Some(Duration::ZERO), "after {after} seconds");
            assert_eq!(info.expires_in, Some(100 * SECOND), "after {after} seconds");
            clock.advance(100 * SECOND);
            cache.run_pending();
            assert_eq!((cache.get(&1), stale(&cache, 1)), (Some(10), None));
            clock.advance(NANOSECOND);
            assert_eq!((cache.get(&1), stale(&cache, 1)), (None, Some((10, true, true))));
            clock.advance(61 * SECOND);
            cache.run_pending();
            assert_eq!(cache.len(), 0, "its timer was lost");
        }
        cache.insert(1, 10);
        let guard = reclaim::pin();
        let (pointer, entry) = cache.find(&1, cache.hash(&1), &guard).unwrap();
        clock.advance(105 * SECOND);
        let renew = || cache.renew(pointer, entry, EntryTtl::Default, SECOND, &guard);
        assert_eq!(cache.insert(1, 11), Inserted::Added);
        assert!(!renew(), "the entry was replaced");
        cache.validate();
    }

    #[test]
    fn what_leaves_expired_cannot_be_renewed() {
        type Leave = fn(&Timed, &FakeClock);
        let leaves: [(&str, Leave); 5] = [
            ("removed", |cache, _| assert_eq!(cache.remove(&1), None)),
            ("replaced", |cache, _| assert!(cache.insert(1, 11).is_stored())),
            ("absent", |cache, _| assert_eq!(cache.insert_if_absent(1, 11), Inserted::Added)),
            ("cleared", |cache, _| cache.clear()),
            ("due", |cache, clock| {
                clock.advance(61 * SECOND);
                cache.run_pending();
            }),
        ];
        for (what, leave) in leaves {
            for listens in [false, true] {
                let (mut builder, clock) = graced();
                if listens {
                    builder = builder.atomic_listener(|_| {});
                }
                let cache = builder.build().unwrap();
                cache.insert(1, 10);
                clock.advance(105 * SECOND);
                let guard = reclaim::pin();
                let found = cache.find_stale(&1, cache.hash(&1), &guard).expect("it is stale");
                let (pointer, entry) = (found.pointer, found.entry);
                if listens && what == "due" {
                    // A pinned thread must not notify the listener.
                    continue;
                }
                leave(&cache, &clock);
                let is_renewed = cache.renew(pointer, entry, EntryTtl::Default, SECOND, &guard);
                // The deadline decides, also for a renewal that has found the entry linked just before.
                let is_moved = cache.shared.engine.renew(pointer, EntryTtl::Default, None);
                assert!(!is_renewed && !is_moved, "{what}, {listens}");
                drop(guard);
                assert_eq!(cache.stats().expirations, 1, "{what}, {listens}");
                cache.validate();
            }
        }
    }

    #[derive(Clone, Default)]
    struct Answers(Arc<AtomicU64>);

    impl Expiry<u32, u32> for Answers {
        fn after_create(&self, _: &u32, _: &u32) -> Option<Duration> {
            Some(30 * SECOND)
        }

        fn after_update(&self, _: &u32, _: &u32, remaining: Option<Duration>) -> Option<Duration> {
            self.0.store(remaining.map_or(u64::MAX, |left| left.as_secs()), Ordering::Relaxed);
            Some(40 * SECOND)
        }
    }

    #[test]
    fn a_renewal_sets_every_deadline_anew() {
        type Make = fn(Builder<u32, u32>) -> Builder<u32, u32>;
        let kinds: [(&str, Make, u32); 6] = [
            ("to live", |it| it, 100),
            ("ages", |it| it.keep_ages(), 100),
            ("to idle", |it| it.time_to_idle(20 * SECOND), 20),
            ("idle and ages", |it| it.time_to_idle(20 * SECOND).keep_ages(), 20),
            ("computed", |it| it.expiry(Answers::default()), 40),
            ("all", |it| it.expiry(Answers::default()).time_to_idle(20 * SECOND), 20),
        ];
        for (name, make, left) in kinds {
            for own in [None, Some(60 * SECOND)] {
                for changed in [false, true] {
                    let what = format!("{name}, {own:?}, {changed}");
                    let (builder, clock) = graced();
                    let cache = make(builder).build().unwrap();
                    cache.insert(1, 10);
                    if changed {
                        assert!(cache.expire_after(&1, Some(15 * SECOND)), "{what}");
                    }
                    clock.advance(17 * SECOND);
                    let lifetime = own.map_or(EntryTtl::Default, EntryTtl::For);
                    assert_eq!(renew(&cache, 1, lifetime), Some(true), "{what}");
                    let left = match own {
                        Some(own) if name.contains("idle") || name == "all" => own.min(20 * SECOND),
                        Some(own) => own,
                        None => left * SECOND,
                    };
                    let expires_in = || cache.inspect(&1).and_then(|info| info.expires_in);
                    // A deadline is up to a nanosecond early.
                    let is_left = |left: Duration| {
                        expires_in().is_some_and(|it| left - it <= NANOSECOND && it <= left)
                    };
                    assert!(is_left(left), "{what}: {:?} instead of {left:?}", expires_in());
                    if name.contains("idle") || name == "all" {
                        // Uses prolong the life again, up to the new limit.
                        for _ in 0..20 {
                            clock.advance(2 * SECOND);
                            assert_eq!(cache.get(&1), Some(10), "{what}");
                        }
                        assert!(expires_in() <= Some(20 * SECOND), "{what}");
                        assert_eq!(cache.get(&1), Some(10), "{what}");
                    }
                    clock.advance(200 * SECOND);
                    cache.run_pending();
                    assert_eq!(cache.len(), 0, "{what}");
                    cache.validate();
                }
            }
        }
    }

    #[test]
    fn an_expiry_is_told_what_the_renewed_entry_had_left() {
        let answers = Answers::default();
        let (builder, clock) = graced();
        let cache = builder.expiry(answers.clone()).build().unwrap();
        cache.insert(1, 10);
        clock.advance(10 * SECOND);
        assert_eq!(renew(&cache, 1, EntryTtl::Default), Some(true));
        assert_eq!(answers.0.load(Ordering::Relaxed), 20);
        clock.advance(45 * SECOND);
        assert_eq!(renew(&cache, 1, EntryTtl::Default), Some(true));
        assert_eq!(answers.0.load(Ordering::Relaxed), u64::MAX, "it had expired");
    }

    #[test]
    fn a_value_is_due_above_its_age_or_its_share() {
        let (builder, clock) = graced();
        let builder = || builder.clone();
        let due = |cache: &Timed| freshness(cache, 1) == Freshness::RefreshDue;
        for (cache, after) in [
            (builder().build().unwrap(), None),
            (builder().refresh_after_write(30 * SECOND).build().unwrap(), Some(30)),
            (builder().eager_refresh(0.75).build().unwrap(), Some(75)),
            (builder().eager_refresh(0.5).time_to_idle(70 * SECOND).build().unwrap(), Some(50)),
            (builder().eager_refresh(0.2).refresh_after_write(SECOND).build().unwrap(), Some(1)),
        ] {
            for _ in 0..2 {
                clock.advance(1000 * SECOND);
                cache.insert(1, 10);
                for key in 2..5 {
                    cache.insert(key, 10 * key);
                }
                for second in 0..70 {
                    let is_after = after.is_some_and(|after| second > after);
                    assert_eq!(due(&cache), is_after, "{after:?} at {second}");
                    cache.get(&1);
                    clock.advance(SECOND);
                }
                assert_eq!(renew(&cache, 1, EntryTtl::Default), Some(true));
                assert!(!due(&cache), "{after:?} after it was renewed");
            }
        }
    }

    #[test]
    fn the_early_refresh_is_the_more_probable_the_longer_the_load_and_the_nearer_the_end() {
        let (builder, clock) = graced();
        let cache = builder.early_refresh(2.0).build().unwrap();
        let share_at = |left: Duration, load_time: Duration| {
            cache.insert(1, 10);
            let guard = reclaim::pin();
            let (pointer, _) = cache.find(&1, cache.hash(&1), &guard).expect("it is valid");
            pointer.meta().set_load_time(LoadTime::of(load_time));
            clock.advance(100 * SECOND - left);
            let draws = 4000;
            let due =
                (0..draws).filter(|_| cache.freshness(pointer, &mut None) == Freshness::RefreshDue);
            f64::from(u32::try_from(due.count()).unwrap()) / f64::from(draws)
        };
        for (left, load_time) in [(50, 0), (0, 0), (99, 1), (20, 1), (4, 1), (1, 1), (20, 8)] {
            let share = share_at(left * SECOND, load_time as u32 * SECOND);
            // The load's time is stored to an eighth; one and eight seconds are within a fifteenth.
            let expected = match load_time {
                0 => 0.0,
                _ => (-(left as f64) / (2.0 * load_time as f64)).exp(),
            };
            assert!(
                (share - expected).abs() < 0.05,
                "{share} instead of {expected}, {left} s before the end with a load of {load_time} s"
            );
        }
        assert_eq!(share_at(Duration::ZERO, SECOND), 1.0, "at the end it is certain");
        cache.insert_with_ttl(1, 10, Duration::MAX);
        assert_eq!(freshness(&cache, 1), Freshness::Fresh, "it has no end");
    }

    #[test]
    fn the_same_calls_draw_the_same_numbers() {
        let run = || {
            let (builder, clock) = graced();
            let hasher = crate::RandomState::with_seeds(1, 2, 3, 4);
            let cache = builder.early_refresh(1.0).hasher(hasher).build().unwrap();
            cache.insert(1, 10);
            let guard = reclaim::pin();
            let (pointer, _) = cache.find(&1, cache.hash(&1), &guard).unwrap();
            pointer.meta().set_load_time(LoadTime::of(10 * SECOND));
            clock.advance(95 * SECOND);
            (0..100)
                .map(|_| cache.freshness(pointer, &mut None) == Freshness::Fresh)
                .collect::<Vec<_>>()
        };
        let drawn = run();
        assert_eq!(drawn, run());
        assert!(drawn.contains(&true) && drawn.contains(&false));
    }

    #[test]
    fn a_failed_refresh_is_not_tried_again_within_the_throttle() {
        let (builder, clock) = graced();
        for (builder, pause) in
            [(builder.clone(), SECOND), (builder.refresh_throttle(5 * SECOND), 5 * SECOND)]
        {
            let cache = builder.build().unwrap();
            let hash = cache.hash(&1);
            assert!(cache.may_refresh(hash));
            cache.note_failed_refresh(hash);
            clock.advance(pause - NANOSECOND);
            assert!(!cache.may_refresh(hash));
            clock.advance(NANOSECOND);
            assert!(cache.may_refresh(hash));
            cache.note_failed_refresh(hash);
            cache.note_loaded(hash);
            assert!(cache.may_refresh(hash));
            assert_eq!(cache.load_timeout(), 60 * SECOND);
        }
    }

    #[test]
    fn a_new_entry_keeps_the_time_of_its_load() {
        let (builder, _clock) = graced();
        let cache = builder.build().unwrap();
        let hash = cache.hash(&1);
        let new = cache.make(hash, 1, 1, 10, super::super::options::Traits::default());
        assert_eq!(new.as_ptr().meta().load_time().to_ns(), 0);
        new.set_load_time(LoadTime::of(SECOND));
        let stored = new.as_ptr().meta().load_time().to_ns();
        assert!(stored.abs_diff(1_000_000_000) <= 125_000_000, "{stored}");
        assert_eq!(new.as_ptr().meta().weight(), 1);
    }
}
