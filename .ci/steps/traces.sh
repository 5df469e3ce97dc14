# Replays on one thread with inline maintenance are exact: LRU, FIFO and SIEVE have the very hit ratios of
# the reference beside the traces. Simulations agree, and replays that threads share run.
# Time limit: 600

traces=../shared/traces
if [[ ! -f $traces/reference.tsv ]]; then
    skip "recorded traces (no $traces)"
    exit 0
fi
build_faster
# As README's command builds it, and so with the same features.
run cargo build --release --bin larder
run python3 .ci/checks/reference.py "$target/release/larder" "$traces"
# By the test binary of the step test.
LARDER_PROGRAM=$target/release/larder LARDER_TRACES=$PWD/$traces \
    run_tests cargo test --workspace --test cli simulations_agree
expect_tests "the comparison with the references"
# And shared by threads, as it is meant to be used.
run "$target/release/larder" replay "$traces/loop.u32.gz" "$traces/sprite.u32.gz" --quiet --capacities 500
