"""A module without unsafe code forbids it, itself or through a module around it."""

import re

from _files import files, read

FORBIDS = re.compile(r"^#!\[forbid\(unsafe_code\)\]", re.MULTILINE)
# The root cannot forbid it, for some module below it has unsafe code.
ROOT = "src/lib.rs"


def has_unsafe(text):
    return re.search(r"\bunsafe\b", re.sub(r"//.*", "", text)) is not None


def check(root):
    texts = {path: read(root, path) for path in files(root, r"^src/.*\.rs$")}
    if not texts:
        yield "no file in src/"
    for path in texts.keys() - {ROOT}:
        # Not this file alone: a module cannot forbid what a module below it does.
        folder = path[: -len(".rs")] + "/"
        if any(has_unsafe(text) for other, text in texts.items() if other == path or other.startswith(folder)):
            continue
        parents = path[: -len(".rs")].split("/")
        around = ("/".join(parents[:length]) + ".rs" for length in range(2, len(parents) + 1))
        if not any(FORBIDS.search(texts.get(parent, "")) for parent in around):
            yield f"{path}: has no unsafe code and does not forbid it"


GOOD = [{
    "src/lib.rs": "mod a;\n",
    "src/a.rs": "//! A.\n#![forbid(unsafe_code)]\n",
    "src/a/b.rs": "fn f() {} // nothing unsafe\n",
    "src/c.rs": "mod d;\n",
    "src/c/d.rs": "unsafe fn f() {}\n",
}]
BAD = [
    {},
    {"src/a.rs": "fn f() {}\n"},
    {"src/a.rs": "// unsafe\n"},
    {"src/a.rs": "mod b;\n", "src/a/b.rs": "unsafe fn f() {}\n", "src/a/c.rs": "fn f() {}\n"},
]
