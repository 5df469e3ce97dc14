# Some test notices each change that cargo-mutants makes in the files of LARDER_MUTANTS.
# Time limit: 0

source .ci/tests.sh

if ! command -v cargo-mutants >/dev/null; then
    run cargo install cargo-mutants --version 27.1.0 --locked --root "$tools" --target-dir "$tools/build"
fi
read -ra chosen <<<"${LARDER_MUTANTS:-$mutants_files}"
options=()
for word in "${chosen[@]}"; do
    if [[ -e $word ]]; then options+=(--file "$word"); else options+=("$word"); fi
done
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
run cargo mutants --package larder --timeout 240 --no-shuffle --output "$work" "${options[@]}" -- "${mutants_tests[@]}" \
    -- --skip linearizability::
