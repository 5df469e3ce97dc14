#!/usr/bin/env python3
"""Runs the rules of this folder.

usage: run.py [NAME...]    all rules, or those named; run.py --list says what each one checks

A rule is a file with:
    check(root)   gives the findings in the tree below `root`, one string each
    GOOD, BAD     examples, each a dictionary of texts by path: the rule must find nothing in any of
                  GOOD and something in each of BAD. They are tried on every run, before the tree.
"""

import importlib
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))


def names():
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "run")


def findings_in(rule, example):
    """What the rule finds in a tree that has the example's files alone."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in example.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return list(rule.check(root))


def broken(name, rule):
    """What is wrong with the rule itself."""
    if not rule.__doc__ or not rule.GOOD or not rule.BAD:
        yield f"{name}: a rule has a head, good examples and bad ones"
    for example in rule.GOOD:
        for finding in findings_in(rule, example):
            yield f"{name}: finds something in a good example: {finding}"
    for number, example in enumerate(rule.BAD, 1):
        if not findings_in(rule, example):
            yield f"{name}: finds nothing in its bad example {number}: {example}"


def main(chosen):
    root = FOLDER.parent.parent
    unknown = set(chosen) - set(names())
    if unknown:
        sys.exit(f"no rule {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    bad = False
    for name in chosen or names():
        rule = importlib.import_module(name)
        unfit = getattr(rule, "unfit", lambda: None)()
        if unfit:
            print(f"{name}: skipped, {unfit}")
            continue
        wrong = list(broken(name, rule))
        found = [] if wrong else list(rule.check(root))
        for line in wrong + found:
            print(f"  {line}")
        outcome = "broken" if wrong else f"{len(found)} findings" if found else "ok"
        print(f"{name}: {outcome}: {rule.__doc__.splitlines()[0]}")
        bad |= bool(wrong or found)
    return bad


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        for name in names():
            print(f"{name}: {importlib.import_module(name).__doc__.splitlines()[0]}")
        sys.exit()
    if any(word.startswith("-") for word in sys.argv[1:]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
