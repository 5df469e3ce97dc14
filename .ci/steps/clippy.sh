# Clippy has nothing to say: of the workspace with all its targets, of the models, of the fuzz targets.
# Time limit: 1500

# In a folder of its own, so that it need not wait for what the other steps build.
run cargo clippy --workspace --all-targets \
    --features larder-benches/mimalloc,larder-benches/peers,larder-near-peers/peers \
    --target-dir "$target/lint" -- -D warnings
# The models leave out the upper layers, and with them the users of many functions.
RUSTFLAGS="--cfg larder_loom --cfg crossbeam_loom -A dead_code" run cargo clippy --package loom-tests --all-targets \
    --target-dir "$target/loom-clippy" -- -D warnings
# Nothing is linked, so libFuzzer need not be compiled.
CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a run cargo clippy --manifest-path fuzz/Cargo.toml \
    --all-targets --target-dir "$target/lint" -- -D warnings
