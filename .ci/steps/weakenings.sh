# Some model notices each change of loom-tests/weakenings.toml; they are made one at a time, in a copy.
# Time limit: 0

if has_toml; then
    run python3 .ci/weaken.py "$work/weakened" "$target/weakened"
else
    skip "weakenings (no python3 of 3.11 or later)"
fi
