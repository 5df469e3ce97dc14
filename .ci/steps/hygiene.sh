# What STYLE asks for and neither rustfmt nor clippy sees: the rules of .ci/rules, and spelling. Also
# the tests of CI's own programs.
# Time limit: 300

source .ci/tools.sh

bad=0
run python3 .ci/checks/test.py || bad=1
run python3 .ci/rules/run.py || bad=1
has_toml || skip "whether weakenings can still be made (no python3 of 3.11 or later)"
if have_tool typos; then
    run typos || bad=1
else
    skip "spelling (no typos)"
fi
((bad == 0))
