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
WITH_DECORATORS = ("test_cached", "test_cachedmethod", "test_threading")

# What differs, and why. Each is expected to fail, so that a line that is no longer true is noticed.
ANEW = "a bound method is made for each access, and what it counts is in an attribute of another name"
FIRST = "the first argument of an unbound cached method is given by position"
DIFFERENT = {
    "CacheMethodTest.test_decorated_override": ANEW,
    "CacheMethodTest.test_decorator_deepcopy_super": ANEW,
    "CacheMethodTest.test_decorator_pickle_super": ANEW,
    "DictMethodTest.test_decorator_deepcopy_super": ANEW,
    "DictMethodTest.test_decorator_pickle_super": ANEW,
    "UnboundMethodTest.test_class_access_alias": ANEW,
    "CacheMethodTest.test_decorator_immutable_dict": "the error is the one that the instance's dict raises",
    "DictMethodTest.test_decorator_immutable_dict": "the error is the one that the instance's dict raises",
    "UnboundMethodTest.test_autospec": FIRST,
    "UnboundMethodTest.test_class_call_keyword_receiver": FIRST,
}


def load(names, different):
    for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
        del sys.modules[name]
    suite = unittest.TestSuite()
    for name in names:
        module = importlib.import_module(f"tests.{name}")
        for test in flat(unittest.defaultTestLoader.loadTestsFromModule(module)):
            short = ".".join(test.id().split(".")[-2:])
            if short in different:
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


def run(title, names, different):
    result = unittest.TextTestRunner(verbosity=1).run(load(names, different))
    skipped = len(result.skipped)
    print(f"{title}: {result.testsRun} tests, {len(result.expectedFailures)} different, {skipped} skipped")
    return result.wasSuccessful()


def main():
    sys.path.insert(0, str(SOURCE))
    real = None
    try:
        real = importlib.import_module("cachetools")
    except ImportError:
        print("cachetools is not installed, so its own decorators are not tried")
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "cachetools"}
    for name in kept:
        del sys.modules[name]
    sys.modules["cachetools"] = larder.cachetools
    sys.modules["cachetools.keys"] = larder.cachetools.keys
    is_good = run("larder.cachetools", OWN, DIFFERENT)
    if real is not None:
        mixed = types.ModuleType("cachetools")
        mixed.__dict__.update(vars(real))
        for name in CLASSES:
            setattr(mixed, name, getattr(larder.cachetools, name))
        # So that `cache_info()` knows the bound.
        real.Cache.register(larder.cachetools.Cache)
        sys.modules.update(kept)
        sys.modules["cachetools"] = mixed
        is_good &= run("the decorators of cachetools", WITH_DECORATORS, {})
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
