#!/usr/bin/env python3
"""Makes changes that models must notice, and sees whether they do.

usage: weaken.py COPY TARGET [WORD...]    makes each change in COPY, with builds in TARGET, and runs its
                                          model; with words, only those whose description has one

The changes stand in loom-tests/weakenings.toml. That each can be made is a rule (.ci/rules/weakenings.py).
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIED = ["Cargo.toml", "Cargo.lock", "src", "tests", "examples", "loom-tests", "crates", "benches"]
SECONDS = 300


def weakenings(root=ROOT):
    with open(root / "loom-tests/weakenings.toml", "rb") as file:
        return tomllib.load(file)["weakening"]


def weakened(weakening, root=ROOT):
    """The text of the file after the change. Raises ValueError if the change cannot be made."""
    text = (root / weakening["file"]).read_text()
    for edit in [weakening, *weakening.get("also", [])]:
        times = text.count(edit["from"])
        if times != 1:
            raise ValueError(f"{weakening['what']}: {weakening['file']} has {times} times: {edit['from']}")
        text = text.replace(edit["from"], edit["to"])
    return text


def fails(copy, target, path):
    """Whether the model fails; None if it could not be built."""
    test, model = path.split("::")
    environment = os.environ | {
        "RUSTFLAGS": "--cfg larder_loom --cfg crossbeam_loom -A warnings",
        "LOOM_MAX_PREEMPTIONS": "3",
        "CARGO_TARGET_DIR": target,
        "RUST_BACKTRACE": "0",
    }
    cargo = ["cargo", "test", "--release", "--package", "loom-tests", "--test", test]
    built = subprocess.run([*cargo, "--no-run"], cwd=copy, env=environment, capture_output=True, text=True)
    if built.returncode:
        print(built.stderr[-2000:])
        return None
    command = [*cargo, "--", "--exact", model]
    try:
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return True  # it hangs, where it ended before
    return ran.returncode != 0


def run(copy, target, words):
    copy = pathlib.Path(copy)
    shutil.rmtree(copy, ignore_errors=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            # With new times: cargo would take what an earlier run built of a changed file for up to date.
            ignored = shutil.ignore_patterns("target")
            shutil.copytree(source, copy / name, ignore=ignored, copy_function=shutil.copy)
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    chosen = [it for it in weakenings() if not words or any(word in it["what"] for word in words)]
    # A model that fails without the change notices nothing.
    for model in sorted({it["model"] for it in chosen}):
        if fails(copy, target, model) is not False:
            sys.exit(f"{model} fails without any change")
    unnoticed = 0
    for weakening in chosen:
        path = copy / weakening["file"]
        path.write_text(weakened(weakening))
        outcome = fails(copy, target, weakening["model"])
        path.write_text((ROOT / weakening["file"]).read_text())
        said = {True: "noticed", False: "NOT NOTICED", None: "CANNOT BE BUILT"}[outcome]
        unnoticed += outcome is not True
        print(f"{said}: {weakening['what']} ({weakening['model']})", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} weakenings noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1], sys.argv[2], sys.argv[3:]))
