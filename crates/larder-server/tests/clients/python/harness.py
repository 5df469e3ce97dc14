"""What the Python programs share: the server's address, waiting with a bound, and the closing line."""

import sys
import time
import unittest

# A bound for waits that end as soon as the server has done its part.
PATIENCE_S = 10


def address(arguments=None):
    """Host and port of the server, from the first argument: `HOST:PORT`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        sys.exit(f"usage: {sys.argv[0]} HOST:PORT")
    host, _, port = arguments[0].rpartition(":")
    return host, int(port)


def wait_until(condition, what):
    """The first true result of `condition`; fails once the patience is over."""
    end = time.monotonic() + PATIENCE_S
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.002)


def version(client):
    """The version of Redis that the server says it is compatible with, as numbers."""
    return tuple(int(part) for part in client.info("server")["redis_version"].split(".")[:2])


def main(module="__main__"):
    """Runs the tests of a program and ends it with the counts as its last line."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    passed = result.testsRun - failed - skipped
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed else 0)
