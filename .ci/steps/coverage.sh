# The tests run at least 95 % of the lines of src/. Those of the documentation's examples do not count.
# Time limit: 2400

source .ci/tools.sh

have_tool cargo-llvm-cov || { skip "cargo-llvm-cov is not there"; exit 0; }
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
for tool in cov profdata; do
    if ! command -v "llvm-$tool-$major" >/dev/null; then
        skip "llvm-$tool-$major is not there (Debian: apt-get install llvm-$major)"
        exit 0
    fi
done
export LLVM_COV=llvm-cov-$major LLVM_PROFDATA=llvm-profdata-$major
export CARGO_TARGET_DIR=$target/coverage
run cargo llvm-cov --no-report test --workspace --exclude loom-tests
# Some tests kill the processes that they have started, which leave half a profile.
run cargo llvm-cov report --failure-mode all --summary-only 2>/dev/null >"$work/coverage.txt"
run python3 .ci/checks/coverage.py 95 "$work/coverage.txt"
