"""What a forked child can do, whatever threads and callbacks were at work when it was forked."""

import concurrent.futures
import gc
import os
import pathlib
import re
import signal
import sys
import threading

import pytest

import larder
import larder.locks
import pyquickcache
from larder import Cache
from larder.cachetools import TTLCache
from pyquickcache.eviction_policy import BaseEvictionPolicy

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

SECONDS = 60


def in_child(work):
    """Calls `work` in a child, and returns whether it has returned something true."""
    child = os.fork()
    if child == 0:
        try:
            # A child that hangs is ended by the system.
            signal.alarm(SECONDS)
            os._exit(0 if work() else 1)
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def use(cache):
    """Uses every verb that waits for something."""
    for number in range(300):
        cache[number] = number
        assert cache[number] == number
    assert cache.get_or_load("loaded", lambda: "value") == "value"
    assert cache.setdefault("set", 1) == 1 and cache.pop("set") == 1
    cache.clear()
    return len(cache) == 0 and cache.stats()["entries"] == 0


class Forking:
    """A key, or a value, that forks where the interpreter calls it."""

    def __init__(self, fork):
        self.fork = fork

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self.fork()
        return self is other


class ForkingAtItsEnd:
    def __init__(self, fork):
        self.fork = fork

    def __del__(self):
        self.fork()


def in_a_loader(cache, fork):
    def load():
        fork()
        return "value"

    cache.remove("key")
    assert cache.get_or_load("key", load) == "value"


def in_a_comparison(cache, fork):
    cache[Forking(fork)] = 1
    cache.get(Forking(fork))
    cache[Forking(fork)] = 2


def in_a_finalizer(cache, fork):
    cache["key"] = ForkingAtItsEnd(fork)
    cache["key"] = None
    cache["key"] = ForkingAtItsEnd(fork)
    del cache["key"]


def in_a_listener(_, fork):
    cache = Cache(100, listener=lambda *_: fork(cache))
    cache["key"] = 1
    cache["key"] = 2
    del cache["key"]


def in_a_weigher(_, fork):
    left = [1]

    def weigh(key, value):
        if left.pop() if left else 0:
            fork(cache)
        return 1

    cache = Cache(max_weight=1000, weigher=weigh)
    cache["key"] = 1


@pytest.mark.parametrize(
    "place", [in_a_loader, in_a_comparison, in_a_finalizer, in_a_listener, in_a_weigher], ids=lambda place: place.__name__
)
def test_a_fork_within_code_that_the_cache_calls(place):
    cache, parent = Cache(100), os.getpid()
    stop, results = threading.Event(), []

    def fork(other=cache):
        if os.getpid() == parent:
            results.append(in_child(lambda: use(other) and (other is cache or use(cache))))

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            cache["other", number % 300] = [number]
            cache.get_or_load(("loaded", number), lambda: number)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            place(cache, fork)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(results) >= 5 and all(results)


def test_the_child_of_a_loader_ends_its_load_and_others_load_anew():
    cache, parent = Cache(100), os.getpid()
    is_loading, go_on = threading.Event(), threading.Event()

    def other():
        is_loading.set()
        go_on.wait()
        return "other"

    thread = threading.Thread(target=cache.get_or_load, args=("other", other))
    thread.start()
    is_loading.wait()
    result = None

    def load():
        nonlocal result
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            return "the child's"
        result = os.waitpid(child, 0)[1]
        return "the parent's"

    try:
        value = cache.get_or_load("key", load)
        if os.getpid() != parent:
            anew = cache.get_or_load("other", lambda: "anew")
            is_right = (value, cache["key"], anew) == ("the child's", "the child's", "anew")
            os._exit(0 if is_right and use(cache) else 1)
        assert (value, result) == ("the parent's", 0)
    finally:
        if os.getpid() != parent:
            os._exit(2)
        go_on.set()
        thread.join()
    assert cache["other"] == "other"


@pyquickcache.register_eviction_policy("slow in a fork")
class Slow(BaseEvictionPolicy):
    """A policy in Python that is at work until it is let go."""

    def __init__(self):
        self.is_at_work, self.go_on = threading.Event(), threading.Event()

    def on_add(self, entries, key):
        if key == "slow":
            self.is_at_work.set()
            self.go_on.wait()

    def on_access(self, entries, key):
        pass

    on_update = on_delete = on_access

    def select_eviction_key(self, entries):
        return next(iter(entries))


def test_a_fork_while_a_policy_in_python_is_at_work():
    cache = pyquickcache.QuickCache(pyquickcache.QuickCacheConfig(eviction_policy="slow in a fork"))
    policy = cache.eviction_policy
    thread = threading.Thread(target=cache.set, args=("slow", 1))
    thread.start()
    policy.is_at_work.wait()
    try:

        def work():
            cache.set("key", 2)
            return cache.get("key") == 2 and cache.get_metrics_snapshot()["sets"] >= 1

        assert in_child(work)
    finally:
        policy.go_on.set()
        thread.join()
    assert cache.get("slow") == 1
    cache.stop()


def test_a_fork_by_a_policy_in_python():
    results = []

    @pyquickcache.register_eviction_policy("forks itself")
    class Forks(Slow):
        def on_access(self, entries, key):
            if not results:
                results.append(None)
                results[:] = [in_child(lambda: cache.set("key", 3) is None and cache.get("key") == 3)]

    cache = pyquickcache.QuickCache(pyquickcache.QuickCacheConfig(eviction_policy="forks itself"))
    cache.set("key", 1)
    assert cache.get("key") == 1
    assert results == [True]
    cache.set("key", 2)
    assert cache.get("key") == 2
    cache.stop()


def test_what_a_guard_protects_is_whole_in_a_child():
    guard, stop, counts = larder.locks.Guard(larder.locks.INNER), threading.Event(), [0, 0]

    def count():
        while not stop.is_set():
            with guard.lock:
                counts[0] += 1
                # Long enough for another thread to run meanwhile.
                sum(range(100))
                counts[1] += 1

    threads = [threading.Thread(target=count) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    try:

        def work():
            with guard.lock:
                return counts[0] == counts[1]

        for _ in range(30):
            assert in_child(work)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()
    assert counts[0] == counts[1] and is_free(guard.lock)


def is_free(lock):
    """Whether another thread can take a lock."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: lock.acquire(blocking=False) and lock.release() is None).result()


def in_another_thread_under(lock, work):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(lock.acquire).result()
        try:
            return work()
        finally:
            pool.submit(lock.release).result()


def test_a_lock_that_the_fork_does_not_get_is_a_new_one_in_the_child():
    guards = [larder.locks.Guard(rank) for rank in (larder.locks.OUTER, larder.locks.INNER)]

    def work():
        assert in_child(lambda: all(guard.lock.acquire(timeout=SECONDS) for guard in guards))
        assert not is_free(guards[0].lock) and is_free(guards[1].lock)

    in_another_thread_under(guards[0].lock, work)


def test_a_child_of_a_server_that_calls_the_second_hook_alone_has_new_locks():
    guard = larder.locks.Guard(larder.locks.INNER)
    guard.lock.acquire()
    # As after a fork that the interpreter did not know of.
    larder.locks._after_in_child()
    assert is_free(guard.lock)


def test_guards_go_with_their_owners():
    gc.collect()
    before = len(larder.locks._guards)
    caches = [TTLCache(10, 10) for _ in range(5)]
    assert len(larder.locks._guards) >= before + 5
    del caches
    gc.collect()
    assert len(larder.locks._guards) <= before


def test_every_lock_of_the_package_comes_through_a_fork():
    package = pathlib.Path(larder.__file__).parent
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"threading\.(R?Lock|Condition|(Bounded)?Semaphore)\b", path.read_text())
    }
    # A lock of a flight, or of a sweeper, belongs to a thread that waits for it, which is not in the child.
    assert found == {"flights.py", "locks.py", os.path.join("pyquickcache", "sweeper.py")}
