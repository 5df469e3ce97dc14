"""Django's own tests of its Redis cache and of sessions in it, or of its memcached cache.

usage: django_suite.py redis|memcached HOST:PORT SOURCES, where nothing else uses the server; SOURCES is the unpacked
source distribution of the Django that is installed, which brings its tests
"""

import os
import pathlib
import re
import subprocess
import sys

import django

HERE = pathlib.Path(__file__).resolve().parent
LABELS = {
    "redis": [
        "cache.tests.RedisCacheTests",
        "sessions_tests.tests.CacheSessionTests",
        "sessions_tests.tests.CacheDBSessionTests",
    ],
    "memcached": ["cache.tests.PyMemcacheCacheTests"],
}
# Fewer tests than this means that the classes above were renamed, or that the settings name no server.
LEAST = {"redis": 150, "memcached": 50}


def count(said):
    """How many tests ran, failed and were skipped, as the runner's last lines say."""
    ran = re.search(r"^Ran (\d+) tests?", said, re.MULTILINE)
    numbers = {name: int(number) for name, number in re.findall(r"(failures|errors|skipped|successes)=(\d+)", said)}
    failed = sum(numbers.get(name, 0) for name in ("failures", "errors", "successes"))
    return int(ran[1]) if ran else 0, failed, numbers.get("skipped", 0)


def main(protocol, address, sources):
    tests = pathlib.Path(sources).resolve() / "tests"
    print(f"Django {django.get_version()}, tests in {tests}", flush=True)
    environment = os.environ | {
        f"LARDER_{protocol.upper()}": address,
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "runtests.py", "--settings=django_settings", "--parallel=1", *LABELS[protocol]]
    done = subprocess.run(
        command, cwd=tests, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout)
    ran, failed, skipped = count(done.stdout)
    passed = ran - failed - skipped
    if ran < LEAST[protocol]:
        print(f"only {ran} tests ran")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if done.returncode or failed or ran < LEAST[protocol] else 0)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in LABELS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
