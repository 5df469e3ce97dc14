# Reclamation works with the pins that systems without asymmetric fences use. Where tests usually run,
# the system has such fences, and these pins would go untested.
# Time limit: 900

source .ci/tests.sh

# With a target named, flags are not for what runs on the host, which is shared with the step targets.
RUSTFLAGS="--cfg larder_epochs" run_tests cargo test --package larder --target "$(host_triple)" "${epochs_tests[@]}" \
    --target-dir "$target/by-target"
expect_tests "the build with epochs"
