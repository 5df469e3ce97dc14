# Redis's own tests of the commands that larder has pass against `larder serve`.
# Time limit: 1200

said=$work/redis.said
# With an example, the features are those of the step test, which has built all of this.
run cargo build --workspace --bin larder --example configuration
LARDER_SERVER=$target/debug/larder run bash .ci/checks/redis_tests.sh | tee "$said"
if left_out=$(grep '^SKIPPED: ' "$said"); then
    skip "${left_out#SKIPPED: }"
fi
