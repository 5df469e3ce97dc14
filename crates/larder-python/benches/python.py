"""Speed and hit ratios beside other caches of Python, those that are installed.

    python benches/python.py [OPERATIONS]

Each figure is the least of five runs, in nanoseconds of processor time for an operation, all threads together; the
hit ratio is that of Zipf-distributed keys, of which a tenth fits.
"""

import bisect
import functools
import importlib
import itertools
import random
import sys
import threading
import time

OPERATIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
CAPACITY = 1000


class Locked:
    """A mapping that threads share under a lock."""

    def __init__(self, cache):
        self.cache, self.lock = cache, threading.Lock()

    def get(self, key):
        with self.lock:
            return self.cache.get(key)

    def set(self, key, value):
        with self.lock:
            self.cache[key] = value


class Quick:
    """The interface of PyQuickCache, which raises for a missing key."""

    def __init__(self, package, size):
        # An interval that is never over keeps the cleanup out of the figures.
        config = package.QuickCacheConfig(max_size=size, cleanup_interval=10**6)
        self.cache = package.QuickCache(config)
        self.set = self.cache.set
        self.error = importlib.import_module(f"{package.__name__}.exceptions").KeyNotFound

    def get(self, key):
        try:
            return self.cache.get(key)
        except self.error:
            return None


def by_item(cache):
    return cache.get, cache.__setitem__


def contenders(size):
    """Name, and the functions that get and set."""
    def have(name):
        try:
            return importlib.import_module(name)
        except ImportError:
            return None

    import larder
    import larder.pyquickcache

    for policy in ("window_tiny_lfu", "lru", "sieve"):
        yield f"larder {policy}", *by_item(larder.Cache(size, policy=policy))
    shim = Quick(larder.pyquickcache, size)
    yield "larder.pyquickcache", shim.get, shim.set
    if package := have("cachebox"):
        yield "cachebox LRU", *by_item(package.LRUCache(size))
    if package := have("cachetools"):
        locked = Locked(package.LRUCache(size))
        yield "cachetools LRU + lock", locked.get, locked.set
    if package := have("theine"):
        cache = package.Cache(size)
        yield "theine", lambda key: cache.get(key)[0], cache.set
    if package := have("moka_py"):
        cache = package.Moka(size)
        yield "moka-py", cache.get, cache.set


def threaded(count, target):
    if count == 1:
        target()
        return
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(function, keys, threads, value=None):
    def loop():
        if value is None:
            for key in keys:
                function(key)
        else:
            for key in keys:
                function(key, value)

    def once():
        start = time.process_time_ns()
        threaded(threads, loop)
        return (time.process_time_ns() - start) / len(keys) / threads

    return min(once() for _ in range(5))


def hit_ratio(get, set_, keys):
    hits = 0
    for key in keys:
        if get(key) is None:
            set_(key, key + 1)
        else:
            hits += 1
    return hits / len(keys)


def zipf(count, items, seed=1):
    weights = list(itertools.accumulate(1 / rank for rank in range(1, items + 1)))
    chance = random.Random(seed)
    return [bisect.bisect(weights, chance.random() * weights[-1]) for _ in range(count)]


def main():
    numbers = [number % 500 for number in range(OPERATIONS)]
    texts = [f"{number:01024}" for number in range(500)]
    long = [texts[number % 500] for number in range(OPERATIONS)]
    drawn = zipf(OPERATIONS, CAPACITY * 10)
    columns = ("get int", "get 1 KiB", "get, 4 threads", "set", "set, full", "set, full, 100,000", "hit ratio")
    print("| cache |", " | ".join(columns), "|\n|---|" + "---|" * len(columns))
    for name, get, set_ in contenders(CAPACITY):
        for key in itertools.chain(range(500), texts[:400]):
            set_(key, key)
        figures = [measure(get, numbers, 1), measure(get, long[: len(long) // 500 * 400], 1)]
        figures += [measure(get, numbers, 4), measure(set_, numbers, 1, 1)]
        fresh = {other: calls for other, *calls in contenders(CAPACITY)}[name]
        counter = itertools.count()
        figures.append(measure(lambda key: fresh[1](next(counter), 1), numbers, 1))
        large = {other: calls for other, *calls in contenders(100_000)}[name]
        for key in range(100_000):
            large[1](key, key)
        counter = itertools.count(100_000)
        figures.append(measure(lambda key: large[1](next(counter), 1), numbers, 1))
        ratio = hit_ratio(*{other: calls for other, *calls in contenders(CAPACITY)}[name], drawn)
        print(f"| {name} |", " | ".join(f"{figure:.0f}" for figure in figures), f"| {ratio:.3f} |", flush=True)

    import larder

    for name, decorate in (("larder.cached", larder.cached(1000)), ("functools.lru_cache", functools.lru_cache(1000))):
        function = decorate(lambda x: x)
        function(5)
        print(f"call of {name}, hit: {measure(function, [5] * OPERATIONS, 1):.0f}")


if __name__ == "__main__":
    main()
