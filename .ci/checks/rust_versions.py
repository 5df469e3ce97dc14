#!/usr/bin/env python3
"""Checks that no dependency needs a newer Rust than the package above it states.

usage: rust_versions.py METADATA PACKAGE...    METADATA is the output of `cargo metadata`
"""

import json
import sys


def version(text):
    parts = [int(part) for part in (text or "0").split(".")]
    # 1.88 and 1.88.0 are the same.
    return tuple(parts + [0] * (3 - len(parts)))


def dependencies(metadata, start):
    """The ids of all packages that `start` is built from, itself among them."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    seen, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        for dependency in nodes[node]["deps"]:
            if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return seen


def findings(metadata, name):
    """What is wrong below the package `name`, and how many packages are below it."""
    packages = {package["id"]: package for package in metadata["packages"]}
    start = next(i for i in metadata["workspace_members"] if packages[i]["name"] == name)
    stated = packages[start]["rust_version"]
    below = dependencies(metadata, start)
    wrong = [
        f"{name} states Rust {stated}, but {package['name']} {package['version']} needs {package['rust_version']}"
        for package in sorted((packages[i] for i in below), key=lambda package: package["name"])
        if version(package["rust_version"]) > version(stated)
    ]
    if not wrong:
        print(f"{name}: {len(below) - 1} crates below it, none newer than Rust {stated}")
    return wrong


def main(path, names):
    with open(path, encoding="utf-8") as file:
        metadata = json.load(file)
    wrong = [line for name in names for line in findings(metadata, name)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
