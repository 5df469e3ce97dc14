//! The cost of a get and an insert by the number of entries; `--bin growth` compares with papaya.

mod brief;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use larder::Cache;
use larder_benches::keys::{SplitMix64, fill_uniform, scramble};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Gets of one iteration; their keys are drawn outside of the measured time.
const GETS: usize = 1_024;

fn filled(entries: u64) -> Cache<u64, u64> {
    // All sizes have a capacity of twice the greatest size, so that only the number of entries
    // differs and nothing is evicted.
    let builder = Cache::builder().capacity(2 * SIZES[SIZES.len() - 1] as usize);
    let cache = builder.build().expect("a capacity above 0");
    for number in 0..entries {
        let _ = cache.insert(scramble(number), number);
    }
    cache.run_pending();
    cache
}

fn get_by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("1,024 gets by entries");
    group.throughput(Throughput::Elements(GETS as u64));
    for entries in SIZES {
        let cache = filled(entries);
        let mut random = SplitMix64::new(entries);
        group.bench_with_input(BenchmarkId::from_parameter(entries), &entries, |bencher, _| {
            let draw = || {
                let mut keys = [0; GETS];
                fill_uniform(&mut keys, entries, &mut random);
                keys
            };
            let get = |keys: [u64; GETS]| keys.iter().filter_map(|key| cache.get(key)).max();
            bencher.iter_batched(draw, get, criterion::BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn fill_by_size(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fill by entries");
    group.sample_size(10);
    for entries in &SIZES[..3] {
        group.throughput(Throughput::Elements(*entries));
        group.bench_with_input(
            BenchmarkId::from_parameter(entries),
            entries,
            |bencher, &entries| {
                // Returning the cache keeps its drop out of the measured time.
                bencher.iter_with_large_drop(|| filled(entries));
            },
        );
    }
    group.finish();
}

criterion_group! {
    name = growth;
    config = brief::config();
    targets = get_by_size, fill_by_size
}
criterion_main!(growth);
