//! Long random runs against plain models that know the time, and races.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, InsertOptions, Inserted, Maintenance, Rejection};

use super::{FOR_EVER, KEEP, SECOND, Shared, timed};

/// A plain map that knows the time: it answers what the cache must answer if nothing is evicted.
#[derive(Default)]
struct TimedMap(std::collections::HashMap<u32, (u32, Option<Duration>)>);

impl TimedMap {
    fn get(&mut self, key: u32, now: Duration) -> Option<u32> {
        let is_valid =
            |(_, deadline): &(u32, Option<Duration>)| deadline.is_none_or(|at| now <= at);
        if !self.0.get(&key).is_some_and(is_valid) {
            self.0.remove(&key);
        }
        self.0.get(&key).map(|(value, _)| *value)
    }

    fn insert(&mut self, key: u32, value: u32, now: Duration, ttl: Option<Duration>) -> Inserted {
        let old = self.get(key, now);
        if ttl == Some(Duration::ZERO) {
            self.0.remove(&key);
        } else {
            self.0.insert(key, (value, ttl.map(|ttl| now + ttl)));
        }
        if old.is_some() { Inserted::Replaced } else { Inserted::Added }
    }
}

#[test]
fn cache_agrees_with_a_plain_map_that_knows_the_time() {
    let configurations =
        [(Maintenance::Inline, 1), (Maintenance::Inline, 4), (Maintenance::Background, 4)];
    for seed in crate::support::rng::seeds(0x7153, 12) {
        for (maintenance, partitions) in configurations {
            let (mut builder, clock) = timed();
            // With a grace, deadlines are exact if all times are even.
            let has_grace = seed % 2 == 0;
            if has_grace {
                builder = builder.stale_if_error(Duration::from_secs(seed % 1000 + 1));
            }
            let tick = Duration::from_nanos(1 << (seed % 40));
            let builder = builder.maintenance(maintenance).partitions(partitions);
            let cache = builder.capacity(1000).timer_tick(tick).build().unwrap();
            let mut map = TimedMap::default();
            let mut rng = crate::support::rng::Rng::new(seed);
            for step in 0..2000 {
                let key = rng.below(50) as u32;
                let now = clock.time();
                let range = rng.below(38);
                let ttl = Duration::from_nanos(rng.below(1 << range) & !u64::from(has_grace));
                let context = || format!("seed {seed}, step {step}, key {key}, at {now:?}");
                match rng.below(12) {
                    0..3 => assert_eq!(cache.get(&key), map.get(key, now), "{}", context()),
                    3 => {
                        let there = map.get(key, now);
                        assert_eq!(cache.peek(&key), there, "{}", context());
                        assert_eq!(cache.contains_key(&key), there.is_some(), "{}", context());
                        let left = cache.inspect(&key).map(|info| info.expires_in);
                        let wanted = there.map(|_| map.0[&key].1.map(|at| at - now));
                        assert_eq!(left, wanted, "{}", context());
                    }
                    4 => {
                        let (got, wanted) =
                            (cache.insert(key, step), map.insert(key, step, now, None));
                        assert_eq!(got, wanted, "{}", context());
                    }
                    5..7 => {
                        let got = cache.insert_with_ttl(key, step, ttl);
                        assert_eq!(got, map.insert(key, step, now, Some(ttl)), "{}", context());
                    }
                    7 => {
                        let got =
                            cache.insert_if_absent_with(key, step, InsertOptions::new().ttl(ttl));
                        let wanted = match map.get(key, now) {
                            Some(_) => Inserted::Rejected(Rejection::Present),
                            None => map.insert(key, step, now, Some(ttl)),
                        };
                        assert_eq!(got, wanted, "{}", context());
                    }
                    8 => {
                        let got = cache.replace_with(key, step, InsertOptions::new().ttl(ttl));
                        let wanted = match map.get(key, now) {
                            Some(_) => map.insert(key, step, now, Some(ttl)),
                            None => Inserted::Rejected(Rejection::Absent),
                        };
                        assert_eq!(got, wanted, "{}", context());
                    }
                    9 => {
                        let wanted = map.get(key, now);
                        map.0.remove(&key);
                        assert_eq!(cache.remove(&key), wanted, "{}", context());
                    }
                    10 => clock.advance(ttl),
                    _ => {
                        let mut present: Vec<_> = cache.iter().collect();
                        present.sort_unstable();
                        let keys: Vec<u32> = map.0.keys().copied().collect();
                        let mut wanted: Vec<_> = keys
                            .into_iter()
                            .filter_map(|key| Some((key, map.get(key, now)?)))
                            .collect();
                        wanted.sort_unstable();
                        assert_eq!(present, wanted, "{}", context());
                    }
                }
            }
            cache.validate();
            clock.advance(Duration::from_secs(1 << 20));
            cache.run_pending();
            cache.validate();
            map.0.retain(|_, (_, deadline)| deadline.is_none());
            assert_eq!(cache.len(), map.0.len(), "seed {seed}: an expired entry is left");
            let stats = cache.stats();
            let left = stats.expirations + stats.removals + cache.len() as u64;
            assert_eq!(stats.inserts, left, "seed {seed}: an entry was lost or counted twice");
        }
    }
}

/// What the model knows of an entry: the second until which each of its lifetimes lasts, or
/// `u64::MAX` for ever.
#[derive(Clone, Copy, Debug)]
struct Lives {
    value: u32,
    /// By the time to live: the cache's, the entry's own, or that of `expire_after`.
    fixed: u64,
    /// By the last answer of the `Expiry`.
    computed: u64,
    /// By the last use.
    idle: u64,
    has_room: bool,
}

/// A simple model of every lifetime that an entry can have: the earliest deadline counts.
struct LivesModel {
    ttl: Option<u64>,
    idle: Option<u64>,
    has_expiry: bool,
    entries: std::collections::HashMap<u32, Lives>,
    now: u64,
}

impl LivesModel {
    fn after(&self, seconds: Option<u64>) -> u64 {
        seconds.map_or(u64::MAX, |seconds| self.now + seconds)
    }

    fn valid(&mut self, key: u32) -> Option<Lives> {
        let now = self.now;
        self.entries.retain(|_, it| now <= it.fixed.min(it.computed).min(it.idle));
        self.entries.get(&key).copied()
    }

    /// The time that an entry has left, `Some(None)` if that is for ever. `None` if it is absent.
    fn left(&mut self, key: u32) -> Option<Option<u64>> {
        let it = self.valid(key)?;
        let end = it.fixed.min(it.computed).min(it.idle);
        Some((end != u64::MAX).then(|| end - self.now))
    }

    /// Stores an entry with the lifetime `own`, or with those that `answers` give if `own` is
    /// `None`.
    fn store(&mut self, key: u32, value: u32, own: Option<u64>, is_tagged: bool, answers: Answers) {
        let old = self.left(key);
        let computed = match old {
            _ if own.is_some() || !self.has_expiry => None,
            None => Some(answers.create.of(None)),
            Some(left) => Some(answers.update.of(left)),
        };
        let lives = Lives {
            value,
            fixed: self.after(own.or(self.ttl)),
            computed: self.after(computed.flatten()),
            idle: self.after(self.idle),
            has_room: is_tagged
                || own.is_some()
                || self.ttl.is_some()
                || self.idle.is_some()
                || self.has_expiry,
        };
        self.entries.insert(key, lives);
        // An entry with a lifetime of zero is never stored.
        if own == Some(0) || computed == Some(Some(0)) {
            self.entries.remove(&key);
        }
    }

    fn use_of(&mut self, key: u32, answers: Answers) -> Option<u32> {
        let left = self.left(key)?;
        let now_idle = self.after(self.idle);
        // An answer that equals the remaining time changes nothing.
        let answer =
            Some(answers.read.of(left)).filter(|answer| self.has_expiry && *answer != left);
        let computed = answer.map(|answer| self.after(answer));
        let it = self.entries.get_mut(&key).expect("it is valid");
        it.idle = now_idle;
        it.computed = computed.unwrap_or(it.computed);
        let value = it.value;
        if answer == Some(Some(0)) {
            self.entries.remove(&key);
        }
        Some(value)
    }

    fn expire_after(&mut self, key: u32, ttl: Option<u64>) -> bool {
        let (fixed, idle) = (self.after(ttl), self.after(self.idle));
        if self.valid(key).is_none() {
            return false;
        }
        let it = self.entries.get_mut(&key).expect("it is valid");
        // Without room for a deadline it is stored anew, unless it lives for ever already.
        it.has_room |= ttl.is_some();
        (it.fixed, it.computed, it.idle) = (fixed, u64::MAX, idle);
        if ttl == Some(0) {
            self.entries.remove(&key);
        }
        true
    }
}

/// What an `Expiry` answers: seconds, `KEEP` or `FOR_EVER`.
#[derive(Clone, Copy, Debug)]
struct Answer(u64);

impl Answer {
    fn of(self, left: Option<u64>) -> Option<u64> {
        match self.0 {
            KEEP => left,
            FOR_EVER => None,
            seconds => Some(seconds),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Answers {
    create: Answer,
    update: Answer,
    read: Answer,
}

#[test]
fn the_earliest_of_all_deadlines_counts_whatever_sets_and_moves_them() {
    let modes = [(Maintenance::Inline, 1), (Maintenance::Background, 4)];
    let seconds = |seconds: u64| Duration::from_secs(seconds);
    for seed in crate::support::rng::seeds(0xf11, 144) {
        let mut rng = crate::support::rng::Rng::new(seed);
        let ttl = [None, Some(7), Some(16)][rng.below(3) as usize];
        let idle = [None, Some(4), Some(9)][rng.below(3) as usize];
        let has_expiry = rng.below(4) != 0;
        let keeps_ages = rng.below(2) == 0;
        let (maintenance, partitions) = modes[rng.below(2) as usize];
        let grace = Some(seconds(1 + rng.below(20))).filter(|_| rng.below(2) == 0);
        let what = format!(
            "seed {seed}: ttl {ttl:?}, idle {idle:?}, expiry {has_expiry}, ages {keeps_ages}, \
             {maintenance:?}, grace {grace:?}"
        );
        let (mut builder, clock) = timed();
        builder = builder.capacity(1000).maintenance(maintenance).partitions(partitions);
        let computed = Shared::default();
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(seconds(ttl));
        }
        if let Some(idle) = idle {
            builder = builder.time_to_idle(seconds(idle));
        }
        if has_expiry {
            builder = builder.expiry(computed.clone());
        }
        if keeps_ages {
            builder = builder.keep_ages();
        }
        if let Some(grace) = grace {
            builder = builder.stale_while_revalidate(grace);
        }
        let cache = builder.build().unwrap();
        let entries = std::collections::HashMap::new();
        let mut model = LivesModel { ttl, idle, has_expiry, entries, now: 0 };
        // A cache that keeps ages has room for a deadline in every entry.
        let has_room = keeps_ages;
        for step in 0..600 {
            let key = rng.below(6) as u32;
            let own = Some(rng.below(24)).filter(|_| rng.below(2) == 0);
            let mut answer = || match rng.below(5) {
                0 => KEEP,
                1 => FOR_EVER,
                _ => rng.below(20),
            };
            let (create, update, read) = (answer(), answer(), answer());
            computed.0.create.store(create, Ordering::Relaxed);
            computed.0.update.store(update, Ordering::Relaxed);
            computed.0.read.store(read, Ordering::Relaxed);
            let [create, update, read] = [create, update, read].map(Answer);
            let answers = Answers { create, update, read };
            let left = model.left(key);
            let given = || {
                let given = computed.0.remaining.load(Ordering::Relaxed);
                (given != FOR_EVER).then_some(given)
            };
            let verb = rng.below(14);
            let context = format!("{what}, step {step}, verb {verb}, key {key}, at {}", model.now);
            match verb {
                0..4 => {
                    let wanted = model.use_of(key, answers);
                    let got =
                        if verb == 0 { cache.pin().get(&key).copied() } else { cache.get(&key) };
                    assert_eq!(got, wanted, "{context}");
                    if has_expiry && wanted.is_some() {
                        assert_eq!(
                            Some(given()),
                            left,
                            "{context}: the remaining time given to `after_read`"
                        );
                    }
                }
                4 => assert_eq!(cache.peek(&key), model.valid(key).map(|it| it.value), "{context}"),
                5 | 6 => {
                    match own {
                        None => _ = cache.insert(key, step),
                        Some(own) => _ = cache.insert_with_ttl(key, step, seconds(own)),
                    }
                    model.store(key, step, own, has_room, answers);
                    if has_expiry && own.is_none() && left.is_some() {
                        assert_eq!(
                            Some(given()),
                            left,
                            "{context}: the remaining time given to `after_update`"
                        );
                    }
                }
                7 => {
                    match own {
                        None => _ = cache.insert_with_tags(key, step, ["a"]),
                        Some(own) => {
                            _ = cache.insert_with(
                                key,
                                step,
                                InsertOptions::new().tags(&["a"]).ttl(seconds(own)),
                            );
                        }
                    }
                    model.store(key, step, own, true, answers);
                }
                8 => {
                    match own {
                        None => _ = cache.insert_if_absent(key, step),
                        Some(own) => {
                            _ = cache.insert_if_absent_with(
                                key,
                                step,
                                InsertOptions::new().ttl(seconds(own)),
                            )
                        }
                    }
                    if left.is_none() {
                        model.store(key, step, own, has_room, answers);
                    }
                }
                9 => {
                    match own {
                        None => _ = cache.replace(key, step),
                        Some(own) => {
                            _ = cache.replace_with(
                                key,
                                step,
                                InsertOptions::new().ttl(seconds(own)),
                            )
                        }
                    }
                    if left.is_some() {
                        model.store(key, step, own, has_room, answers);
                    }
                }
                10 => {
                    let got = cache.expire_after(&key, own.map(seconds));
                    assert_eq!(got, model.expire_after(key, own), "{context}");
                }
                11 if rng.below(4) == 0 => cache.run_pending(),
                _ => {
                    let by = rng.below(6);
                    clock.advance(seconds(by));
                    model.now += by;
                }
            }
            let left = cache.inspect(&key).map(|info| info.expires_in);
            assert_eq!(left, model.left(key).map(|left| left.map(seconds)), "{context}");
        }
        cache.validate();
        clock.advance(seconds(1 << 20));
        model.now += 1 << 20;
        cache.run_pending();
        cache.validate();
        model.valid(0);
        assert_eq!(cache.len(), model.entries.len(), "{what}");
    }
}

#[test]
fn racing_threads_never_see_a_value_that_expired_before_their_lookup() {
    const KEYS: u64 = 16;
    const LIFE: Duration = Duration::from_millis(40);
    for maintenance in [Maintenance::Background, Maintenance::Inline] {
        let clock = FakeClock::new();
        // A value is the time at which it was written. The clock stands still during a write, so
        // the deadline is known; it may move at any moment of a lookup.
        let standing = RwLock::new(());
        let cache: Cache<u64, Duration> = Cache::builder()
            .capacity(1000)
            .partitions(2)
            .maintenance(maintenance)
            .timer_tick(Duration::from_millis(4))
            .clock(clock.clone())
            .build()
            .unwrap();
        let threads = crate::support::stress_threads() as u64;
        let (seen, replaced) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (cache, clock, standing) = (&cache, &clock, &standing);
                let (seen, replaced) = (&seen, &replaced);
                scope.spawn(move || {
                    let mut rng = crate::support::rng::Rng::new(thread);
                    for _ in 0..40_000 / threads {
                        let key = rng.below(KEYS);
                        match rng.below(10) {
                            0..6 => {
                                let before = clock.time();
                                if let Some(written) = cache.get(&key) {
                                    assert!(before <= written + LIFE, "{before:?} {written:?}");
                                    seen.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            6..8 => {
                                let _standing = standing.read();
                                let now = clock.time();
                                if cache.insert_with_ttl(key, now, LIFE) == Inserted::Replaced {
                                    replaced.fetch_add(1, Ordering::Relaxed);
                                }
                            }
                            8 => {
                                let _standing = standing.read();
                                let now = clock.time();
                                let inserted = cache.insert_if_absent_with(
                                    key,
                                    now,
                                    InsertOptions::new().ttl(LIFE),
                                );
                                assert_ne!(inserted, Inserted::Replaced);
                            }
                            _ => {
                                let _moving = standing.write();
                                clock.advance(Duration::from_millis(rng.below(12)));
                            }
                        }
                    }
                });
            }
        });
        cache.validate();
        clock.advance(SECOND);
        cache.run_pending();
        assert!(cache.is_empty());
        let stats = cache.stats();
        assert_eq!(stats.inserts, stats.expirations, "an entry ended twice or never");
        assert_eq!(stats.replacements, replaced.into_inner());
        assert!(seen.into_inner() > 0 && stats.replacements > 0 && stats.expirations > 0);
    }
}
