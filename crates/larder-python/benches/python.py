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


def theine(package, size):
    cache = package.Cache(size)
    return lambda key: cache.get(key)[0], cache.set


def moka(package, size):
    cache = package.Moka(size)
    return cache.get, cache.set


def locked(package, size):
    cache = Locked(package.LRUCache(size))
    return cache.get, cache.set


def contenders():
    """By name, a function of the size that returns those that get and set."""
    import larder
    import larder.pyquickcache

    def shim(size):
        cache = Quick(larder.pyquickcache, size)
        return cache.get, cache.set

    found = {}
    for policy in ("window_tiny_lfu", "lru", "sieve"):
        found[f"larder {policy}"] = lambda size, policy=policy: by_item(larder.Cache(size, policy=policy))
    found["larder.pyquickcache"] = shim
    for name, package, make in (
        ("cachebox LRU", "cachebox", lambda package, size: by_item(package.LRUCache(size))),
        ("cachetools LRU + lock", "cachetools", locked),
        ("theine", "theine", theine),
        ("moka-py", "moka_py", moka),
    ):
        try:
            found[name] = functools.partial(make, importlib.import_module(package))
        except ImportError:
            print(f"{package} is not installed")
    return found


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
    for name, make in contenders().items():
        get, set_ = make(CAPACITY)
        for key in itertools.chain(range(500), texts[:400]):
            set_(key, key)
        figures = [measure(get, numbers, 1), measure(get, long[: len(long) // 500 * 400], 1)]
        figures += [measure(get, numbers, 4), measure(set_, numbers, 1, 1)]
        for size in (CAPACITY, 100_000):
            _, insert = make(size)
            for key in range(size):
                insert(key, key)
            counter = itertools.count(size)
            figures.append(measure(lambda _: insert(next(counter), 1), numbers, 1))
        ratio = hit_ratio(*make(CAPACITY), drawn)
        print(f"| {name} |", " | ".join(f"{figure:.0f}" for figure in figures), f"| {ratio:.3f} |", flush=True)

    import larder

    for name, decorate in (("larder.cached", larder.cached(1000)), ("functools.lru_cache", functools.lru_cache(1000))):
        function = decorate(lambda x: x)
        function(5)
        print(f"call of {name}, hit: {measure(function, [5] * OPERATIONS, 1):.0f}")


if __name__ == "__main__":
    main()
