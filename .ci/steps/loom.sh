# The models of loom-tests hold in every interleaving with so many preemptions.
# Time limit: 900

# Where models end soon, more optimization costs more in building them than it saves in running them.
((loom_preemptions > 3)) || export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
LOOM_MAX_PREEMPTIONS=$loom_preemptions RUSTFLAGS="--cfg larder_loom --cfg crossbeam_loom -A dead_code" \
    run_tests cargo test --release --package loom-tests --target-dir "$target/loom" -- --show-output
expect_tests loom-tests
