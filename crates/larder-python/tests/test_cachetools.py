"""`larder.cachetools` beyond the tests of cachetools: threads, hooks of subclasses, sizes, timers and copies."""

import copy
import gc
import itertools
import math
import pickle
import random
import threading
import weakref
from datetime import datetime, timedelta

import pytest

from larder.cachetools import Cache, LFUCache, LRUCache, TTLCache, cached, cachedmethod, hashkey

CLASSES = [Cache, LRUCache, LFUCache, lambda maxsize, **options: TTLCache(maxsize, 1000, **options)]


class Timer:
    def __init__(self, now=0):
        self.now = now

    def __call__(self):
        return self.now


class Plain:
    """What cachetools promises of its policies, in the simplest way."""

    def __init__(self, maxsize, policy):
        self.maxsize, self.policy = maxsize, policy
        self.items, self.uses, self.last, self.clock = {}, {}, {}, itertools.count()

    def touch(self, key):
        self.uses[key] = self.uses.get(key, 0) + 1
        self.last[key] = next(self.clock)

    def get(self, key):
        if key in self.items:
            self.touch(key)
        return self.items.get(key)

    def set(self, key, value):
        if key not in self.items and len(self.items) == self.maxsize:
            self.popitem()
        self.items[key] = value
        self.touch(key)

    def popitem(self):
        order = {"lru": lambda key: self.last[key], "lfu": lambda key: (self.uses[key], self.last[key])}
        key = min(self.items, key=order[self.policy])
        self.forget(key)
        return key

    def forget(self, key):
        if key in self.items:
            del self.items[key], self.uses[key], self.last[key]


@pytest.mark.parametrize("kind, policy", [(LRUCache, "lru"), (LFUCache, "lfu"), (CLASSES[3], "lru")])
@pytest.mark.parametrize("seed", range(5))
def test_it_does_what_the_plain_model_does(kind, policy, seed):
    chance, cache, plain = random.Random(seed), kind(8), Plain(8, policy)
    for step in range(600):
        key, draw = chance.randrange(16), chance.random()
        if draw < 0.45:
            assert cache.get(key) == plain.get(key)
        elif draw < 0.85:
            cache[key] = step
            plain.set(key, step)
        elif draw < 0.95:
            cache.pop(key, None)
            plain.forget(key)
        elif plain.items:
            assert cache.popitem()[0] == plain.popitem()
        assert sorted(cache) == sorted(plain.items) and cache.currsize == len(plain.items)


@pytest.mark.parametrize("kind", CLASSES)
def test_hooks_of_subclasses_see_each_eviction(kind):
    base, seen = type(kind(1)), []

    class Telling(base):
        def popitem(self):
            key, value = super().popitem()
            seen.append(key)
            return key, value

    class Deleting(base):
        def __delitem__(self, key):
            super().__delitem__(key)
            seen.append(key)

    for hooked in (Telling, Deleting):
        seen.clear()
        cache = hooked(3, 1000) if base is TTLCache else hooked(3)
        for number in range(10):
            cache[number] = number
        assert seen == list(range(7)) and len(cache) == 3
        assert cache.get(9) == 9 and cache.pop(9) == 9 and cache.setdefault(9, 5) == 5


@pytest.mark.parametrize("kind", CLASSES)
def test_sizes(kind):
    cache = kind(10, getsizeof=len)
    cache["a"], cache["b"] = "x" * 4, "y" * 4
    assert cache.currsize == 8
    cache["a"] = "x" * 6
    assert cache.currsize == 10 and sorted(cache) == ["a", "b"]
    with pytest.raises(ValueError, match="too large"):
        cache["b"] = "y" * 11
    assert cache["b"] == "y" * 4 and cache.currsize == 10
    cache["c"] = ""
    assert cache.currsize == 10 and len(cache) == 3
    assert cache.popitem()[0] in "abc" and repr(cache).endswith(f"maxsize=10, currsize={cache.currsize})")
    floats = kind(2.5, getsizeof=lambda value: 0.5)
    floats.update(a=1, b=2, c=3)
    assert (len(floats), floats.currsize, floats.maxsize) == (2, 2, 2.5)
    for bound in (-1, math.nan, -math.inf):
        with pytest.raises(ValueError):
            kind(bound)


def test_what_a_size_raises_changes_nothing():
    def size(value):
        if value == "bad":
            raise ZeroDivisionError
        return 1

    cache = LRUCache(2, getsizeof=size)
    cache["a"] = 1
    with pytest.raises(ZeroDivisionError):
        cache["a"] = "bad"
    assert dict(cache) == {"a": 1}


@pytest.mark.parametrize("kind", CLASSES)
def test_threads_share_a_cache_without_a_lock(kind):
    cache, failures = kind(20), []

    def work(seed):
        chance = random.Random(seed)
        try:
            for _ in range(400):
                key, draw = chance.randrange(40), chance.random()
                if draw < 0.4:
                    assert cache.get(key, key) == key
                elif draw < 0.7:
                    cache[key] = key
                elif draw < 0.8:
                    assert cache.setdefault(key, key) == key
                elif draw < 0.9:
                    cache.pop(key, None)
                else:
                    assert all(0 <= other < 40 for other in cache)
                assert len(cache) <= 20
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_setdefault_of_many_threads_keeps_one_value():
    cache, barrier, results = LRUCache(10), threading.Barrier(6), []

    def work():
        barrier.wait()
        results.append(cache.setdefault("key", object()))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, results))) == 1 and results[0] is cache["key"]


def test_items_expire_by_any_timer():
    for timer, ttl, step in (
        (Timer(), 10, 1), (Timer(5.5), 10.0, 1.0), (Timer(datetime(2020, 1, 1)), timedelta(seconds=10), timedelta(seconds=1)),
    ):
        cache = TTLCache(100, ttl, timer=timer)
        for number in range(5):
            cache[number] = number
            timer.now += step
        assert len(cache) == 5 and cache.timer() == timer.now
        for gone in range(5):
            timer.now += step * (5 if gone == 0 else 1)
            assert [key for key in range(5) if key in cache] == list(range(gone + 1, 5)) == list(cache)
            assert cache.get(gone, "gone") == "gone" and cache.pop(gone, "gone") == "gone"
            with pytest.raises(KeyError):
                del cache[gone]
        assert cache.currsize == 0


def test_time_that_runs_backward_stands_still():
    timer = Timer(100)
    cache = TTLCache(10, 10, timer=timer)
    cache["a"] = 1
    timer.now = 50
    assert cache["a"] == 1
    cache["b"] = 2
    timer.now = 109
    assert "a" in cache and "b" in cache
    timer.now = 110
    assert "a" not in cache and "b" not in cache


def test_what_has_expired_makes_room_before_anything_is_evicted():
    timer = Timer()
    cache = TTLCache(2, 10, timer=timer)
    cache["old"] = 1
    timer.now = 5
    cache["young"] = 2
    cache.get("old")
    timer.now = 11
    cache["new"] = 3
    assert list(cache) == ["young", "new"]


def test_expire_returns_what_it_removes():
    timer = Timer()
    cache = TTLCache(10, 10, timer=timer)
    cache["a"] = 1
    timer.now = 5
    cache["b"] = 2
    assert cache.expire() == [] and cache.expire(12) == [("a", 1)] and list(cache) == ["b"]
    timer.now = 15
    assert cache.expire() == [("b", 2)] and cache.expire() == []


@pytest.mark.parametrize("ttl", [0, -5])
def test_a_lifetime_of_nothing_keeps_nothing(ttl):
    cache = TTLCache(10, ttl)
    cache["a"] = 1
    assert "a" not in cache and len(cache) == 0


def test_the_default_timer_lets_items_expire():
    cache, pause = TTLCache(10, 0.05), threading.Event()
    cache["a"] = 1
    for _ in range(1000):
        if "a" not in cache:
            break
        pause.wait(0.01)
    assert "a" not in cache


@pytest.mark.parametrize("kind", CLASSES)
def test_copies_evict_in_the_same_order(kind):
    cache = kind(5)
    cache.update((number, [number]) for number in range(5))
    for key in (0, 0, 3):
        cache[key]
    orders = []
    for other in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache)) if kind is not CLASSES[3] else copy.copy(cache)):
        assert list(other) == list(cache) and other.maxsize == 5
        orders.append([other.popitem()[0] for _ in range(5)])
    assert orders == [[cache.popitem()[0] for _ in range(5)]] * 3


def test_a_dropped_cache_is_released_at_once():
    gc.disable()
    try:
        for make in (lambda: LRUCache(5, getsizeof=lambda value: 1), lambda: TTLCache(5, 10)):
            cache = make()
            cache["a"] = 1
            reference = weakref.ref(cache)
            del cache
            assert reference() is None
    finally:
        gc.enable()


def test_keys_may_use_the_cache():
    cache = LRUCache(5)

    class Key:
        def __init__(self, name):
            self.name = name

        def __hash__(self):
            cache.get("other")
            return 5

        def __eq__(self, other):
            cache["other"] = 1
            return isinstance(other, Key) and self.name == other.name

    cache[Key("a")], cache[Key("b")] = 1, 2
    assert (cache[Key("a")], cache[Key("b")], cache["other"]) == (1, 2, 1)


def test_the_decorators():
    class Service:
        def __init__(self):
            self.results, self.calls = LRUCache(10), 0

        @cachedmethod(lambda self: self.results, info=True)
        def double(self, number):
            """Doubles."""
            self.calls += 1
            return number * 2

    one, other = Service(), Service()
    assert [one.double(2), one.double(2), other.double(2)] == [4, 4, 4] and (one.calls, other.calls) == (1, 1)
    assert one.double.cache_info() == (1, 1, 10, 1) and Service.double.__doc__ == "Doubles."
    one.double.cache_clear()
    assert one.double.cache_info() == (0, 0, 10, 0)
    alive = weakref.ref(one)
    del one
    assert alive() is None

    condition, calls, inside = threading.Condition(), [], threading.Event()

    @cached({}, condition=condition, key=lambda number: hashkey(number % 10))
    def slow(number):
        calls.append(number)
        inside.wait()
        return number

    threads = [threading.Thread(target=slow, args=(5,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    inside.set()
    for thread in threads:
        thread.join()
    assert calls == [5] and slow(15) == 5
    for wrong in (lambda: cached(None), lambda: cachedmethod(None)):
        with pytest.raises(TypeError):
            wrong()
