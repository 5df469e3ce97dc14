# The program runs by the command that README shows, its JSON is sane, and every example runs.
# Time limit: 900

build_faster
command=$(readme_command "cargo run")
[[ -n $command ]] || die "README.md shows no command 'cargo run' in a fence"
output=$work/main.out
run bash -c "$command" >"$output" || die "it failed after printing: $(tail -n 20 "$output")"
head -n 8 "$output"
echo "... $(wc -l <"$output") lines in all"
[[ -s $output ]] || die "it printed nothing"

run "$target/release/larder" --quiet --json --policies lru,s3_fifo --capacities 1%,10% >"$output"
run python3 .ci/checks/replays.py "$output" 4

# The features are those of the whole workspace, as in the step test, which has built the examples, and which
# runs examples/service: that is a crate with a test of its own.
run cargo build --workspace --examples
for example in examples/*.rs crates/*/examples/*.rs; do
    run "$target/debug/examples/$(basename "$example" .rs)"
done
