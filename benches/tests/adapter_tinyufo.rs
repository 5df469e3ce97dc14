//! The adapter for TinyUFO's benchmarks compiles beside what it needs of them, and makes the requests that
//! it is asked for.

#[path = "../tinyufo/larder.rs"]
mod larder;

#[test]
fn the_hit_ratio_is_that_of_reading_through() {
    let mut contender = larder::HitRatio::new(100);
    for key in (0..50).chain(0..50).chain(0..50).chain(0..50) {
        contender.request(key);
    }
    assert_eq!(contender.percent(), 75.0);
}

#[test]
fn reads_find_every_key() {
    assert_eq!(larder::read(100, 1.03, 1_000, 4), 0);
}

#[test]
fn mixed_requests_miss_keys_and_find_them_later() {
    let misses = larder::mixed(1_000, 10_000, 1.3, 1_000, 4);
    assert!((1..4_000).contains(&misses), "{misses} misses of 4,000 requests");
}

#[test]
fn a_cache_is_filled_for_the_measurement_of_memory() {
    larder::fill(1.05, 1_000, 0.1, 1_000);
}
