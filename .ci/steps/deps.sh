# The lock files are up to date; the library has the dependencies it is to have; none of them needs a
# newer Rust than we state; licences, bans and sources are as .deny.toml says.
# Time limit: 900

source .ci/tools.sh

# Before any other build could mend a stale lock file unseen.
for folder in . fuzz crates/larder-python; do
    run cargo metadata --locked --format-version 1 --manifest-path "$folder/Cargo.toml" >/dev/null ||
        die "$folder/Cargo.lock is missing or stale: commit the one that cargo makes"
done

wanted="ahash crossbeam-epoch crossbeam-utils"
found=$(cargo tree --locked --package larder --edges normal --depth 1 --prefix none --format '{p}' |
    tail -n +2 | cut -d' ' -f1 | sort | xargs)
echo "larder depends on: $found"
[[ $found == "$wanted" ]] || die "larder's dependencies are to be: $wanted"

cargo metadata --locked --format-version 1 --filter-platform "$(host_triple)" >"$work/metadata.json"
# Clippy checks our code against `rust-version`; this checks what we depend on.
run python3 .ci/checks/rust_versions.py "$work/metadata.json" larder larder-cli larder-macros larder-near larder-server larder-store

if have_tool cargo-deny; then
    run cargo deny --locked check licenses bans sources
    for folder in fuzz crates/larder-python; do
        run cargo deny --locked --manifest-path "$folder/Cargo.toml" --config .deny.toml \
            check licenses bans sources
    done
else
    skip "licences, bans and sources (no cargo-deny)"
fi
