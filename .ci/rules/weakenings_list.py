"""loom-tests/ORDERINGS.md is what .ci/checks/orderings.py makes of loom-tests/weakenings.toml."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "checks"))


def unfit():
    """Why the rule cannot be checked here, if so."""
    return "no python3 of 3.11 or later" if sys.version_info < (3, 11) else None


def check(root):
    import orderings

    if not orderings.is_fresh(root):
        yield orderings.STALE


WEAKENINGS = """[[weakening]]
what = "the mask, acquire -> relaxed"
file = "src/a.rs"
from = "Acquire"
to = "Relaxed"
model = "m::holds"
"""
BAD = [
    {"loom-tests/weakenings.toml": WEAKENINGS},
    {"loom-tests/weakenings.toml": WEAKENINGS, "loom-tests/ORDERINGS.md": "# Another list\n"},
]


def _fresh():
    """What the script makes of them, here and there, as long as it can be run."""
    if unfit():
        return ""
    import tempfile

    import orderings

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "loom-tests").mkdir()
        (root / "loom-tests/weakenings.toml").write_text(WEAKENINGS, encoding="utf-8")
        return orderings.rendered(root)


GOOD = [{"loom-tests/weakenings.toml": WEAKENINGS, "loom-tests/ORDERINGS.md": _fresh()}]
