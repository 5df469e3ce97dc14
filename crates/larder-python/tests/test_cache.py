"""`larder.Cache`: what a single thread sees."""

import asyncio
import datetime
import decimal
import fractions
import gc
import inspect
import math
import os
import subprocess
import sys
import threading
import weakref

import pytest

import larder
from larder import Cache, SnapshotError
from larder.pyquickcache import QuickCache, QuickCacheConfig
from larder.pyquickcache.exceptions import CacheError

EXACT = [name for name in ("lru", "lfu", "fifo") if name in larder.policies()]


class Thing:
    """An object with weak references."""


class Box:
    """A key in Python: equal to boxes of equal content, and to the content itself."""

    def __init__(self, content):
        self.content = content

    def __eq__(self, other):
        return self.content == (other.content if isinstance(other, Box) else other)

    def __hash__(self):
        return hash(self.content)


@pytest.mark.parametrize("policy", larder.policies())
def test_every_policy_bounds_the_cache(policy):
    cache = Cache(100, policy=policy)
    for number in range(1000):
        cache[number] = number
        assert len(cache) <= 100
    assert cache.policy == policy
    assert all(cache[key] == key for key in cache)
    assert cache.stats()["evictions"] == 900


def test_it_works_like_a_dict():
    cache = Cache(10)
    cache["a"] = 1
    cache.update({"b": 2}, c=3)
    assert cache["a"] == 1 and cache.get("z") is None and cache.get("z", 5) == 5
    assert "a" in cache and "z" not in cache and len(cache) == 3
    assert sorted(cache) == ["a", "b", "c"] == sorted(cache.keys())
    assert sorted(cache.values()) == [1, 2, 3] and dict(cache.items()) == {"a": 1, "b": 2, "c": 3}
    assert cache.pop("a") == 1 and cache.pop("a", 7) == 7
    assert cache.setdefault("b", 9) == 2 and cache.setdefault("d", 4) == 4 and cache["d"] == 4
    del cache["b"]
    for call in (lambda: cache["b"], lambda: cache.pop("b"), lambda: cache.__delitem__("b")):
        with pytest.raises(KeyError) as raised:
            call()
        assert raised.value.args == ("b",)
    with pytest.raises(TypeError):
        cache.pop("b", 1, 2)
    assert cache.clear() == 2 and len(cache) == 0


def test_it_has_no_reverse_order():
    cache = Cache(3)
    cache[0] = "zero"
    with pytest.raises(TypeError, match="not reversible"):
        reversed(cache)


def test_a_tuple_as_missing_key_is_one_argument_of_the_error():
    with pytest.raises(KeyError) as raised:
        Cache(1)[("a", 1)]
    assert raised.value.args == (("a", 1),)


def test_bulk_calls():
    cache = Cache(10)
    assert cache.set_many([("a", 1), ("b", None)]) == 2 and cache.set_many({"c": 3}) == 1
    assert cache.get_many(["c", "z", "b"]) == {"c": 3, "b": None}
    assert list(cache.get_many(["c", "b"])) == ["c", "b"]
    assert cache.delete_many(["a", "z"]) == 1
    with pytest.raises((TypeError, ValueError)):
        cache.set_many([1])


@pytest.mark.parametrize(
    "one, other",
    [
        (1, 1.0), (1, True), (0, False), (2**70, float(2**70)), ("text", "te" + "xt"), (b"12", bytes([49, 50])),
        ((1, "a"), (1.0, "a")), ((), ()), (((1,), None), ((True,), None)), (frozenset([1]), frozenset([1.0])),
        (Box("a"), Box("a")), (Box("a"), "a"), (Box(1), 1.0), (datetime.date(2020, 1, 1), datetime.date(2020, 1, 1)),
        ((Box(1), 2), (1, 2)), (tuple(range(40)), tuple(map(float, range(40)))), (-0.0, 0),
        (math.nan, math.nan), (None, None), (complex(1), 1), ("é" * 500, "é" * 500),
    ],
)
def test_keys_are_found_by_the_equality_of_python(one, other):
    for first, second in ((one, other), (other, one)):
        cache = Cache(10)
        cache[first] = "old"
        assert second in cache and cache[second] == "old"
        cache[second] = "new"
        assert len(cache) == 1 and cache[first] == "new"
        # As in a dict, the key that was there first stays, as far as one can tell.
        assert cache.keys()[0] is first or (type(first) in (str, bytes) and cache.keys() == [first])
        assert cache.add(second, "x") is False and cache.replace(second, "y") is True
        assert cache.pop(second) == "y" and first not in cache and len(cache) == 0


@pytest.mark.parametrize(
    "one, other", [("a", b"a"), (1, "1"), ((1,), (2,)), (-1, -2), (Box("a"), "b"), ((1,), [1].__class__), (None, 0)]
)
def test_unequal_keys_are_apart(one, other):
    cache = Cache(10)
    cache[one], cache[other] = 1, 2
    assert (cache[one], cache[other], len(cache)) == (1, 2, 2)


def test_ints_and_other_numbers_are_keys_as_in_a_dict():
    modulus = sys.hash_info.modulus
    near = [0, 1, 2, 3, 5, 2**31, 2**62, 2**63, 2**64, modulus, 2 * modulus, modulus**2]
    numbers = [sign * (number + step) for number in near for step in (-2, -1, 0, 1, 2) for sign in (1, -1)]
    # Each equal to some of the ints, with the same hash.
    others = [*map(float, numbers), *map(fractions.Fraction, numbers), *map(decimal.Decimal, numbers), True, False]
    keys = [*numbers, *others, *((number,) for number in [*numbers, *others])]
    for order in (keys, keys[::-1]):
        cache, like = Cache(10_000), {}
        for key in order:
            cache[key] = like[key] = repr(key)
        assert len(cache) == len(like)
        assert all(cache[key] == like[key] for key in order)
        # Another object for each int.
        assert all(cache[number + 10**30 - 10**30] == like[number] for number in numbers)
        assert set(map(type, cache)) == set(map(type, like))
        assert all(cache.remove(key) for key in like) and len(cache) == 0


def test_keys_of_one_hash_are_apart():
    class Same(Box):
        def __hash__(self):
            return 7

    cache = Cache(500)
    cache[7] = "seven"
    for number in range(100):
        cache[Same(str(number))] = number
    assert len(cache) == 101 and cache[7] == "seven"
    assert [cache[Same(str(number))] for number in range(100)] == list(range(100))
    assert all(cache.remove(Same(str(number))) for number in range(100))
    assert cache.keys() == [7]


def test_misses_and_hits_are_counted_once_whatever_the_key():
    cache = Cache(10)
    cache[Box("a")] = 1
    assert cache.get(Box("a")) == 1 and cache.get(Box("b")) is None and cache.get("a") == 1
    stats = cache.stats()
    assert (stats["hits"], stats["misses"]) == (2, 1)


@pytest.mark.parametrize("call", ["get", "set", "add", "remove", "pop", "contains", "expire", "peek"])
def test_an_unhashable_key_is_a_type_error(call):
    cache = Cache(10)
    calls = {
        "get": lambda: cache.get([]), "set": lambda: cache.set([], 1), "add": lambda: cache.add({}, 1),
        "remove": lambda: cache.remove([]), "pop": lambda: cache.pop([], 1), "contains": lambda: [] in cache,
        "expire": lambda: cache.expire([], 1), "peek": lambda: cache.peek([]),
    }
    with pytest.raises(TypeError):
        calls[call]()
    assert len(cache) == 0


def test_values_keep_their_identity():
    cache, value = Cache(10), object()
    cache["a"] = value
    assert cache["a"] is value is cache.peek("a") is cache.values()[0] is cache.pop("a")


def test_entries_expire(clock):
    cache = Cache(10, ttl=10, clock=clock)
    cache["a"] = 1
    cache.set("b", 2, ttl=datetime.timedelta(seconds=20))
    cache.set("c", 3, None)
    clock.advance(10)
    assert "a" in cache
    clock.advance(0.5)
    assert cache.get("a") is None and cache["b"] == 2 and "c" not in cache
    assert 9.4 < cache.expires_in("b") < 9.6
    assert cache.expire("b", 100) and cache.expires_in("b") == pytest.approx(100)
    assert cache.expire("z", 1) is False
    with pytest.raises(KeyError):
        cache.expires_in("z")


def test_an_entry_without_a_deadline_can_be_given_one(clock):
    cache = Cache(10, clock=clock)
    cache.set("a", 1, tags=["t"])
    cache["b"] = 2
    assert cache.expires_in("b") is None
    assert cache.expire("a", 5) and cache.expire("b", 5) and cache.expire("b", 7)
    assert cache.tags("a") == ["t"] and cache.tags("z") is None
    clock.advance(6)
    assert "a" not in cache and "b" in cache
    assert cache.expire("b", None) and cache.expires_in("b") is None


def test_idle_entries_expire(clock):
    cache = Cache(10, idle=10, clock=clock)
    cache["a"], cache["b"] = 1, 2
    clock.advance(6)
    assert cache["a"] == 1
    clock.advance(6)
    assert "a" in cache and "b" not in cache


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), datetime.timedelta(0), -(10**400)])
def test_a_lifetime_is_above_zero(ttl):
    cache = Cache(10)
    with pytest.raises(ValueError, match="above 0"):
        cache.set("a", 1, ttl)
    assert len(cache) == 0


@pytest.mark.parametrize("ttl", ["5", [], object()])
def test_a_lifetime_is_a_number_or_a_timedelta(ttl):
    with pytest.raises(TypeError):
        Cache(10).set("a", 1, ttl)


@pytest.mark.parametrize("ttl", [1e300, float("inf"), 10**400, datetime.timedelta.max])
def test_a_very_long_lifetime_is_for_ever(ttl, clock):
    cache = Cache(10, clock=clock)
    cache.set("a", 1, ttl)
    clock.advance(10**9)
    assert cache["a"] == 1


def test_tags_invalidate():
    cache = Cache(10)
    cache.set("a", 1, tags=["x", "y"])
    cache.set("b", 2, tags=("y",))
    cache["c"] = 3
    assert sorted(cache.tags("a")) == ["x", "y"] and cache.tags("c") == []
    assert cache.invalidate_tag("y") is True and cache.invalidate_tag("y") is False
    assert cache.keys() == ["c"] and len(cache) == 1
    for wrong in ("x", 5, [1]):
        with pytest.raises(TypeError):
            cache.set("a", 1, tags=wrong)


def test_weights_bound_the_cache():
    cache = Cache(max_weight=10, weigher=lambda key, value: len(value), policy="lru")
    cache["a"], cache["b"] = "xxxxx", "yyyyy"
    cache["c"] = "zzzz"
    assert sorted(cache) == ["b", "c"] and cache.stats()["weight"] == 9
    assert cache.set("d", "x" * 11) is False and "d" not in cache


@pytest.mark.parametrize("weight", [-1, 2**32, "1", None, 1.5])
def test_a_wrong_weight_is_an_error(weight):
    cache = Cache(max_weight=10, weigher=lambda key, value: weight)
    with pytest.raises(ValueError, match="weigher"):
        cache["a"] = 1
    assert len(cache) == 0


def test_listeners_learn_why_an_entry_left(clock):
    seen = []
    cache = Cache(2, policy="lru", ttl=5, clock=clock, listener=lambda *removal: seen.append(removal))
    cache["a"] = 1
    cache["a"] = 2
    cache["b"] = 3
    cache["c"] = 4
    cache.remove("b")
    cache.set("t", 5, tags=["tag"])
    cache.invalidate_tag("tag")
    clock.advance(6)
    cache.remove_expired()
    assert seen == [
        ("a", 1, "replaced"), ("a", 2, "evicted"), ("b", 3, "removed"), ("t", 5, "invalidated"), ("c", 4, "expired"),
    ]


def test_a_listener_may_use_the_cache_and_raise(monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: raised.append(report.exc_value))
    calls = []

    def listen(key, value, cause):
        calls.append((key, cause))
        if len(calls) < 5:
            cache[f"{key}!"] = value
        raise RuntimeError("no")

    cache = Cache(1, policy="lru", listener=listen)
    cache["a"] = 1
    cache["b"] = 2
    assert calls[0] == ("a", "evicted") and len(calls) == 5 and len(raised) == 5
    assert cache.stats()["listener_errors"] == 5


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"policy": "none"}, ValueError), ({"capacity": -1}, ValueError), ({"capacity": "a"}, TypeError),
        ({"ttl": 0}, ValueError), ({"jitter": 2.0}, ValueError), ({"weigher": 1}, TypeError),
        ({"listener": "x"}, TypeError), ({"clock": 1}, TypeError), ({"unknown": 1}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments, error):
    with pytest.raises(error):
        Cache(**{"capacity": 1, **arguments})


def test_reasons_are_explained():
    cache = Cache(1, policy="lru", explain=10)
    cache["a"] = 1
    cache["b"] = 2
    assert cache.explain("a") == "missing: evicted" and cache.explain("b").startswith("present")
    assert cache.explain("z") == "missing: never seen"


def test_the_capacity_can_change():
    cache = Cache(10, policy="lru")
    cache.update((number, number) for number in range(10))
    cache.set_capacity(3)
    assert len(cache) == 3 and cache.capacity == 3 and cache.max_weight is None
    with pytest.raises(ValueError):
        Cache().set_capacity(5)


def test_values_are_released_as_soon_as_they_leave():
    cache = Cache(2, policy="lru")
    things = [Thing() for _ in range(6)]
    alive = [weakref.ref(thing) for thing in things]
    for number, thing in enumerate(things[:3]):
        cache[number] = thing
    cache[2] = things[3]
    cache["p"] = things[4]
    cache["q"] = things[5]
    del thing, things
    # Evicted, evicted, replaced, evicted; the last two are there.
    assert [reference() is not None for reference in alive] == [False] * 4 + [True] * 2
    cache.remove("p")
    assert alive[4]() is None
    cache.clear()
    assert alive[5]() is None


def test_no_reference_is_lost_or_kept():
    key, value = ("some", "key"), Thing()
    before = sys.getrefcount(key), sys.getrefcount(value)
    cache = Cache(10, listener=lambda *removal: None)
    for _ in range(100):
        cache[key] = value
        cache.get(key), cache.peek(key), cache.add(key, value), cache.replace(key, value)
        cache.keys(), cache.items(), cache.entries(), cache.get_many([key]), key in cache
        cache.set(Box(key), value)
        cache.pop(key)
        cache.set(key, value, 5, ["tag"])
        cache.invalidate_tag("tag")
    del cache
    assert (sys.getrefcount(key), sys.getrefcount(value)) == before


def test_the_collector_frees_cycles():
    def cycle():
        cache, thing = Cache(10), Thing()
        thing.cache = cache
        cache["a"] = thing
        cache[thing] = "key"
        cache["a"] = thing
        cache["gone"] = thing
        del cache["gone"]
        return weakref.ref(thing), weakref.ref(cache)

    references = [cycle() for _ in range(20)]
    gc.collect()
    assert all(reference() is None for pair in references for reference in pair)


def test_subclasses_and_sizes():
    class Mine(Cache):
        def __init__(self, *args, label):
            self.label = label

        def __new__(cls, *args, label):
            return super().__new__(cls, *args)

    mine = Mine(5, label="x")
    mine["a"] = 1
    assert mine.label == "x" and repr(mine).startswith("<Mine(len=1, capacity=5")
    empty, full = Cache(10**5), Cache(10**5)
    full.update((number, number) for number in range(10**4))
    assert sys.getsizeof(full) > sys.getsizeof(empty) + 10**4 * 100


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the memory of a process cannot be read here")
def test_the_size_is_what_the_cache_takes():
    program = """
import os, sys
import larder

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

keys, value = [str(number) for number in range(300_000)], object()
before = resident()
cache = larder.Cache(len(keys))
for key in keys:
    cache[key] = value
print(sys.getsizeof(cache) / (resident() - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=200)
    assert 0.75 < float(done.stdout) < 1.25


def test_nothing_is_left_of_what_is_used_many_times():
    """Counts every object that the collector knows, and every block of the allocator."""

    class Key:
        def __hash__(self):
            return 5

        def __eq__(self, other):
            if other.__class__ is str:
                raise ValueError
            return self is other

    @larder.cached(8, ttl=60, tags=["all"])
    def remembered(x, y=None):
        if x == 3:
            raise ValueError
        return [x]

    async def load():
        return ["loaded"]

    def use():
        cache = Cache(8, listener=lambda *removal: [].remove(1) if removal[0] == 3 else None, explain=4)
        quick = QuickCache(QuickCacheConfig(max_size=4, cleanup_interval=None))
        for number in range(30):
            cache.set(number, [number], 60, ["tag"])
            cache[Key()] = cache
            cache[("pair", number)] = Key()
            quick.set(number, [number])
            for attempt in (
                lambda: cache[object()], lambda: cache.get([]), lambda: cache.set(1, 1, -1), lambda: quick.get("x"),
                lambda: remembered(3), lambda: cache.get_or_load(Key(), lambda: 1 / 0), lambda: cache.pop(Key()),
            ):
                with pytest.raises((KeyError, TypeError, ValueError, ZeroDivisionError, CacheError)):
                    attempt()
            remembered(number % 3), remembered(number + 10, y=2)
            cache.get_or_load(("load", number), lambda: [1], tags=["tag"])
            cache.items(), cache.entries(), cache.explain(number), cache.stats(), list(cache), repr(cache)
            cache.coldest(3), cache.expire(number, 5), cache.tags(number), cache.get_many([number, "x"])
        asyncio.run(cache.get_or_load_async("async", load))
        cache.invalidate_tag("tag")
        remembered.cache_clear()

    def count():
        for _ in range(3):
            gc.collect()
        return len(gc.get_objects()), getattr(sys, "getallocatedblocks", int)()

    sys_hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        for _ in range(20):
            use()
        objects, blocks = count()
        for _ in range(40):
            use()
        more_objects, more_blocks = count()
    finally:
        sys.unraisablehook = sys_hook
    # One for each operation would be 1,200. Free lists of the interpreter grow for a while.
    assert more_objects - objects < 40 and more_blocks - blocks < 600


def test_a_missing_value_is_loaded_once_for_all_threads():
    cache, calls, inside, others = Cache(10), [], threading.Event(), threading.Barrier(8)

    def load():
        calls.append(1)
        inside.wait()
        return "value"

    results = []

    def ask():
        others.wait()
        results.append(cache.get_or_load("key", load))

    threads = [threading.Thread(target=ask) for _ in range(7)]
    for thread in threads:
        thread.start()
    others.wait()
    inside.set()
    for thread in threads:
        thread.join()
    assert results == ["value"] * 7 and calls == [1] and cache["key"] == "value"


def test_what_a_loader_raises_is_not_kept():
    cache = Cache(10)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load("key", lambda: 1 / 0)
    assert cache.get_or_load("key", lambda: 5) == 5


def test_loaders_that_need_each_other_end():
    cache = Cache(10)
    assert cache.get_or_load("a", lambda: cache.get_or_load("b", lambda: cache.get_or_load("a", lambda: 1))) == 1


@pytest.mark.parametrize("key", ["key", ("key", 1), Box(5)], ids=["text", "tuple", "object"])
def test_a_load_is_not_stored_after_a_change_of_its_key(key):
    changes = [
        lambda cache: cache.remove(key), lambda cache: cache.pop(key, None), lambda cache: cache.clear(),
        lambda cache: cache.invalidate_tag("tag"), lambda cache: cache.remove_key(key),
    ]
    for change in changes:
        cache = Cache(10)
        assert cache.get_or_load(key, lambda: change(cache) and None or "old") == "old"
        assert key not in cache
    cache = Cache(10)
    assert cache.get_or_load(key, lambda: cache.set(key, "new") and "old") == "old"
    assert cache[key] == "new"
    other = Cache(10)
    assert other.get_or_load(key, lambda: other.remove("another") or "value") == "value"
    assert other[key] == "value"


def test_a_fill_is_completed_once():
    cache = Cache(10)
    fill = cache.begin_fill("key")
    assert not fill.is_stale
    assert cache.complete_fill(fill, "key", 1) and not cache.complete_fill(fill, "key", 2)
    # Another load does not make it stale, and its value stays unless the call says otherwise.
    first, second = cache.begin_fill("key"), cache.begin_fill("key")
    assert not cache.complete_fill(first, "key", 3) and cache["key"] == 1
    assert cache.complete_fill(second, "key", 4, replace=True) and cache["key"] == 4
    # One that replaces what there is does.
    first, second, other = cache.begin_fill("key"), cache.begin_fill("key"), cache.begin_fill("other")
    assert cache.complete_fill(first, "key", 4, replace=True) and second.is_stale and not other.is_stale
    assert not cache.complete_fill(second, "key", 5, replace=True) and cache["key"] == 4
    foreign = Cache(10).begin_fill("key")
    assert not cache.complete_fill(foreign, "key", 5, replace=True) and cache["key"] == 4


def test_sets_are_counted_alike_among_new_keys_and_old_ones():
    cache, values = Cache(100), {}
    order = [*range(10), *range(10), *range(8, 20), 3, *range(20, 40), *range(40)]
    for number, key in enumerate(order):
        old = values.get(key)
        values[key] = Thing()
        reference = None if old is None else weakref.ref(old)
        del old
        cache[key] = values[key]
        assert cache[key] is values[key] and (reference is None or reference() is None)
        stats = cache.stats()
        assert (stats["hits"], stats["misses"]) == (number + 1, 0) and stats["entries"] == len(values)
    assert cache.stats()["replacements"] == len(order) - len(values)


def test_a_value_in_the_place_of_another_is_counted_and_released():
    class Value:
        pass

    for cache in (Cache(10, policy="lru"), Cache(10, policy="lru", ttl=60)):
        gone = []
        for number in range(3):
            value = Value()
            weakref.finalize(value, gone.append, number)
            cache.set("key", value)
            del value
        assert gone == [0, 1]
        stats = cache.stats()
        assert (stats["inserts"], stats["replacements"], stats["hits"], stats["misses"]) == (1, 2, 0, 0)
        cache.set("tagged", 1, tags=["tag"])
        cache.set("tagged", 2)
        assert cache.tags("tagged") == []
        cache.set("short", 1, ttl=60)
        cache.set("short", 2)
        assert cache.expires_in("short") == (None if cache.expires_in("key") is None else pytest.approx(60, abs=5))


def test_the_quick_methods_take_arguments_as_the_others():
    cache = Cache(10)
    assert cache.set("a", 1) is True and cache.set("b", 2, 60) is True and cache.set("c", 3, ttl=60, tags=["t"]) is True
    assert cache.get("a") == 1 and cache.get("x") is None and cache.get("x", 5) == 5
    assert cache.tags("c") == ["t"] and 0 < cache.expires_in("b") <= 60
    for call in (
        lambda: cache.get(), lambda: cache.get(1, 2, 3), lambda: cache.get(key=1), lambda: cache.set(1),
        lambda: cache.set(1, 2, other=3), lambda: cache.set(1, 2, 3, ttl=4), lambda: cache.set(1, 2, 3, [], 5),
        lambda: Cache.get("no cache", 1), lambda: Cache.get(),
    ):
        with pytest.raises(TypeError):
            call()
    assert str(inspect.signature(Cache.get)) == "(self, key, default=None, /)"
    assert Cache.set.__doc__.startswith("Stores `value`")


def test_a_missing_value_is_loaded_once_for_all_coroutines():
    async def run():
        cache, calls = Cache(10), []

        async def load():
            calls.append(1)
            await asyncio.sleep(0)
            return "value"

        results = await asyncio.gather(*(cache.get_or_load_async("key", load) for _ in range(5)))
        assert results == ["value"] * 5 and calls == [1]

    asyncio.run(run())


PLAIN = {
    "none": None, "true": True, "int": -(2**80), "zero": 0, "float": 1.5, "text": "é\ud800", "bytes": b"\0\1",
    "tuple": (1, (2,)), "list": [1, []], "dict": {1: {"a": ()}}, "set": {1, 2}, "frozen": frozenset("ab"),
    "time": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), "span": datetime.timedelta(-1, 5, 6),
}


def test_snapshots_keep_values_and_types(tmp_path):
    path = tmp_path / "cache"
    cache = Cache(100)
    for key, value in PLAIN.items():
        cache[(key, 1)] = value
    cache.set("tagged", 1, 50, ["t"])
    assert cache.save(path) == len(PLAIN) + 1
    other = Cache(100)
    assert other.load(path) == len(PLAIN) + 1
    for key, value in PLAIN.items():
        assert other[(key, 1)] == value and type(other[(key, 1)]) is type(value)
    assert other.tags("tagged") == ["t"] and 40 < other.expires_in("tagged") <= 50
    assert other.expires_in(("int", 1)) is None


def test_snapshots_in_json(tmp_path):
    path = tmp_path / "cache.json"
    cache = Cache(10)
    cache.set("a", [1, None], 50)
    assert cache.save(path, "json") == 1 and Cache(10).load(path, "json") == 1
    cache[1] = 1
    with pytest.raises(SnapshotError):
        cache.save(path, "json")
    with pytest.raises(ValueError):
        cache.save(path, "xml")
    assert Cache(10).load(path, "json") == 1


def test_a_refused_save_leaves_the_old_file(tmp_path):
    path, cache, circle = tmp_path / "cache", Cache(10), []
    cache["a"] = 1
    cache.save(path)
    circle.append(circle)
    for value in (object(), circle, Thing):
        cache["b"] = value
        with pytest.raises(SnapshotError):
            cache.save(path)
    assert Cache(10).load(path) == 1 and [file.name for file in tmp_path.iterdir()] == ["cache"]


def test_every_damage_to_a_snapshot_is_noticed(tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    cache.update(a=1, b=[1, "x", {2: 3.0}])
    cache.save(path)
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in range(len(whole))] + [whole + b"x"]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    other = Cache(10)
    other["kept"] = 1
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(SnapshotError):
            other.load(path)
    assert other.items() == [("kept", 1)]


@pytest.mark.parametrize(
    "content",
    [
        None, [], {}, {"saved_at": 1.0}, {"saved_at": "x", "entries": []}, {"saved_at": 1.0, "entries": [1]},
        {"saved_at": 1.0, "entries": [[[], 1, None, []]]}, {"saved_at": 1.0, "entries": [[1, 1, "x", []]]},
        {"saved_at": 1.0, "entries": [[1, 1, None, "x"]]}, {"saved_at": 1.0, "entries": [[1, 1, None, [1]]]},
        {"saved_at": 1.0, "entries": {"a": 1}},
    ],
)
def test_a_snapshot_of_something_else_is_refused(content, tmp_path):
    from larder.files import encode

    path = tmp_path / "file"
    path.write_bytes(encode(content))
    with pytest.raises(SnapshotError):
        Cache(10).load(path)
