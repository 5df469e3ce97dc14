"""Django's own tests of its Redis cache, its memcached cache and the sessions kept in a cache.

usage: django_suite.py HOST:PORT MEMCACHED_HOST:PORT SOURCES, where nothing else uses the server; SOURCES is the
unpacked source distribution of the Django that is installed, which brings its tests
"""

import os
import pathlib
import re
import subprocess
import sys

import django

HERE = pathlib.Path(__file__).resolve().parent
# Most of a test class is waiting for keys to expire, so the classes of each protocol run side by side. Those of
# one protocol share a server, which they empty.
LANES = {
    "redis": [
        "cache.tests.RedisCacheTests",
        "sessions_tests.tests.CacheSessionTests",
        "sessions_tests.tests.CacheDBSessionTests",
    ],
    "memcached": ["cache.tests.PyMemcacheCacheTests"],
}
# Fewer tests than this means that the classes above were renamed, or that they found no server in the settings.
LEAST = {"redis": 150, "memcached": 60}


def count(said):
    """How many tests ran, failed and were skipped, as the runner's last lines say."""
    ran = re.search(r"^Ran (\d+) tests?", said, re.MULTILINE)
    numbers = {name: int(number) for name, number in re.findall(r"(failures|errors|skipped|successes)=(\d+)", said)}
    failed = sum(numbers.get(name, 0) for name in ("failures", "errors", "successes"))
    return int(ran[1]) if ran else 0, failed, numbers.get("skipped", 0)


def main(redis, memcached, sources):
    tests = pathlib.Path(sources).resolve() / "tests"
    print(f"Django {django.get_version()}, tests in {tests}")
    environment = os.environ | {
        "LARDER_REDIS": redis,
        "LARDER_MEMCACHED": memcached,
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    runs = {}
    for lane, labels in LANES.items():
        command = [sys.executable, "runtests.py", "--settings=django_settings", "--parallel=1", *labels]
        runs[lane] = subprocess.Popen(
            command, cwd=tests, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    total = [0, 0, 0]
    bad = False
    for lane, process in runs.items():
        said = process.communicate()[0]
        print(f"== {lane}\n{said}")
        ran, failed, skipped = count(said)
        if ran < LEAST[lane]:
            print(f"only {ran} tests ran")
            bad = True
        bad |= process.returncode != 0 or failed > 0
        total = [total[0] + ran - failed - skipped, total[1] + failed, total[2] + skipped]
    print("{} passed, {} failed, {} skipped".format(*total))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
