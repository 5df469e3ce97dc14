# The test binaries that steps name, in one place. `test` runs all of them.

# What depends on how readers pin.
epochs_tests=(--test reclamation --test fork --test fork_inline)
# What a short run has under AddressSanitizer: the arguments of one `cargo test` each.
sanitized_runs=("--test sanitize --test reclamation")
# The stress: a binary with a main of its own.
stress_test=(--test sanitize)
# The tests that try mutants, and the files whose mutants they try if no others are named.
mutants_tests=(--lib --test it --test verbs --test loads)
mutants_files="src/table/list.rs src/buffer/write_buffer.rs src/engine/run.rs"
