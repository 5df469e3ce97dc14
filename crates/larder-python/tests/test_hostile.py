"""Objects that misbehave, many threads, forks, the collector, and the end of the interpreter."""

import faulthandler
import gc
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
import weakref

import pytest

import larder
from larder import Cache


FORKS = int(os.environ.get("LARDER_FORKS", "40"))


class Refused(Exception):
    """What hostile objects raise."""


def run(*targets):
    failures = []

    def guarded(target):
        try:
            target()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("policy", ["lru", "window_tiny_lfu", "sieve"])
def test_hostile_objects_from_many_threads(policy):
    """`__eq__`, `__hash__` and `__del__` raise, re-enter the cache and let other threads run."""
    cache = Cache(40, policy=policy, listener=lambda key, value, cause: random.random() < 0.05 and cache.get("x"))
    depth, is_over = threading.local(), threading.Event()

    def disturb(chance):
        if is_over.is_set() or getattr(depth, "value", 0) > 2:
            return
        depth.value = getattr(depth, "value", 0) + 1
        try:
            draw = chance.random()
            if draw < 0.1:
                raise Refused
            if draw < 0.3:
                cache.set(Hostile(chance.randrange(60), chance), Hostile(1, chance))
            elif draw < 0.5:
                cache.pop(Hostile(chance.randrange(60), chance), None)
            elif draw < 0.6:
                os.sched_yield()
            elif draw < 0.62:
                cache.clear()
        finally:
            depth.value -= 1

    class Hostile:
        def __init__(self, number, chance):
            self.number, self.chance = number, chance

        def __hash__(self):
            disturb(self.chance)
            return self.number % 7

        def __eq__(self, other):
            disturb(self.chance)
            return self.number == getattr(other, "number", other)

        def __del__(self):
            # Seldom enough that each object leaves fewer than one behind; otherwise they would go on for ever.
            try:
                if self.chance.random() < 0.2:
                    disturb(self.chance)
            except Refused:
                pass

    def work(seed):
        chance = random.Random(seed)

        def loop():
            for _ in range(200):
                key = Hostile(chance.randrange(60), chance) if chance.random() < 0.8 else chance.randrange(7)
                call = chance.choice([cache.get, cache.remove, cache.add, cache.set, cache.expire])
                extra = {cache.get: (), cache.remove: ()}.get(call, (5,))
                try:
                    call(key, *extra)
                except Refused:
                    pass

        return loop

    run(*(work(seed) for seed in range(8)))
    is_over.set()
    assert len(cache) <= 40
    # No two keys are equal.
    numbers = [getattr(key, "number", key) for key in cache.keys()]
    assert len(numbers) == len(set(numbers))
    del numbers
    cache.clear()
    assert len(cache) == 0


def test_no_update_is_lost():
    cache, count = Cache(1000), 2000

    def write(name):
        def loop():
            for number in range(count):
                cache[(name, number % 100)] = number
                assert cache[(name, number % 100)] == number

        return loop

    run(*(write(name) for name in range(8)))
    assert len(cache) == 800
    assert all(value >= count - 100 for value in cache.values())


def test_an_error_of_a_key_reaches_the_caller_and_changes_nothing():
    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise Refused

    cache, first = Cache(10), Key()
    cache[first] = 1
    for call in (lambda: cache.get(Key()), lambda: cache.set(Key(), 2), lambda: cache.pop(1), lambda: 1 in cache):
        with pytest.raises(Refused):
            call()
    assert cache[first] == 1 and len(cache) == 1


def test_a_key_that_changes_the_cache_while_it_is_compared():
    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            cache.clear()
            return self is other

    cache = Cache(10)
    for _ in range(50):
        cache[Key()] = 1
        cache.get(Key())
    assert len(cache) <= 1

    class Endless(Key):
        def __eq__(self, other):
            cache[Endless.__new__(Endless)] = 1
            return False

        __hash__ = Key.__hash__

    sys.setrecursionlimit(200)
    try:
        cache[Endless()] = 1
        with pytest.raises(RecursionError):
            cache.get(Endless())
    finally:
        sys.setrecursionlimit(1000)


def test_a_chain_of_finalizers_does_not_end_on_the_stack():
    cache, left = Cache(1, policy="lru"), [3000]

    class Link:
        def __del__(self):
            left[0] -= 1
            if left[0] > 0:
                cache["key"] = Link()
                cache.remove("key")

    cache["key"] = Link()
    cache.clear()
    assert left == [0] and len(cache) == 0


def test_the_collector_runs_meanwhile():
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        cache = Cache(50)

        class Node:
            pass

        def work():
            for number in range(500):
                node = Node()
                node.me, node.cache = node, cache
                cache[number % 80] = node
                cache[("k", number % 80)] = [cache]

        run(*[work] * 4)
    finally:
        gc.set_threshold(*threshold)
    reference = weakref.ref(cache)
    del cache, work
    gc.collect()
    assert reference() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_threads_write():
    cache, stop = Cache(100), threading.Event()

    @larder.cached
    def slow(x):
        stop.wait()
        return x

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            cache[number % 300] = str(number)
            cache.get((number, "x"))

    threads = [threading.Thread(target=write) for _ in range(2)]
    threads.append(threading.Thread(target=slow, args=(1,)))
    for thread in threads:
        thread.start()
    try:
        for _ in range(FORKS):
            child = os.fork()
            if child == 0:
                try:
                    stop.set()
                    for number in range(50):
                        cache[number] = number
                    # The flight of a thread that is not here is not waited for.
                    is_right = len(cache) <= 100 and slow(1) == 1
                    os._exit(0 if is_right else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


ENDS = {
    "a cache of the module": "cache = larder.Cache(9); cache['a'] = object()",
    "a cycle": "cache = larder.Cache(9); cache['a'] = cache",
    "finalizers": "class A:\n  def __del__(self): cache['b'] = 1\ncache = larder.Cache(9); cache['a'] = A()",
    "a waiting thread": (
        "import threading\ncache = larder.Cache(9)\n"
        "threading.Thread(target=cache.get_or_load, args=('k', threading.Event().wait), daemon=True).start()"
    ),
    "a writing thread": (
        "import threading\ncache = larder.Cache(9)\ndef write():\n  while True: cache[object()] = object()\n"
        "threading.Thread(target=write, daemon=True).start()"
    ),
    "a sweeper": "import larder.pyquickcache as p\nq = p.QuickCache(p.QuickCacheConfig(cleanup_interval=0))",
    "a thread within a slow key": (
        "import threading, time\ncache = larder.Cache(9)\n"
        "class Key:\n"
        "  def __hash__(self): return 1\n"
        "  def __eq__(self, other):\n    inside.set(); threading.Event().wait()\n"
        "inside = threading.Event()\ncache[Key()] = 1\n"
        "threading.Thread(target=cache.get, args=(Key(),), daemon=True).start()\ninside.wait()"
    ),
    "loads that wait": (
        "import threading\ninside = threading.Event()\n@larder.cached\ndef slow(x):\n"
        "  inside.set()\n  threading.Event().wait()\n"
        "for _ in range(4): threading.Thread(target=slow, args=(1,), daemon=True).start()\ninside.wait()"
    ),
    "multiprocessing": (
        "import multiprocessing as m\ncache = larder.Cache(9)\ncache[1] = 1\n"
        "if __name__ == '__main__':\n  c = m.get_context('fork').Process(target=cache.get, args=(1,))\n"
        "  c.start(); c.join(); assert c.exitcode == 0"
    ),
}


# What a daemon thread is doing when the interpreter ends: code of the user that larder has called, and that does not end.
WORK = "inside = threading.Event()\ndef work(*_):\n  inside.set()\n  while True: sum(range(1000))\n"
AT_WORK = {
    "function": "call = larder.cached(work)",
    "function with a key": "call = larder.cached(key=lambda: 1)(work)",
    "lru_cache": "call = larder.lru_cache(work)",
    "method": "class A:\n  work = larder.cached(work)\na = A()\ncall = a.work",
    "loader": "cache = larder.Cache(5)\ncall = lambda: cache.get_or_load(1, work)",
    "weigher": "cache = larder.Cache(max_weight=5, weigher=work)\ncall = lambda: cache.set(1, 1)",
    "listener": "cache = larder.Cache(5, listener=work)\ncall = lambda: (cache.set(1, 1), cache.set(1, 2))",
    "__hash__": "class K:\n  __hash__ = work\ncache = larder.Cache(5)\ncall = lambda: cache.get(K())",
    "__eq__": (
        "class K:\n  __hash__ = lambda self: 1\n  __eq__ = work\ncache = larder.Cache(5)\ncache[K()] = 1\n"
        "call = lambda: cache.get(K())"
    ),
    "__del__": (
        "class V:\n  __del__ = work\ncache = larder.Cache(5)\ncache[1] = V()\ncall = lambda: cache.set(1, 1)"
    ),
    "pyquickcache": (
        "import pyquickcache\nclass K:\n  __hash__ = work\ncache = pyquickcache.QuickCache()\n"
        "call = lambda: cache.get(K())"
    ),
}
ENDS |= {
    f"{name} at work": f"import threading\n{WORK}{program}\nthreading.Thread(target=call, daemon=True).start()\ninside.wait()"
    for name, program in AT_WORK.items()
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_the_interpreter_ends(program):
    done = subprocess.run(
        [sys.executable, "-c", "import larder\n" + program], capture_output=True, timeout=100, check=True
    )
    assert done.stderr == b""


def child_uses(seed):
    """Runs in a process of `multiprocessing`."""
    cache = Cache(50)
    for number in range(1000):
        cache[number % 80] = str(number + seed)
    misses = remembered.cache_info().misses
    value = remembered(seed)
    return len(cache), value, remembered.cache_info().misses == misses


@larder.cached
def remembered(x):
    return x + 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    for seed in range(4):
        remembered(seed)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map(child_uses, range(4))
    for seed, (length, value, was_there) in enumerate(results):
        assert 0 < length <= 50 and value == seed + 1
        # A forked child has what its parent had remembered.
        assert was_there or method != "fork"


def test_loads_among_hostile_keys_and_changes():
    """Loaders of 8 threads that raise, sleep and need each other, while keys are removed and the collector runs."""
    cache, ends = Cache(30, policy="lru"), []

    class Key:
        def __init__(self, number, chance):
            self.number, self.chance = number, chance

        def __hash__(self):
            if self.chance.random() < 0.02:
                raise Refused
            return self.number % 5

        def __eq__(self, other):
            draw = self.chance.random()
            if draw < 0.02:
                raise Refused
            if draw < 0.05:
                time.sleep(0)
            if draw < 0.06:
                cache.remove(self.number)
            return self.number == getattr(other, "number", other)

    def work(seed):
        chance = random.Random(seed)

        def load(depth):
            draw = chance.random()
            if draw < 0.1:
                raise Refused
            if draw < 0.3 and depth < 3:
                return ask(depth + 1)
            if draw < 0.32:
                gc.collect()
            return [cache]

        def ask(depth=0):
            number = chance.randrange(20)
            key = Key(number, chance) if chance.random() < 0.7 else number
            return cache.get_or_load(key, lambda: load(depth))

        def loop():
            for _ in range(150):
                try:
                    chance.choice([ask, ask, lambda: cache.remove(Key(chance.randrange(20), chance)), cache.clear])()
                except (Refused, larder.LoadCycleError):
                    pass
            ends.append(seed)

        return loop

    faulthandler.dump_traceback_later(100, exit=True)
    try:
        run(*(work(seed) for seed in range(8)))
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert len(ends) == 8 and len(cache) <= 30
    while cache._flights._open:
        # What a key that raised has left behind goes with the next call of its key.
        flight = cache._flights._open.popitem()[1]
        assert flight.is_done


def test_bytes_and_text_are_not_compared():
    program = "import larder; c = larder.Cache(9); c['a'] = 1; c[('a',)] = 1; assert b'a' not in c and (b'a',) not in c"
    subprocess.run([sys.executable, "-bb", "-c", program], check=True, timeout=100)


def test_a_subinterpreter_is_refused():
    # The name before 3.13, and since.
    interpreters = pytest.importorskip("_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters")
    identity = interpreters.create()
    program = "try:\n  import larder\nexcept ImportError as e:\n  assert 'subinterpreter' in str(e)\nelse:\n  assert False"
    try:
        # From 3.13 on, what was raised is returned.
        assert interpreters.run_string(identity, program) is None
    finally:
        interpreters.destroy(identity)
