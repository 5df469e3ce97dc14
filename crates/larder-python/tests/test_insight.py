"""What a cache says about itself: order, frequencies, segments, shadow caches; and what `help()` says of it."""

import contextlib
import inspect
import pydoc
import threading

import pytest

import larder
import larder.cachetools
import larder.pyquickcache
from larder import Cache

EXACT = ("lru", "lfu", "fifo")


def test_the_order_of_lru():
    cache = Cache(10, policy="lru")
    cache.update((key, key * 10) for key in "abc")
    cache.get("a")
    assert cache.hottest() == ["a", "c", "b"] and cache.coldest() == ["b", "c", "a"]
    assert cache.hottest(1) == ["a"] and cache.coldest(2) == ["b", "c"] and cache.coldest(0) == []
    before = cache.stats()
    assert cache.pop_coldest() == ("b", "b" * 10) and cache.pop_coldest() == ("c", "c" * 10)
    after = cache.stats()
    assert (after["hits"], after["misses"]) == (before["hits"], before["misses"])
    assert cache.pop_coldest() == ("a", "a" * 10)
    with pytest.raises(KeyError):
        cache.pop_coldest()


def test_items_are_added_and_popped_as_with_a_dict():
    cache = same = Cache(10, policy="lru")
    cache |= {"a": 1}
    cache |= [("b", 2), ("c", 3)]
    assert cache is same and dict(cache.items()) == {"a": 1, "b": 2, "c": 3}
    cache.get("a")
    assert [cache.popitem() for _ in range(3)] == [("b", 2), ("c", 3), ("a", 1)]
    with pytest.raises(KeyError):
        cache.popitem()
    with pytest.raises(TypeError):
        cache |= 1


def test_the_order_of_lfu_and_fifo():
    cache = Cache(10, policy="lfu")
    for count, key in enumerate("abc"):
        cache[key] = key
        for _ in range(count):
            cache.get(key)
    assert cache.hottest() == ["c", "b", "a"]
    assert [cache.frequency(key) for key in "abcz"] == [1, 2, 3, None]
    fifo = Cache(10, policy="fifo")
    fifo.update(a=1, b=2)
    fifo.get("a")
    assert fifo.coldest() == ["a", "b"]


@pytest.mark.parametrize("policy", larder.policies())
def test_every_policy_names_all_keys_once(policy):
    cache = Cache(50, policy=policy)
    for number in range(200):
        cache[number] = number
        cache.get(number // 2)
    for keys in (cache.hottest(1000), cache.coldest(1000)):
        assert sorted(keys) == sorted(cache) and len(set(keys)) == len(keys)
    assert all(type(cache.frequency(key)) is int for key in cache)
    assert all(set(segment) == {"name", "entries", "cost", "target"} for segment in cache.segments())
    if policy == "window_tiny_lfu":
        assert sum(segment["entries"] for segment in cache.segments()) == len(cache)


@pytest.mark.parametrize("policy", EXACT)
def test_the_coldest_is_what_is_evicted_next(policy):
    cache = Cache(20, policy=policy)
    for number in range(100):
        if len(cache) == 20:
            (coldest,) = cache.coldest(1)
            cache[number] = number
            assert coldest not in cache
        else:
            cache[number] = number
        cache.get(number * 7 % 20)


def test_keys_of_the_order_are_the_objects_themselves(clock):
    class Same:
        def __hash__(self):
            return 5

        def __eq__(self, other):
            return self is other

    keys = [Same() for _ in range(5)]
    cache = Cache(10, policy="lru", ttl=10, clock=clock)
    for key in keys:
        cache[key] = key
    assert [one is other for one, other in zip(cache.coldest(), keys)] == [True] * 5
    assert cache.frequency(keys[0]) is not None
    clock.advance(11)
    assert cache.hottest() == []


def test_the_order_while_threads_change_the_cache():
    cache, failures, is_over = Cache(50, policy="lru"), [], threading.Event()

    def change():
        number = 0
        while not is_over.is_set():
            number += 1
            cache[f"k{number % 200}"] = number

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            failures += [key for key in cache.hottest(100) if not key.startswith("k")]
            # It may be empty, if the threads had no time since.
            with contextlib.suppress(KeyError):
                cache.pop_coldest()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def loop(cache, keys, rounds):
    for _ in range(rounds):
        for key in range(keys):
            if cache.get(key) is None:
                cache[key] = key + 1


def test_shadow_caches_say_what_other_sizes_would_do():
    cache = Cache(100, policy="lru", shadow={"policies": ["lru", "window_tiny_lfu"], "multiples": [1, 2]})
    assert all(point["hit_ratio"] is None for point in cache.shadow_report()["points"])
    loop(cache, 150, 10)
    report = cache.shadow_report()
    ratios = {(point["policy"], point["multiple"]): point["hit_ratio"] for point in report["points"]}
    assert ratios["lru", 1.0] == 0.0 and ratios["lru", 2.0] == 0.9 and ratios["window_tiny_lfu", 1.0] > 0.3
    assert report["lookups"] == 1500 and report["dropped"] == 0 and report["bytes"] > 0
    point = report["points"][1]
    assert point["capacity"] == 200 and point["max_weight"] is None and point["has_failed"] is False
    assert point["samples"] == 1500 and point["sample_rate"] == 1.0 and point["entries"] == 150
    cache.reset_shadow_counts()
    loop(cache, 150, 1)
    assert cache.shadow_report()["lookups"] == 150


def test_the_default_shadows_are_of_the_policy_of_the_cache():
    points = Cache(100, policy="sieve", shadow=True).shadow_report()["points"]
    assert [(point["policy"], point["multiple"]) for point in points] == [
        ("sieve", multiple) for multiple in (0.5, 1.0, 2.0, 4.0)
    ]
    assert Cache(100).shadow_report() is None and Cache(100, shadow=False).shadow_report() is None
    Cache(100).reset_shadow_counts()


def test_shadows_of_weights():
    cache = Cache(max_weight=1000, weigher=lambda key, value: 10, policy="lru", shadow={"multiples": [0.5]})
    loop(cache, 60, 5)
    (point,) = cache.shadow_report()["points"]
    assert point["max_weight"] == 500 and point["capacity"] is None and point["hit_ratio"] == 0.0


@pytest.mark.parametrize(
    "shadow, error",
    [
        ({"multiples": [0]}, ValueError), ({"multiples": [-1.0]}, ValueError), ({"multiples": [float("nan")]}, ValueError),
        ({"multiples": []}, ValueError), ({"policies": ["none"]}, ValueError), ({"sample_entries": 1}, ValueError),
        ({"size": 5}, ValueError), ({"policies": "lru"}, TypeError), ({"multiples": 5}, TypeError), ([], TypeError),
        ({1: 2}, TypeError), ("lru", TypeError), ({"policies": [1]}, TypeError), ({"multiples": [1] * 1000}, ValueError),
    ],
)
def test_wrong_shadows_are_refused(shadow, error):
    with pytest.raises(error):
        Cache(100, shadow=shadow)


def test_shadows_need_a_bound():
    with pytest.raises(ValueError, match="bound"):
        Cache(shadow=True)


def public(owner):
    for name, member in inspect.getmembers(owner):
        if not name.startswith("_") and (callable(member) or isinstance(member, property) or inspect.isdatadescriptor(member)):
            yield name, member


@pytest.mark.parametrize(
    "owner",
    [
        larder.Cache, larder.ManualClock, larder.cachetools.LRUCache, larder.cachetools.LFUCache,
        larder.cachetools.TTLCache, larder.pyquickcache.QuickCache, type(larder.cached(lambda: 1)),
        type(larder.lru_cache(0)(lambda: 1)),
    ],
)
def test_help_says_what_each_call_does(owner):
    assert inspect.getdoc(owner)
    # What mappings have without saying anything is not ours.
    silent = [name for name, member in public(owner) if not inspect.getdoc(member)]
    assert silent == []
    text = pydoc.plain(pydoc.render_doc(owner))
    assert all(name in text for name, _ in public(owner))


def test_every_module_says_what_it_is():
    import importlib
    import pkgutil

    for found in pkgutil.walk_packages(larder.__path__, "larder."):
        if ".django" not in found.name:
            assert importlib.import_module(found.name).__doc__, found.name
    assert all(inspect.getdoc(getattr(larder, name)) for name in larder.__all__)
