# Clippy has nothing to say: of the workspace with all its targets, of the models, of the fuzz targets.
# Time limit: 1500

run "${without_c[@]}" cargo clippy "${whole_workspace[@]}" --all-targets -- -D warnings
# The models leave out the upper layers, and with them the users of many functions.
RUSTFLAGS="--cfg larder_loom --cfg crossbeam_loom -A dead_code" run cargo clippy --package loom-tests --all-targets \
    --target-dir "$target/loom-clippy" -- -D warnings
run "${without_c[@]}" cargo clippy --manifest-path fuzz/Cargo.toml \
    --all-targets --target-dir "$target/lint" -- -D warnings
