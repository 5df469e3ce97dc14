# All Rust code, fuzz/ included, is formatted as .rustfmt.toml says.
# Time limit: 60

run cargo fmt --all -- --check --color never
run cargo fmt --manifest-path fuzz/Cargo.toml -- --check --color never
