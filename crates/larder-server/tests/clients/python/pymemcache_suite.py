"""pymemcache's own integration tests, which its wheel brings, without those that need TLS or that change how
much memory memcached takes (`cache_memlimit`, in `test_misc`).

usage: pymemcache_suite.py MEMCACHED_HOST:PORT, where nothing else uses the server
"""

import pathlib
import re
import subprocess
import sys

import pymemcache

import harness

HOST, PORT = harness.address()
# Fewer tests than this means that they were renamed.
LEAST = 80

tests = pathlib.Path(pymemcache.__file__).parent / "test" / "test_integration.py"
command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-k", "not tls and not test_misc",
           str(tests), "--server", HOST, "--port", str(PORT)]
done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
print(done.stdout)
last = done.stdout.strip().splitlines()[-1]
counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
passed = counts.get("passed", 0)
failed = counts.get("failed", 0) + counts.get("error", 0)
print(f"{passed} passed, {failed} failed, {counts.get('skipped', 0)} skipped")
sys.exit(done.returncode or passed < LEAST)
