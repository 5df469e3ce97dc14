"""Speed and hit ratios beside other caches of Python, those that are installed.

    python benches/python.py [OPERATIONS]

Each figure is the least of five runs, in nanoseconds of processor time for an operation, all threads together; the
hit ratio is that of Zipf-distributed keys, of which a tenth fits. The loop of the measurement is a part of each
figure, and has one of its own. The second table is of calls that find their result.

The original PyQuickCache is measured if `pyquickcache` is not the shim of that name, which larder's wheel brings:
install the wheel into a folder, remove `pyquickcache` there, and put the folder on PYTHONPATH.
"""

import bisect
import functools
import importlib
import itertools
import math
import random
import sys
import tempfile
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
    """The interface of PyQuickCache, whose `get` raises for a missing key."""

    def __init__(self, package, size):
        # An interval that is never over keeps the cleanup out of the figures.
        self.cache = package.QuickCache(package.QuickCacheConfig(max_size=size, cleanup_interval=10**6))
        self.get, self.set = self.cache.get, self.cache.set


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


def quick(package, size):
    cache = Quick(package, size)
    return cache.get, cache.set


def on_disk(package, size):
    # Its bound is one of bytes; about so many small entries.
    cache = package.Cache(tempfile.mkdtemp(prefix="larder-bench-"), size_limit=size * 100)
    return cache.get, cache.set


def contenders():
    """By name, a function of the size that returns those that get and set."""
    import larder
    import larder.pyquickcache

    found = {"the loop alone": lambda size: (lambda key: None, lambda key, value: None)}
    for policy in ("window_tiny_lfu", "lru", "sieve"):
        found[f"larder {policy}"] = lambda size, policy=policy: by_item(larder.Cache(size, policy=policy))
    found["larder.pyquickcache"] = functools.partial(quick, larder.pyquickcache)
    for name, package, make in (
        ("cachebox LRU", "cachebox", lambda package, size: by_item(package.LRUCache(size))),
        ("cachetools LRU + lock", "cachetools", locked),
        ("theine", "theine", theine),
        ("moka-py", "moka_py", moka),
        ("PyQuickCache", "pyquickcache", quick),
        ("diskcache", "diskcache", on_disk),
    ):
        module = installed(package)
        if module is not None:
            found[name] = functools.partial(make, module)
    return found


def installed(package):
    try:
        module = importlib.import_module(package)
    except ImportError:
        print(f"{package} is not installed")
        return None
    if package == "pyquickcache" and module.QuickCache.__module__.startswith("larder"):
        print("pyquickcache is the shim, not the original")
        return None
    return module


def decorators():
    """By name, a decorator that remembers 1,000 results."""
    import larder

    found = {
        "larder.cached": larder.cached(CAPACITY),
        "larder.lru_cache": larder.lru_cache(CAPACITY),
        "functools.lru_cache": functools.lru_cache(CAPACITY),
    }
    for name, package, make in (
        ("cachebox.cached", "cachebox", lambda package: package.cached(package.LRUCache(CAPACITY))),
        ("cachetools.cached + lock", "cachetools",
         lambda package: package.cached(package.LRUCache(CAPACITY), lock=threading.Lock())),
        ("theine.Memoize", "theine", lambda package: package.Memoize(CAPACITY, None)),
        ("moka_py.cached", "moka_py", lambda package: package.cached(CAPACITY)),
        ("diskcache.memoize", "diskcache",
         lambda package: package.Cache(tempfile.mkdtemp(prefix="larder-bench-")).memoize()),
    ):
        module = installed(package)
        if module is not None:
            found[name] = make(module)
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


def find(get, key):
    try:
        return get(key)
    except Exception:
        return None  # PyQuickCache raises.


def hit_ratio(get, set_, keys):
    hits = 0
    for key in keys:
        if find(get, key) is None:
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
    long = [texts[number % 400] for number in range(OPERATIONS)]
    drawn = zipf(OPERATIONS, CAPACITY * 10)
    columns = (
        "get int", "get 1 KiB", "get int, 4 threads", "get 1 KiB, 4 threads", "set", "set 1 KiB", "set, 4 threads",
        "set, full", "set, full, 100,000", "hit ratio",
    )
    rows = contenders()
    print("| cache |", " | ".join(columns), "|\n|---|" + "---|" * len(columns))
    for name, make in rows.items():
        is_slow = name in ("PyQuickCache", "diskcache")
        part = slice(OPERATIONS // 50 if is_slow else OPERATIONS)
        few, few_long = numbers[part], long[part]
        get, set_ = make(CAPACITY)
        for key in itertools.chain(range(500), texts[:400]):
            set_(key, key)
        figures = [measure(get, keys, threads) for threads in (1, 4) for keys in (few, few_long)]
        figures += [measure(set_, few, 1, 1), measure(set_, few_long, 1, 1), measure(set_, few, 4, 1)]
        for size in (CAPACITY, 100_000):
            if is_slow and size > CAPACITY:
                # Filling it would take minutes.
                figures.append(math.nan)
                continue
            _, insert = make(size)
            for key in range(size):
                insert(key, key)
            counter = itertools.count(size)
            figures.append(measure(lambda _, insert=insert, counter=counter: insert(next(counter), 1), few, 1))
        ratio = math.nan if is_slow or name == "the loop alone" else hit_ratio(*make(CAPACITY), drawn)
        print(f"| {name} |", " | ".join(f"{figure:.0f}" for figure in figures), f"| {ratio:.3f} |", flush=True)

    print("\n| decorator | hit, int | hit, 1 KiB | hit, int, 4 threads |\n|---|---|---|---|")
    for name, decorate in decorators().items():
        part = slice(OPERATIONS // 50 if name == "diskcache.memoize" else OPERATIONS)
        function = decorate(identity)
        for key in itertools.chain(range(500), texts[:400]):
            function(key)
        figures = measure(function, numbers[part], 1), measure(function, long[part], 1), measure(function, numbers[part], 4)
        print(f"| {name} |", " | ".join(f"{figure:.0f}" for figure in figures), "|", flush=True)


def identity(x):
    return x


if __name__ == "__main__":
    main()
