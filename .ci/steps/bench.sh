# The benchmarks still run, whatever they measure: here they are unoptimized, tiny and noisy.
# Time limit: 900

# With `cargo test`, criterion runs each benchmark once. `--workspace`: with the features of the step
# test, so that what it built is used. Where a benchmark is run, cargo builds the programs beside it.
benches=()
for file in benches/benches/*.rs; do benches+=(--bench "$(basename "$file" .rs)"); done
run cargo test --workspace "${benches[@]}"
bin=$target/debug
run "$bin/compare" --rounds 1 --millis 5 --threads 2
run "$bin/memory" --entries 20000
run "$bin/report" --quick --out "$work/report" --workload read-through,iterate --contenders larder,quick-cache,papaya
for file in report.json report.md throughput.svg latency.svg memory.svg; do
    [[ -s $work/report/$file ]] || die "report did not write $file"
done
run "$bin/growth" --min-entries 1000 --max-entries 10000 --rounds 1 --millis 10
run "$bin/bulk" --entries 20000 --rounds 1 --millis 5
run "$bin/write_storm" --seconds 1
if [[ -f ../shared/traces/manifest.tsv ]]; then
    run "$bin/hit_ratio" --traces ../shared/traces --only sprite --policies default,lru
else
    skip "hit_ratio (no ../shared/traces)"
fi
