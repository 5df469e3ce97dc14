//! The cost of iterating over all entries.

mod brief;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use larder::Cache;
use larder_benches::keys::scramble;

fn iterate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("iterate");
    for entries in [1_000_u64, 10_000, 100_000] {
        let builder = Cache::builder().capacity(2 * entries as usize);
        let cache: Cache<u64, u64> = builder.build().expect("a capacity above 0");
        for number in 0..entries {
            let _ = cache.insert(scramble(number), number);
        }
        cache.run_pending();
        group.throughput(Throughput::Elements(entries));
        group.bench_with_input(BenchmarkId::from_parameter(entries), &cache, |bencher, cache| {
            bencher.iter(|| cache.iter().map(|(_, value)| value).max());
        });
    }
    group.finish();
}

criterion_group! {
    name = all_entries;
    config = brief::config();
    targets = iterate
}
criterion_main!(all_entries);
