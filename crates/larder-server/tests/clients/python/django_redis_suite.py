"""django-redis' own tests, once for each of its settings that reaches the server in another way.

usage: django_redis_suite.py HOST:PORT SOCKET SOURCES, where nothing else uses the server; SOCKET is the path of
the server's Unix socket, or `-`; SOURCES is the unpacked source distribution, which brings the tests

Left out are sets and sorted sets, which a cache server has no need for, and settings that differ in nothing the
server sees (other compressors and serializers) or need Sentinel.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SETTINGS = ["sqlite", "sqlite_herd", "sqlite_json", "sqlite_zlib", "sqlite_sharding", "sqlite_usock"]
SETS = "sadd scard sdiff sinter interstore sismember smove spop srandmember srem sscan smismember sunion".split()
FILES = ["tests/test_backend.py", "tests/test_session.py"]
# Fewer tests than this for one setting means that they were renamed.
LEAST = 80


def prepare(folder, sources, address, socket):
    """A copy of the tests that names this server instead of the default one."""
    shutil.copytree(sources / "tests", folder / "tests")
    for path in (folder / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        changed = text.replace("127.0.0.1:6379", address).replace("/tmp/redis.sock", socket)
        path.write_text(changed, encoding="utf-8")


def main(address, socket, sources):
    settings = [name for name in SETTINGS if name != "sqlite_usock" or socket != "-"]
    if socket == "-":
        print("skipped: sqlite_usock: no Unix socket was given")
    with tempfile.TemporaryDirectory() as folder:
        prepare(pathlib.Path(folder), pathlib.Path(sources), address, socket)
        # Each setting has databases of its own and mostly waits for keys to expire, so all run at once.
        runs = {}
        for name in settings:
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-o", "addopts=", "-o",
                       "pythonpath=tests", f"--rootdir={folder}", *FILES, "-k",
                       f"[{name}] and not (" + " or ".join(f"test_{name}" for name in SETS) + ")"]
            runs[name] = subprocess.Popen(
                command, cwd=folder, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        total = dict.fromkeys(("passed", "failed", "skipped", "error"), 0)
        bad = False
        for name, process in runs.items():
            said = process.communicate()[0]
            print(f"== {name}\n{said}")
            last = said.strip().splitlines()[-1] if said.strip() else ""
            counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
            if counts.get("passed", 0) + counts.get("failed", 0) < LEAST:
                print(f"only {counts} tests ran with {name}")
                bad = True
            bad |= process.returncode != 0
            for what, number in counts.items():
                total[what] += number
    print(f"{total['passed']} passed, {total['failed'] + total['error']} failed, {total['skipped']} skipped")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
