# The documentation builds without warnings, for users and for maintainers.
# Time limit: 600

export RUSTDOCFLAGS="-D warnings"
run "${without_c[@]}" cargo doc "${whole_workspace[@]}" --no-deps
run "${without_c[@]}" cargo doc --package larder --no-deps --document-private-items --target-dir "$target/lint"
