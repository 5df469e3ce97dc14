"""The Rust code of README.md runs with the documentation tests."""

import re

from _files import files, read


def check(root):
    readme = "".join(read(root, path) for path in files(root, r"^README\.md$"))
    if not re.search(r"^```rust", readme, re.MULTILINE):
        return
    if not any(re.search(r"include_str!\(.*README\.md", read(root, path)) for path in files(root, r"^src/.*\.rs$")):
        yield "README.md has Rust code that no doc test runs"


GOOD = [
    {"README.md": "```rust\n```\n", "src/lib.rs": '#[doc = include_str!("../README.md")]\nstruct A;\n'},
    {"README.md": "```sh\n```\n", "src/lib.rs": "mod a;\n"},
]
BAD = [{"README.md": "```rust\n```\n", "src/lib.rs": "// README.md\nmod a;\n"}]
