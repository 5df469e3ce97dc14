# Reclamation works with the pins that systems without asymmetric fences use. Where tests usually run,
# the system has such fences, and these pins would go untested.
# Time limit: 600

source .ci/tests.sh

# The flag is for our own crates alone. With the features of the whole workspace, all others are as the step test
# has built them.
RUSTC_WORKSPACE_WRAPPER=$root/.ci/checks/with_epochs.sh run_tests cargo test --workspace "${epochs_tests[@]}"
expect_tests "the build with epochs"
