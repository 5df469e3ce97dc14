#!/usr/bin/env python3
"""Sums up which lines of src/ the tests run, from the summary of cargo-llvm-cov.

usage: coverage.py PERCENT SUMMARY    fails below PERCENT
"""

import re
import sys

# Everything else in a summary is a file of src/, whose path the tool shortens.
OTHERS = re.compile(r"(benches|crates|fuzz|loom-tests|tests|examples)/")


def lines_by_file(summary):
    """Path, lines and missed lines of each file of src/."""
    for line in summary.splitlines():
        columns = line.split()
        if columns and re.match(r"[a-z].*\.rs$", columns[0]) and not OTHERS.match(columns[0]):
            yield columns[0], int(columns[7]), int(columns[8])


def main(wanted, path):
    with open(path, encoding="utf-8") as file:
        files = list(lines_by_file(file.read()))
    for name, lines, missed in files:
        if missed:
            print(f"{name:42} {lines:5} lines, {missed:3} missed")
    lines = sum(lines for _, lines, _ in files)
    if not lines:
        print("nothing was measured")
        return True
    percent = 100 - 100 * sum(missed for _, _, missed in files) / lines
    print(f"{percent:.2f} % of {lines} lines; at least {wanted} % are wanted")
    return percent < wanted


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(float(sys.argv[1]), sys.argv[2]))
