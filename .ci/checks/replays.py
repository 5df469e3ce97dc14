#!/usr/bin/env python3
"""Checks that the program's JSON holds replays with sane hit ratios.

usage: replays.py JSON NUMBER    the file, and how many replays it should hold
"""

import json
import sys


def findings(output, number):
    replays = output["traces"][0]["replays"]
    if len(replays) != number:
        return [f"{len(replays)} replays instead of {number}"]
    return [
        f"not sane: {replay}"
        for replay in replays
        if not 0 < replay["hit_ratio"] < 1 or replay["hits"] > replay["requests"]
    ]


def main(path, number):
    with open(path, encoding="utf-8") as file:
        wrong = findings(json.load(file), number)
    print("\n".join(wrong) or f"its JSON holds {number} replays with sane hit ratios")
    return bool(wrong)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
