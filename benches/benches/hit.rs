//! The cost of a hit: by policy, by method of lookup, on one thread and on two.

mod brief;

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use larder::{Cache, Policy};
use larder_benches::contender::policies;
use larder_benches::keys::{scramble, zipf};

/// Small enough to fill quickly, too large for the first-level cache.
const RESIDENT: u64 = 16_384;
const DRAWS: usize = 65_536;

fn filled(policy: Policy) -> Cache<u64, u64> {
    let builder = Cache::builder().capacity(2 * RESIDENT as usize).policy(policy);
    let cache = builder.build().expect("a capacity above 0");
    for number in 0..RESIDENT {
        let _ = cache.insert(scramble(number), number);
    }
    cache.run_pending();
    cache
}

fn get_by_policy(criterion: &mut Criterion) {
    let keys = zipf(RESIDENT, DRAWS, 1);
    let mut group = criterion.benchmark_group("get/1 thread");
    group.throughput(Throughput::Elements(1));
    for (name, policy) in policies() {
        let cache = filled(policy);
        let mut keys = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| cache.get(keys.next().expect("a cycle does not end")));
        });
    }
    group.finish();
}

fn get_by_way(criterion: &mut Criterion) {
    let keys = zipf(RESIDENT, DRAWS, 1);
    let mut group = criterion.benchmark_group("ways to look");
    group.throughput(Throughput::Elements(1));
    let cache = filled(Policy::fifo());
    let mut keys = keys.iter().cycle();
    let mut next = || keys.next().expect("a cycle does not end");
    group.bench_function("get", |bencher| bencher.iter(|| cache.get(next())));
    group.bench_function("read", |bencher| {
        bencher.iter(|| cache.read(next(), |value| black_box(*value)));
    });
    group.bench_function("peek", |bencher| bencher.iter(|| cache.peek(next())));
    group.bench_function("pinned", |bencher| {
        let pinned = cache.pin();
        bencher.iter(|| pinned.get(next()).copied());
    });
    group.bench_function("miss", |bencher| {
        let mut number = RESIDENT;
        bencher.iter(|| {
            number += 1;
            cache.get(&scramble(number))
        });
    });
    group.finish();
}

/// The time that two threads need for `gets` gets each.
fn get_on_two_threads(cache: &Cache<u64, u64>, keys: &[u64], gets: u64) -> Duration {
    let start = Barrier::new(3);
    thread::scope(|scope| {
        for half in [0, keys.len() / 2] {
            let start = &start;
            scope.spawn(move || {
                let mut keys = keys.iter().cycle().skip(half);
                start.wait();
                for _ in 0..gets {
                    black_box(cache.get(keys.next().expect("a cycle does not end")));
                }
                start.wait();
            });
        }
        start.wait();
        let started = Instant::now();
        start.wait();
        started.elapsed()
    })
}

fn get_with_two_threads(criterion: &mut Criterion) {
    let keys = zipf(RESIDENT, DRAWS, 1);
    let mut group = criterion.benchmark_group("get/2 threads");
    group.throughput(Throughput::Elements(2));
    for (name, policy) in policies() {
        let cache = filled(policy);
        group.bench_with_input(BenchmarkId::from_parameter(name), &keys, |bencher, keys| {
            bencher.iter_custom(|gets| get_on_two_threads(&cache, keys, gets));
        });
    }
    group.finish();
}

criterion_group! {
    name = hit;
    config = brief::config();
    targets = get_by_policy, get_by_way, get_with_two_threads
}
criterion_main!(hit);
