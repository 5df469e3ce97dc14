# What .ci/run and its steps share. A step runs in a shell of its own, with `set -euo pipefail`, from the
# root of the repository; `$step` is its name.

root=$PWD
fuzz_seconds=${LARDER_FUZZ_SECONDS:-4}
loom_preemptions=${LARDER_LOOM_PREEMPTIONS:-3}
sanitize_rounds=${LARDER_SANITIZE_ROUNDS:-1}

# Flags are set by the step that needs them, which has a target directory of its own for what it builds.
unset RUSTFLAGS RUSTDOCFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_ENCODED_RUSTDOCFLAGS CARGO_BUILD_TARGET
export RUSTUP_AUTO_INSTALL=0 # a toolchain that is not there is a skip, not a download
# Tests let user code panic thousands of times; a backtrace for each makes some of them ten times as long.
export RUST_BACKTRACE=0
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
export CARGO_TARGET_DIR=$target
# In a fresh checkout nothing was built that a build could add to, and nobody reads backtraces, so what
# serves them would only take time. At a desk it is otherwise.
if [[ -n ${CI-} || ! -d $target ]]; then
    export CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0
    export LARDER_CI_OPT_LEVEL=1
fi
work=$target/ci
tools=$target/tools
[[ :$PATH: == *":$tools/bin:"* ]] || export PATH=$tools/wheels/bin:$tools/bin:$PATH

# For steps whose programs need not be fast: in a fresh checkout, optimizing them in full would take more time
# than it saves. At a desk, the next measurement expects a program below target/release that is fast.
build_faster() {
    [[ -z ${LARDER_CI_OPT_LEVEL-} ]] || export CARGO_PROFILE_RELEASE_OPT_LEVEL=$LARDER_CI_OPT_LEVEL
}

die() {
    echo "error: $*"
    exit 1
}

# Everything in the workspace, for steps that look at the code without building it. They have a folder of their own,
# so that they need not wait for builds, and one finds there what the other has checked. Nothing is linked in it, so
# the C code of dependencies need not be compiled either.
whole_workspace=(--workspace --target-dir "$target/lint"
    --features larder-benches/mimalloc,larder-benches/peers,larder-near-peers/peers,larder-store/redb)
without_c=(env CC=true CXX=true AR=true CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a)

# Says what is left out, now and again in the summary.
skip() {
    echo "SKIPPED: $*"
    echo "$step: $*" >>"$work/skipped"
}

# Shows a command and runs it.
run() {
    echo "\$ $*" >&2
    "$@"
}

# The first line in README's fences that begins with $1, so that CI runs what README promises.
readme_command() {
    awk -v start="$1" '
        /^```/ { fenced = !fenced; next }
        fenced { sub(/^\$ /, ""); sub(/[ \t]+#.*$/, ""); sub(/[ \t]+$/, "") }
        fenced && index($0 " ", start " ") == 1 { print; exit }
    ' README.md
}

# Runs tests, and keeps what they print in $said for checks that follow.
run_tests() {
    said=$work/$step.out
    run "$@" 2>&1 | tee "$said"
}

# Whether the last `run_tests` ran a test.
expect_tests() {
    awk '/^test result:/ { sum += $4 } END { exit !sum }' "$said" || die "$1 ran no test"
}

# From 3.11 on, Python reads TOML.
has_toml() {
    python3 -c 'import tomllib' 2>/dev/null
}

host_triple() {
    rustc -vV | sed -n 's/^host: //p'
}
