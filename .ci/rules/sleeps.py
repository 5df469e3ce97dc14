"""Nothing sleeps: tests wait on a barrier or step the fake clock, and threads wait for each other."""

import re

from _files import files, matching

# The one place that waits for user code, where it is not known how long that will take.
EXEMPT = r"^src/base/sync\.rs$"


def check(root):
    paths = files(root, r"^(src|tests|loom-tests|crates|examples)/.*\.rs$")
    return matching(root, [path for path in paths if not re.search(EXEMPT, path)], r"thread::sleep")


GOOD = [{"tests/a.rs": "clock.advance(second);\n", "src/base/sync.rs": "std::thread::sleep(a);\n"}]
BAD = [
    {"tests/a.rs": "std::thread::sleep(second);\n"},
    {"crates/a/src/b.rs": "use std::thread::sleep;\n"},
    {"src/cache/sync.rs": "thread::sleep(a);\n"},
]
