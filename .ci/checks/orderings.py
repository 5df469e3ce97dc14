#!/usr/bin/env python3
"""Writes loom-tests/ORDERINGS.md, the list of weakenings for readers, from loom-tests/weakenings.toml.

usage: orderings.py            writes the list
       orderings.py --check    fails if the list is not what would be written
"""

import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = "loom-tests/weakenings.toml"
LIST = "loom-tests/ORDERINGS.md"
STALE = f"{LIST} is stale: run python3 .ci/checks/orderings.py"

HEAD = """\
<!-- Made by `python3 .ci/checks/orderings.py` from weakenings.toml. Edit that file, not this one. -->

# What the models must notice

Each row is a change that makes the library wrong: an atomic ordering that is weaker than it has to be, or
a check that is left out. The model beside it fails once the change is made. `.ci/run weakenings` makes the
changes one at a time, in a copy, and runs the models; [README.md](README.md) says more.
"""


def cell(text):
    return text.replace("|", "\\|")


def rendered(root):
    with open(root / SOURCE, "rb") as file:
        weakenings = tomllib.load(file)["weakening"]
    by_test = {}
    for weakening in weakenings:
        by_test.setdefault(weakening["model"].split("::")[0], []).append(weakening)
    lines = [HEAD, f"There are {len(weakenings)}, by the file of their model.\n"]
    for test, rows in by_test.items():
        lines += [f"## [{test}.rs](tests/{test}.rs)\n", "| change | in | model that fails |", "|---|---|---|"]
        for row in rows:
            file, model = row["file"], row["model"].split("::")[1]
            lines.append(f"| {cell(row['what'])} | [{file.removeprefix('src/')}](../{file}) | `{model}` |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def is_fresh(root):
    path = root / LIST
    return path.is_file() and path.read_text(encoding="utf-8") == rendered(root)


def main(arguments):
    if arguments == []:
        (ROOT / LIST).write_text(rendered(ROOT), encoding="utf-8")
    elif arguments != ["--check"]:
        sys.exit(__doc__)
    elif not is_fresh(ROOT):
        sys.exit(STALE)


if __name__ == "__main__":
    main(sys.argv[1:])
