#!/usr/bin/env python3
"""Counts the instructions of each operation of the library, and compares them with those on record.

Fails if a count has risen by more than 3 % since it was recorded in benches/instructions/counts.json.
Counts of another compiler or another kind of machine are shown, and not compared.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORD = ROOT / "benches" / "instructions" / "counts.json"
OPERATIONS = ["hit", "miss", "insert", "evict", "replace", "remove"]
POLICIES = ["default", "sieve", "lru", "fifo"]
# How often an operation is run: enough for what happens only once in ten thousand times.
COUNT = 32_768
# By how many percent a count may differ from the one on record.
TOLERANCE = 3
# Functions or lines that are shown of each operation.
SHOWN = 40
TO_RECORD = "python3 .ci/checks/instructions.py --record"
RISEN, FALLEN, UNKNOWN = "HAS RISEN", "has fallen", "is not on record"

Profile = collections.namedtuple("Profile", "total functions lines")


def build():
    """Builds the program that runs the operations, and returns its path."""
    command = ["cargo", "build", "--profile", "profiling", "--package", "larder-instructions"]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "profiling" / "larder-instructions"


def environment():
    """What the counts depend on beside the code."""
    said = subprocess.run(["rustc", "-vV"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = said.splitlines()
    host = next(line.partition(": ")[2] for line in lines if line.startswith("host: "))
    return {"rustc": lines[0], "host": host}


def count(program, operation, policy):
    """The profile of an operation, counted by callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder) / "profile"
        command = [
            "valgrind", "--tool=callgrind", "--toggle-collect=larder_instructions::measured*",
            "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={profile}",
            program, operation, policy, str(COUNT),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}")
        found = read_profile(profile.read_text(encoding="utf-8", errors="replace").splitlines())
    # Each operation takes some; otherwise the function that is to be counted has another name.
    if found.total < COUNT:
        raise RuntimeError(f"{' '.join(map(str, command))}\ncounted {found.total} instructions")
    return found


def read_profile(lines):
    """Sums up callgrind's output: all instructions, those of each function, and those of each line.

    For each function these are its own instructions, and those with what it calls. `fl` names the file of a
    function, `fi` and `fe` those of what is inlined in it.
    """
    functions, places = collections.defaultdict(lambda: [0, 0]), collections.Counter()
    file = function = None
    is_call = False
    for line in lines:
        key, _, value = line.partition("=")
        if key in ("fl", "fi", "fe"):
            file = value
        elif key == "fn":
            function = value
        elif key == "calls":
            is_call = True
        elif line[:1].isdigit():
            number, cost = map(int, line.split()[:2])
            functions[function][1] += cost
            if not is_call:
                functions[function][0] += cost
                places[file, number] += cost
            is_call = False
    return Profile(sum(own for own, _ in functions.values()), functions, places)


def compare(counts, recorded):
    """A row for each count with the one on record, the change in percent, and what that means."""
    for name, now in counts.items():
        before = recorded.get(name)
        if before is None:
            yield name, None, now, None, UNKNOWN
            continue
        change = 100 * (now - before) / before
        verdict = RISEN if change > TOLERANCE else FALLEN if change < -TOLERANCE else ""
        yield name, before, now, change, verdict


def show(rows):
    print(f"{'operation':10}{'policy':10}{'recorded':>10}{'now':>10}{'change':>10}")
    for (operation, policy), before, now, change, verdict in rows:
        shown = ("", "") if before is None else (f"{before:.1f}", f"{change:+.1f} %")
        print(f"{operation:10}{policy:10}{shown[0]:>10}{now:>10.1f}{shown[1]:>10}  {verdict}".rstrip())


def judge(rows):
    """Says what is to be done about the rows, and returns whether a count has risen or is not on record."""
    verdicts = {verdict for *_, verdict in rows}
    if FALLEN in verdicts:
        print(f"some counts have fallen by more than {TOLERANCE} %; record that by: {TO_RECORD}")
    if UNKNOWN in verdicts:
        print(f"some counts are not on record; record them by: {TO_RECORD}")
    if RISEN in verdicts:
        print(f"some counts have risen by more than {TOLERANCE} %; --by-function and --by-line show where they are,")
        print(f"and if the rise is worth it, record it by: {TO_RECORD}")
    return bool(verdicts & {RISEN, UNKNOWN})


def read_record(text):
    """The environment of a record, and its counts by operation and policy."""
    record = json.loads(text)
    counts = {
        (operation, policy): number
        for operation, row in record["instructions"].items()
        for policy, number in row.items()
    }
    return record["environment"], counts


def write_record(made_in, counts):
    """The text of a record, with a line for each operation."""
    rows = collections.defaultdict(dict)
    for operation, policy in chosen([]):
        if (operation, policy) in counts:
            rows[operation][policy] = round(counts[operation, policy], 1)
    lines = ",\n".join(f"    {json.dumps(operation)}: {json.dumps(row)}" for operation, row in rows.items())
    return f'{{\n  "environment": {json.dumps(made_in)},\n  "instructions": {{\n{lines}\n  }}\n}}\n'


def show_functions(profile):
    print(f"{'own':>9}{'all':>9}  instructions of each operation, in")
    ranked = sorted(profile.functions.items(), key=lambda function: -function[1][0])
    for name, (own, with_callees) in ranked[:SHOWN]:
        print(f"{own / COUNT:9.1f}{with_callees / COUNT:9.1f}  {name}")


def show_lines(profile):
    print(f"{'own':>9}  instructions of each operation, in")
    texts = {}
    for (file, number), own in profile.lines.most_common(SHOWN):
        if file not in texts:
            path = ROOT / file
            texts[file] = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        text = texts[file][number - 1].strip() if 0 < number <= len(texts[file]) else ""
        print(f"{own / COUNT:9.1f}  {shortened(file)}:{number}  {text}")


def shortened(file):
    """The path of a file below the repository, the standard library or the crates' folder."""
    for folder in (f"{ROOT}/", "/library/", "/registry/src/"):
        file = file.rpartition(folder)[2]
    return file


def chosen(names):
    """The pairs of operation and policy that the names choose."""
    unknown = set(names) - set(OPERATIONS) - set(POLICIES)
    if unknown:
        sys.exit(f"neither an operation nor a policy: {', '.join(sorted(unknown))}")
    operations = [name for name in OPERATIONS if name in names] or OPERATIONS
    policies = [name for name in POLICIES if name in names] or POLICIES
    return [(operation, policy) for operation in operations for policy in policies]


def main(options):
    if shutil.which("valgrind") is None:
        print("valgrind is not there (Debian: apt-get install valgrind)")
        return True
    pairs = chosen(options.names)
    program = options.program or build()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        profiles = dict(zip(pairs, pool.map(lambda pair: count(program, *pair), pairs)))
    if options.by_function or options.by_line:
        for (operation, policy), profile in profiles.items():
            print(f"\n--- {operation}, {policy}: {profile.total / COUNT:.1f} instructions")
            (show_functions if options.by_function else show_lines)(profile)
        return False
    counts = {pair: profile.total / COUNT for pair, profile in profiles.items()}
    here, (there, recorded) = environment(), read_record(RECORD.read_text(encoding="utf-8"))
    rows = list(compare(counts, recorded if here == there else {}))
    show(rows)
    if options.record:
        # What was not counted now stays on record only if it was counted under the same conditions.
        merged = {**recorded, **counts} if here == there else counts
        RECORD.write_text(write_record(here, merged), encoding="utf-8")
        return False
    if here != there:
        print(f"SKIPPED: the comparison of counts: those on record are of {there}, and this is {here}")
        return False
    failed = judge(rows)
    print(f"what {TO_RECORD} would write:\n{write_record(here, {**recorded, **counts})}", end="")
    return failed


def parse():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="an operation or a policy to count; all if none is named"
    )
    parser.add_argument(
        "--program", type=pathlib.Path, metavar="PATH",
        help="a built larder-instructions; without this option, cargo builds one",
    )
    shows = parser.add_mutually_exclusive_group()
    shows.add_argument("--record", action="store_true", help="write the counts into the record")
    shows.add_argument(
        "--by-function", action="store_true",
        help="show in which functions the instructions are; what is inlined belongs to its caller",
    )
    shows.add_argument("--by-line", action="store_true", help="show in which lines they are, inlined or not")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(parse()))
