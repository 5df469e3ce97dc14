# No fuzz target fails, each from its seeds and what earlier runs found, for a few seconds.
# Time limit: 1200 + 10 * fuzz_seconds

source .ci/tools.sh

if ! have_tool cargo-fuzz; then
    run cargo install cargo-fuzz --version "$(pinned_version cargo-fuzz)" --locked --root "$tools" \
        --target-dir "$tools/build"
fi
find_unstable
sanitizer=address
if ! has_sanitizer asan; then
    skip "AddressSanitizer under the fuzzer (this toolchain has none)"
    sanitizer=none
fi
# Reports name lines. A short run is mostly the building of what it runs: with the sanitizer, optimizing a target
# takes two thirds of the time that it takes to compile.
unset CARGO_PROFILE_RELEASE_DEBUG
((fuzz_seconds >= 60)) ||
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 RUSTC_WRAPPER=$root/.ci/checks/uninstrumented.sh
options=(--sanitizer "$sanitizer" --target-dir "$target/fuzz")

fuzz_target() {
    local name=$1 said status=0
    # What the fuzzer finds stays here, so that the next run goes on from it; fuzz/seeds is only read.
    local corpus=$work/corpus/$name seeds=fuzz/seeds/$name
    mkdir -p "$corpus"
    [[ ! -d $seeds ]] || cp -R "$seeds/." "$corpus/"
    # Its counters and dictionary are of no use to a reader; a crash is printed in full. The timeout is
    # by the clock on the wall: against an input that hangs, not a machine that is held up.
    said=$(
        echo "--- $name from $(find "$corpus" -type f | wc -l) inputs, $fuzz_seconds s"
        [[ -d $seeds ]] || echo "note: $seeds is not there, so it starts from what earlier runs found"
        run "${unstable[@]}" fuzz run "${options[@]}" "$name" "$corpus" -- \
            -max_total_time="$fuzz_seconds" -timeout=120 -rss_limit_mb=4096 -print_final_stats=1 2>&1 |
            sed -E -e '/^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse|RELOAD)|^[[:space:]]*NEW_FUNC/d' \
                -e '/^###### Recommended dictionary/,/^###### End of/d'
    ) || status=$?
    printf '%s\n' "$said"
    return "$status"
}

run "${unstable[@]}" fuzz build "${options[@]}"
mapfile -t names < <("${unstable[@]}" fuzz list)
((${#names[@]} > 0)) || die "no fuzz target"
# As many at a time as there are cores; each prints its output when it has ended.
cores=$(getconf _NPROCESSORS_ONLN) || cores=1
failed= pids=()
for name in "${names[@]}"; do
    while (($(jobs -rp | wc -l) >= cores)); do wait -n || failed=yes; done
    fuzz_target "$name" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
[[ -z $failed ]] || die "a fuzz target failed"
