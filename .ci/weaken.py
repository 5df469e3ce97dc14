#!/usr/bin/env python3
"""Makes changes that models must notice, and sees whether they do.

usage: weaken.py check              each change can be made, and names a model that there is
       weaken.py run COPY TARGET    makes each in COPY, with builds in TARGET, and runs its model
       weaken.py run COPY TARGET WORD...    those alone whose description has one of the words
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


def weakenings():
    with open(ROOT / "loom-tests/weakenings.toml", "rb") as file:
        return tomllib.load(file)["weakening"]


def weakened(weakening):
    """The text of the file after the change."""
    text = (ROOT / weakening["file"]).read_text()
    for edit in [weakening, *weakening.get("also", [])]:
        times = text.count(edit["from"])
        if times != 1:
            sys.exit(f"{weakening['what']}: {weakening['file']} has {times} times: {edit['from']}")
        text = text.replace(edit["from"], edit["to"])
    return text


def check():
    for weakening in weakenings():
        weakened(weakening)
        test, model = weakening["model"].split("::")
        if f"fn {model}()" not in (ROOT / f"loom-tests/tests/{test}.rs").read_text():
            sys.exit(f"{weakening['what']}: no model {weakening['model']}")
    print(f"{len(weakenings())} weakenings can be made")


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
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("target"))
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy / name)
    chosen = [it for it in weakenings() if not words or any(word in it["what"] for word in words)]
    # A model that fails anyhow notices nothing.
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


match sys.argv[1:]:
    case ["check"]:
        check()
    case ["run", copy, target, *words]:
        sys.exit(run(copy, target, words))
    case _:
        sys.exit(__doc__)
