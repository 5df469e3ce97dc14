//! The cost of a write: a new key at capacity, a replacement, a removal, and read-through.

mod brief;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use larder::{Cache, Policy};
use larder_benches::contender::policies;
use larder_benches::keys::{scramble, zipf};
use std::hint::black_box;

const CAPACITY: u64 = 16_384;
/// Ten times the capacity.
const UNIVERSE: u64 = 163_840;
const DRAWS: usize = 1 << 20;

fn full(policy: Policy) -> Cache<u64, u64> {
    let builder = Cache::builder().capacity(CAPACITY as usize).policy(policy);
    let cache = builder.build().expect("a capacity above 0");
    for number in 0..CAPACITY {
        let _ = cache.insert(scramble(number), number);
    }
    cache.run_pending();
    cache
}

fn insert_new(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert new at capacity");
    group.throughput(Throughput::Elements(1));
    for (name, policy) in policies() {
        let cache = full(policy);
        let mut number = CAPACITY;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                cache.insert(scramble(number), number)
            });
        });
    }
    group.finish();
}

fn read_through(criterion: &mut Criterion) {
    let keys = zipf(UNIVERSE, DRAWS, 1);
    let mut group = criterion.benchmark_group("read-through at 10 %");
    group.throughput(Throughput::Elements(1));
    for (name, policy) in policies() {
        let cache = full(policy);
        let mut keys = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let key = keys.next().expect("a cycle does not end");
                match cache.get(key) {
                    Some(value) => value,
                    None => {
                        let _ = black_box(cache.insert(*key, *key));
                        *key
                    }
                }
            });
        });
    }
    group.finish();
}

fn other_writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("other writes");
    let cache = full(Policy::fifo());
    let mut number = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("replace", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % CAPACITY;
            cache.insert(scramble(number), number)
        });
    });
    group.bench_function("remove and insert", |bencher| {
        bencher.iter(|| {
            number = (number + 1) % CAPACITY;
            black_box(cache.remove(&scramble(number)));
            cache.insert(scramble(number), number)
        });
    });
    group.finish();
}

criterion_group! {
    name = write;
    config = brief::config();
    targets = insert_new, read_through, other_writes
}
criterion_main!(write);
