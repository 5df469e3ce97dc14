#!/usr/bin/env python3
"""Compares hit ratios of the program with the reference beside the recorded traces.

usage: reference.py PROGRAM TRACES    TRACES is a folder with reference.tsv and the traces
"""

import csv
import json
import pathlib
import subprocess
import sys

NAMES = ["loop", "sprite"]
CAPACITIES = ["100", "750", "1000"]
# What the program calls each policy, and the column of the reference. The first three are exact.
POLICIES = {"lru": "lru", "fifo": "fifo", "sieve": "sieve", "lfu": "lfu", "s3_fifo": "s3fifo"}
EXACT = {"lru", "fifo", "sieve"}


def reference(lines):
    """The rows of the reference that are compared, by trace and capacity."""
    rows = csv.DictReader(lines, delimiter="\t")
    return {
        (row["trace"], row["capacity"]): row
        for row in rows
        if row["trace"] in NAMES and row["capacity"] in CAPACITIES
    }


def percent(output):
    """The hit ratio of the only replay, as the reference writes it."""
    (trace,) = json.loads(output)["traces"]
    (replay,) = trace["replays"]
    return f"{100 * replay['hit_ratio']:.2f}"


def replay(program, trace, policy, capacity):
    options = ["--policies", policy, "--capacities", capacity, "--threads", "1"]
    options += ["--maintenance", "inline", "--partitions", "1"]
    command = [program, "replay", str(trace), "--quiet", "--json", *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def differs(policy, found, wanted):
    return policy in EXACT and found != wanted


def main(program, traces):
    with open(traces / "reference.tsv", encoding="utf-8") as file:
        rows = reference(file)
    wrong = not rows
    for (name, capacity), row in rows.items():
        for policy, column in POLICIES.items():
            found = percent(replay(program, traces / f"{name}.u32.gz", policy, capacity))
            bad = differs(policy, found, row[column])
            wrong |= bad
            print(f"{name:8} {capacity:>5}  {policy:8} {found:>6} %  reference {row[column]}", end="")
            print("  DIFFERS" if bad else "")
    print(f"{len(rows)} rows of the reference compared")
    return wrong


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2])))
