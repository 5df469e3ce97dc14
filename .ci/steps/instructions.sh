# No operation takes over 3 % more instructions than are on record in benches/instructions/counts.json.
# Time limit: 900

source .ci/tools.sh

install_packages valgrind || echo "valgrind cannot be installed"
if ! command -v valgrind >/dev/null; then
    skip "counting instructions (no valgrind)"
    exit 0
fi
said=$work/$step.said
run python3 .ci/checks/instructions.py | tee "$said"
if left_out=$(grep '^SKIPPED: ' "$said"); then
    skip "${left_out#SKIPPED: }"
fi
