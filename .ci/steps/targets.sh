# The library compiles without warnings for other systems, except for what needs a C compiler for them.
# Time limit: 600

for other in x86_64-pc-windows-gnu aarch64-apple-darwin i686-unknown-linux-gnu; do
    if command -v rustup >/dev/null && rustup target add "$other" >/dev/null 2>&1; then
        RUSTFLAGS="-D warnings" run cargo check --package larder --target "$other" \
            --features bincode,json,postcard,async,memory_pressure,quick,tokio,macros --target-dir "$target/by-target"
    else
        skip "$other (its standard library cannot be had)"
    fi
done
