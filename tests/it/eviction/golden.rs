//! Golden runs: everything that can be observed of caches with inline maintenance, one of each
//! kind, call by call, condensed to one number each.
//!
//! The other tests say what is right. These notice a change of any answer, eviction, expiration,
//! notification or count, whether it is wanted or not. After a wanted change, copy the row that the
//! failed test prints.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Builder, Cache, InsertOptions, Listener, Maintenance, Policy, Removal, ShadowConfig};

use crate::support::flush;
use crate::support::hashers::Identity;
use crate::support::rng::Rng;

const STEPS: u64 = 6_000;
const KEYS: u64 = 300;
const TAGS: [&str; 3] = ["a", "b", "c"];

type Golden = Cache<u64, u64, Identity>;
type Shaped = Builder<u64, u64, Identity>;

/// Which listeners are notified of removals.
#[derive(Clone, Copy)]
enum Listeners {
    None,
    /// A listener.
    Queued,
    /// An atomic listener.
    Atomic,
    Both,
}

/// FNV-1a over words: the same on every machine.
struct Digest(u64);

impl Digest {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
    }

    fn add_debug(&mut self, what: &impl Debug) {
        self.add_text(&format!("{what:?}"));
    }

    fn add_text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.add(byte.into()));
    }
}

/// Returns the hits, the evictions and the digest of what one kind of cache does; the first two
/// give a hint of what has changed.
fn run(listeners: Listeners, shape: impl FnOnce(Shaped) -> Shaped) -> (u64, u64, u64) {
    let clock = FakeClock::new();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&notified);
    let record = move |removal: &Removal<'_, u64, u64>| {
        let Removal { key, value, new_value, cause, age, .. } = *removal;
        note.lock().unwrap().push((*key, *value, new_value.copied(), cause, age));
    };
    let record_atomic = record.clone();
    let builder = Cache::builder().hasher(Identity).clock(clock.clone()).count_lookups();
    let builder = match listeners {
        Listeners::None => builder,
        Listeners::Queued => builder.listener(Listener::new(record)),
        Listeners::Atomic => builder.atomic_listener(record),
        Listeners::Both => builder.listener(Listener::new(record)).atomic_listener(record_atomic),
    };
    let cache = shape(builder.maintenance(Maintenance::Inline)).build().unwrap();
    let (mut digest, mut rng) = (Digest(0xcbf2_9ce4_8422_2325), Rng::new(5));
    for step in 0..STEPS {
        call(&cache, &clock, step, &mut rng, &mut digest);
        digest.add_debug(&std::mem::take(&mut *notified.lock().unwrap()));
        digest.add(cache.len() as u64);
        digest.add(cache.weight());
        if step % 100 == 50 {
            report(&cache, &mut digest);
            cache.validate();
        }
    }
    flush(&cache);
    let stats = cache.stats();
    let gone = stats.inserts + stats.replacements - cache.len() as u64;
    assert_eq!(stats.freed_bytes, stats.retired_bytes);
    assert_eq!(stats.freed_bytes % gone, 0, "{gone} entries have left");
    assert!(
        (40..=128).contains(&(stats.freed_bytes / gone)),
        "{} bytes each",
        stats.freed_bytes / gone
    );
    (stats.hits.unwrap(), stats.evictions, digest.0)
}

fn call(cache: &Golden, clock: &FakeClock, step: u64, rng: &mut Rng, digest: &mut Digest) {
    // Popular keys, a loop, and keys that were used a moment ago.
    let key = match step / (STEPS / 6) % 3 {
        0 => rng.below(KEYS).min(rng.below(KEYS)).min(rng.below(KEYS)),
        1 => step / 2 % (KEYS / 3),
        _ => (step / 3 + rng.below(KEYS / 15)) % KEYS,
    };
    let time = Duration::from_millis(rng.below(20_000));
    let tags = TAGS.iter().take(rng.below(4) as usize);
    match rng.below(256) {
        0..80 => digest.add_debug(&cache.get(&key)),
        80..86 => digest.add_debug(&cache.pin().get(&key)),
        86..90 => digest.add_debug(&(cache.peek(&key), cache.contains_key(&key))),
        90..94 => digest.add_debug(&cache.explain(&key)),
        94..98 => digest.add_debug(&(cache.inspect(&key), cache.frequency(&key))),
        98..140 => digest.add_debug(&cache.insert(key, step)),
        140..150 => digest.add_debug(&cache.insert_if_absent(key, step)),
        150..160 => digest.add_debug(&cache.replace(key, step)),
        160..175 => digest.add_debug(&cache.insert_with_ttl(key, step, time)),
        175..180 => digest.add_debug(&cache.expire_after(&key, Some(time))),
        180..182 => digest.add_debug(&cache.expire_after(&key, None)),
        182..192 => digest.add_debug(&cache.remove(&key)),
        192..196 => digest.add_debug(&cache.remove_if(&key, |_, value| value % 2 == 0)),
        196..210 => digest.add_debug(&cache.insert_with_tags(key, step, tags)),
        210..212 => {
            // Whether the tag is still known depends on which memory was freed.
            let _ = cache.invalidate_tag(TAGS[key as usize % TAGS.len()]);
        }
        212..216 => digest.add_debug(&cache.insert_unevictable(key, step)),
        216..218 => digest.add_debug(&cache.insert_with(
            key,
            step,
            InsertOptions::new().unevictable().ttl(time / 4),
        )),
        218 => cache.retain(|key, _| key % 5 != step % 5),
        219 => digest.add_debug(&cache.invalidate_if(|_, value| value % 7 == step % 7)),
        220 if step.is_multiple_of(4) => cache.clear(),
        220 | 221 => {
            let entries = cache.capacity().map(|_| cache.set_capacity(30 + key as usize / 4));
            let weight = cache.max_weight().map(|_| cache.set_max_weight(120 + key));
            digest.add_debug(&(entries, weight));
        }
        222..226 => cache.run_pending(),
        _ => clock.advance(time / 30),
    }
}

/// Adds everything that the cache reports of itself and of its entries.
fn report(cache: &Golden, digest: &mut Digest) {
    let mut entries: Vec<_> =
        cache.entries().map(|entry| (entry.key, entry.value, entry.info)).collect();
    entries.sort_unstable_by_key(|(key, ..)| *key);
    for (key, value, info) in &entries {
        digest.add(*key);
        digest.add(*value);
        digest.add_debug(&(
            info,
            cache.is_unevictable(key),
            cache.tags_of(key),
            cache.frequency(key),
        ));
    }
    digest.add_debug(&(cache.hottest(10), cache.coldest(10), cache.segments()));
    let mut shadows = cache.shadow_report();
    // Memory is not a decision.
    shadows.iter_mut().for_each(|report| report.bytes = 0);
    digest.add_text(&plain(format!("{shadows:?}"), "hit_ratio", "0.0"));
    let mut stats = cache.stats();
    // When memory is freed depends on the process's other threads; its size depends on the machine.
    (stats.retired_bytes, stats.freed_bytes, stats.reclamation_lag) = (0, 0, Duration::ZERO);
    // These fields are younger than the digests. Nothing is loaded here, and the last one is about the
    // process, not about this cache.
    let shown = format!("{stats:?}").replace(", is_reclamation_refused: false", "");
    let no_loads = ", loads: 0, load_failures: 0, load_time: 0ns, load_waits: 0, load_handovers: 0, \
                    loads_discarded: 0, negative_hits: 0, stale_hits: 0, refreshes: 0";
    assert!(shown.contains(no_loads), "{shown}");
    let shown = shown.replace(no_loads, "");
    digest.add_text(&plain(plain(shown, " hits", "0"), " misses", "0"));
}

/// The text with the field `field` shown as a plain number: `Some(1)` as 1, and `None` as `none`.
fn plain(text: String, field: &str, none: &str) -> String {
    let text = text.replace(&format!("{field}: None"), &format!("{field}: {none}"));
    let known = format!("{field}: Some(");
    let mut parts = text.split(&known);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += &format!("{field}: {}", part.replacen(')', "", 1));
    }
    plain
}

/// With times to live, and shorter ones for entries that are not used.
fn aging(builder: Shaped) -> Shaped {
    builder.time_to_live(Duration::from_secs(30)).time_to_idle(Duration::from_secs(10)).jitter(0.25)
}

fn weigh(_key: &u64, value: &u64) -> u32 {
    match value % 50 {
        0 => 90,
        rest => (rest % 7) as u32,
    }
}

#[track_caller]
fn is_golden(seen: (u64, u64, u64), hits: u64, evictions: u64, digest: u64) {
    let (now_hits, now_evictions, now) = seen;
    assert_eq!(seen, (hits, evictions, digest), "now: {now_hits}, {now_evictions}, 0x{now:016x}");
}

#[test]
fn lru() {
    let seen = run(Listeners::None, |builder| builder.capacity(40).policy(Policy::lru()));
    is_golden(seen, 582, 640, 0x9aef_3ced_f740_9105);
}

#[test]
fn lru_with_a_listener() {
    let seen = run(Listeners::Queued, |builder| aging(builder.capacity(40).policy(Policy::lru())));
    is_golden(seen, 566, 468, 0x3001_2d8c_a256_574f);
}

#[test]
fn lru_with_an_atomic_listener() {
    let seen = run(Listeners::Atomic, |builder| {
        aging(builder.capacity(40).policy(Policy::lru())).explain_misses(64)
    });
    is_golden(seen, 566, 468, 0xa37b_a434_868b_1802);
}

#[test]
fn lfu_with_shadows() {
    let shadow = ShadowConfig::new().multiples([0.5, 2.0]).policy(Policy::fifo());
    let seen = run(Listeners::None, |builder| {
        aging(builder.capacity(40).policy(Policy::lfu()).shadow(shadow))
    });
    is_golden(seen, 624, 375, 0xefed_cb95_fc9c_8beb);
}

#[test]
fn fifo_in_four_parts() {
    let seen = run(Listeners::None, |builder| {
        let builder = builder.capacity(60).policy(Policy::fifo()).partitions(4);
        builder.explain_misses(100).keep_ages()
    });
    is_golden(seen, 598, 636, 0x9c97_0891_98d3_1ebd);
}

#[test]
fn the_default_policy() {
    let seen = run(Listeners::None, |builder| aging(builder.capacity(60)));
    is_golden(seen, 619, 352, 0xba97_07b0_f891_b1dc);
}

#[test]
fn the_default_policy_by_weight_with_a_listener() {
    let seen =
        run(Listeners::Queued, |builder| builder.max_weight(200).weigher(weigh).explain_misses(20));
    is_golden(seen, 637, 675, 0xe619_8779_54a6_3774);
}

#[test]
fn the_default_policy_in_two_parts_with_an_atomic_listener() {
    let seen = run(Listeners::Atomic, |builder| {
        aging(builder.max_weight(400).weigher(weigh).partitions(2))
    });
    is_golden(seen, 571, 540, 0xc842_37d2_2158_5314);
}

#[test]
fn lru_with_both_listeners_and_shadows() {
    let shadow = ShadowConfig::new().multiples([0.5, 2.0]);
    let seen = run(Listeners::Both, |builder| {
        let builder = builder.capacity(50).max_weight(250).weigher(weigh).policy(Policy::lru());
        aging(builder).explain_misses(64).shadow(shadow)
    });
    is_golden(seen, 533, 676, 0x3ed2_5d10_8d33_c567);
}

#[test]
fn sieve_by_entries_and_weight() {
    let seen = run(Listeners::None, |builder| {
        let builder = builder.capacity(50).max_weight(250).weigher(weigh).policy(Policy::sieve());
        aging(builder).timer_tick(Duration::from_secs(2))
    });
    is_golden(seen, 566, 627, 0x5be3_cc88_9583_6d8a);
}

#[test]
fn s3_fifo_by_entries_and_weight_with_shadows_and_a_listener() {
    let seen = run(Listeners::Queued, |builder| {
        let builder = builder.capacity(50).max_weight(250).weigher(weigh).policy(Policy::s3_fifo());
        builder.shadow(ShadowConfig::new().policy(Policy::lru())).keep_ages()
    });
    is_golden(seen, 581, 733, 0x495a_4603_406d_5907);
}
