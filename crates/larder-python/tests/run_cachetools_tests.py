"""The tests of cachetools, from its source distribution, against `larder.cachetools`.

    python run_cachetools_tests.py SOURCE

They are run twice: with everything from `larder.cachetools`, and with the classes of larder below the decorators
of cachetools itself, if that is installed.
"""

import importlib
import pathlib
import sys
import types
import unittest

import larder.cachetools
import larder.cachetools.keys

SOURCE = pathlib.Path(sys.argv[1]).resolve()
CLASSES = ("Cache", "LRUCache", "LFUCache", "TTLCache")
OWN = ("test_cache", "test_lru", "test_lfu", "test_ttl", "test_cached", "test_cachedmethod", "test_keys", "test_threading")
WITH_DECORATORS = ("test_cached", "test_cachedmethod", "test_threading", "test_func")

# What differs, and why. Each is expected to fail, so that a line that is no longer true is noticed.
DIFFERENT = {}


def load(names):
    for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
        del sys.modules[name]
    suite = unittest.TestSuite()
    for name in names:
        module = importlib.import_module(f"tests.{name}")
        for test in flat(unittest.defaultTestLoader.loadTestsFromModule(module)):
            short = ".".join(test.id().split(".")[-2:])
            if short in DIFFERENT:
                method = getattr(test, test._testMethodName)
                setattr(test, test._testMethodName, unittest.expectedFailure(method.__func__).__get__(test))
            suite.addTest(test)
    return suite


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def run(title, names):
    result = unittest.TextTestRunner(verbosity=1).run(load(names))
    skipped = len(result.skipped)
    print(f"{title}: {result.testsRun} tests, {len(result.expectedFailures)} different, {skipped} skipped")
    return result.wasSuccessful()


def main():
    sys.path.insert(0, str(SOURCE))
    real = None
    try:
        real = importlib.import_module("cachetools")
        importlib.import_module("cachetools.func")
    except ImportError:
        print("cachetools is not installed, so its own decorators are not tried")
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "cachetools"}
    for name in kept:
        del sys.modules[name]
    sys.modules["cachetools"] = larder.cachetools
    sys.modules["cachetools.keys"] = larder.cachetools.keys
    is_good = run("larder.cachetools", OWN)
    if real is not None:
        mixed = types.ModuleType("cachetools")
        mixed.__dict__.update(vars(real))
        for name in CLASSES:
            setattr(mixed, name, getattr(larder.cachetools, name))
            setattr(real, name, getattr(larder.cachetools, name))
            setattr(kept["cachetools.func"], name, getattr(larder.cachetools, name))
        sys.modules.update(kept)
        sys.modules["cachetools"] = mixed
        is_good &= run("the decorators of cachetools", WITH_DECORATORS)
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
