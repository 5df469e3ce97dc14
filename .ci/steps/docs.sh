# The documentation builds without warnings, for users and for maintainers.
# Time limit: 600

RUSTDOCFLAGS="-D warnings" run cargo doc --workspace --no-deps --features larder-store/redb
# In a folder of its own, since it would overwrite the pages for users.
RUSTDOCFLAGS="-D warnings" run cargo doc --package larder --no-deps --document-private-items \
    --target-dir "$target/private-docs"
