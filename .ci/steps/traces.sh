# Replays on one thread with inline maintenance are exact: LRU, FIFO and SIEVE have the very hit ratios of
# the reference beside the traces. Simulations agree, and replays that threads share run.
# Time limit: 600

traces=../shared/traces
if [[ ! -f $traces/reference.tsv ]]; then
    skip "recorded traces (no $traces)"
    exit 0
fi
build_faster
run cargo build --release --package larder-cli
run python3 .ci/checks/reference.py "$target/release/larder" "$traces"
LARDER_TRACES=$PWD/$traces run cargo test --release --package larder-cli --test cli simulations_agree
# And shared by threads, as it is meant to be used.
run "$target/release/larder" replay "$traces/loop.u32.gz" "$traces/sprite.u32.gz" --quiet --capacities 500
