# Nothing is read after it was freed, leaked or raced for: AddressSanitizer with LeakSanitizer in it, and
# ThreadSanitizer, which has nothing but the stress of tests/sanitize.rs.
# Time limit: 1500

source .ci/tools.sh
source .ci/tests.sh

# Reports name lines.
unset CARGO_PROFILE_DEV_DEBUG
find_unstable
# Optimized a little, since sanitizers slow down what is slow already. In few parts and without
# optimization across them, which took a third of the time that a test binary takes to compile.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_TEST_OPT_LEVEL=1
export CARGO_PROFILE_DEV_CODEGEN_UNITS=4 CARGO_PROFILE_TEST_CODEGEN_UNITS=4
export CARGO_PROFILE_DEV_LTO=off CARGO_PROFILE_TEST_LTO=off
# Most of what the library's tests depend on hardly runs here.
unoptimized=(--config 'profile.dev.package."*".opt-level=0')

# Runs tests of the library under the flags $1; the rest is for cargo. `--package larder` alone: the
# library under test has no dev-dependency to instrument.
sanitized() {
    RUSTFLAGS=$1 run_tests "${unstable[@]}" test "${unoptimized[@]}" --target "$(host_triple)" --package larder \
        --target-dir "$target/by-target" "${@:2}"
}

# tests/sanitize.rs has a main of its own and says `ok` at its end. Under libtest's main, if it lost its
# `harness = false`, it would pass without running.
has_stressed() {
    grep -qx ok "$said"
}

if has_sanitizer asan; then
    echo "--- AddressSanitizer, with LeakSanitizer in it"
    ((sanitize_rounds == 1)) || sanitized_runs=("--lib --tests")
    export LSAN_OPTIONS="suppressions=$root/.ci/leaks.txt:print_suppressions=0"
    stressed=
    for tests in "${sanitized_runs[@]}"; do
        read -ra arguments <<<"$tests"
        # It sees each entry come and go only if each has an allocation of its own.
        sanitized "-Zsanitizer=address --cfg larder_malloc" "${arguments[@]}"
        expect_tests AddressSanitizer
        ! has_stressed || stressed=yes
    done
    [[ -n $stressed ]] || die "tests/sanitize.rs did not say ok"
else
    skip "AddressSanitizer (this toolchain has none)"
fi

if has_sanitizer tsan; then
    export TSAN_OPTIONS="suppressions=$root/tests/thread-sanitizer.txt"
    for ((round = 1; round <= sanitize_rounds; round++)); do
        echo "--- ThreadSanitizer, $round of $sanitize_rounds"
        sanitized "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" "${stress_test[@]}"
        has_stressed || die "tests/sanitize.rs did not say ok"
    done
else
    skip "ThreadSanitizer (this toolchain has none)"
fi
