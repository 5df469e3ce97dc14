//! The options that configure the cache.

use std::sync::LazyLock;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Maintenance, Policy, cached};

use crate::support::Runs;

#[test]
fn the_cache_is_named_after_the_function_or_as_it_is_said() {
    #[cached]
    fn first(n: u64) -> u64 {
        n
    }

    #[cached(name = "squares")]
    fn second(n: u64) -> u64 {
        n * n
    }

    assert_eq!(first_cache().name(), Some("it::settings::first"));
    assert_eq!(second_cache().name(), Some("squares"));
    assert_eq!((first(1), second(2)), (1, 4));
}

#[test]
fn a_capacity_is_an_expression_and_has_a_default() {
    const MANY: usize = 500;

    #[cached(capacity = MANY * 2)]
    fn given(n: u64) -> u64 {
        n
    }

    #[cached]
    fn default(n: u64) -> u64 {
        n
    }

    assert_eq!((given_cache().capacity(), default_cache().capacity()), (Some(1000), Some(10_000)));
    assert_eq!((given(1), default(1)), (1, 1));
}

#[test]
fn a_setting_may_have_the_name_that_one_would_give_the_static() {
    const GIVEN_CACHE: usize = 20;

    #[cached(capacity = GIVEN_CACHE)]
    fn given(n: u64) -> u64 {
        n
    }

    const WITHIN_CACHE: u64 = 30;

    #[cached(capacity = WITHIN_CACHE as usize, helpers = false)]
    fn within(n: u64) -> u64 {
        n + WITHIN_CACHE
    }

    assert_eq!((given(1), within(1)), (1, 31));
    assert_eq!(given_cache().capacity(), Some(20));
}

/// A clock that a test moves.
static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);

#[test]
fn values_expire() {
    static RUNS: Runs = Runs::new();

    #[cached(
        capacity = 100,
        ttl = "10s",
        time_to_idle = Duration::from_secs(4),
        builder = |builder| builder.clock(CLOCK.clone()).maintenance(Maintenance::Inline),
    )]
    fn counted(n: u64) -> usize {
        RUNS.add();
        RUNS.count() + n as usize
    }

    assert_eq!((counted(0), counted(0)), (1, 1));
    CLOCK.advance(Duration::from_secs(3));
    assert_eq!(counted(0), 1);
    CLOCK.advance(Duration::from_secs(5));
    assert_eq!(counted(0), 2, "not used for longer than it may");
    for _ in 0..3 {
        CLOCK.advance(Duration::from_secs(3));
        assert_eq!(counted(0), 2);
    }
    CLOCK.advance(Duration::from_secs(2));
    assert_eq!(counted(0), 3, "older than it may");
}

#[test]
fn lookups_are_counted_if_that_is_wanted() {
    #[cached(count_lookups)]
    fn counted(n: u64) -> u64 {
        n
    }

    counted(1);
    counted(1);
    counted(2);
    let stats = counted_cache().stats();
    assert_eq!((stats.hits, stats.misses), (Some(1), Some(2)));
}

#[test]
fn every_policy_of_the_library_has_its_name() {
    #[cached(policy = "lru")]
    fn lru(n: u64) -> u64 {
        n
    }

    #[cached(policy = "LFU")]
    fn lfu(n: u64) -> u64 {
        n
    }

    #[cached(policy = "fifo")]
    fn fifo(n: u64) -> u64 {
        n
    }

    #[cached(policy = "sieve")]
    fn sieve(n: u64) -> u64 {
        n
    }

    #[cached(policy = "s3_fifo")]
    fn s3_fifo(n: u64) -> u64 {
        n
    }

    #[cached(policy = "window_tiny_lfu")]
    fn window_tiny_lfu(n: u64) -> u64 {
        n
    }

    #[cached(policy = "cost_aware")]
    fn cost_aware(n: u64) -> u64 {
        n
    }

    #[cached(policy = Policy::named("lru"))]
    fn expression(n: u64) -> u64 {
        n
    }

    let calls = [lru, lfu, fifo, sieve, s3_fifo, window_tiny_lfu, cost_aware, expression];
    assert_eq!(calls.map(|call| call(7)), [7; 8]);
    let caches = [
        lru_cache(),
        lfu_cache(),
        fifo_cache(),
        sieve_cache(),
        s3_fifo_cache(),
        window_tiny_lfu_cache(),
        cost_aware_cache(),
    ];
    let names: Vec<String> = caches.iter().map(|cache| cache.policy_name().to_owned()).collect();
    assert_eq!(names, Policy::names().collect::<Vec<_>>());
}

static SQUARES: LazyLock<Cache<u64, u64>> = LazyLock::new(|| Cache::new(50));

#[test]
fn functions_may_share_a_cache_of_ones_own() {
    #[cached(cache = SQUARES)]
    fn square(n: u64) -> u64 {
        n * n
    }

    #[cached(cache = SQUARES, key = small as u64)]
    fn small_square(small: u8) -> u64 {
        u64::from(small) * 1000
    }

    assert_eq!((square(3), small_square(3)), (9, 9));
    assert_eq!((small_square_uncached(3), SQUARES.len()), (3000, 1));
}

mod facade {
    /// As a crate does that hands larder on.
    pub(crate) mod cache {
        pub(crate) use larder::*;
    }
}

#[test]
fn the_crate_may_have_another_path() {
    #[facade::cache::cached(policy = "lru", crate = facade::cache)]
    fn square(n: u64) -> u64 {
        n * n
    }

    assert_eq!((square(3), square(3)), (9, 9));
}
