"""What a cache takes, and what it says of what it does not take."""

import collections
import datetime
import inspect

import pytest

import larder
from larder import Cache, ManualClock


@pytest.mark.parametrize("name", ["capacity", "max_weight", "explain"])
@pytest.mark.parametrize("given, error", [(-1, ValueError), (10**30, ValueError), (2.5, TypeError), ("5", TypeError)])
def test_a_count_that_is_none_is_named(name, given, error):
    with pytest.raises(error, match=name):
        Cache(**{"capacity": 10, name: given})


@pytest.mark.parametrize("call", [Cache.hottest, Cache.coldest, Cache.set_capacity])
def test_a_count_of_a_call_is_checked(call):
    with pytest.raises(ValueError, match="below 0"):
        call(Cache(10), -1)
    with pytest.raises(TypeError, match="must be an int"):
        call(Cache(10), "a")


def test_only_a_cache_with_a_capacity_gets_another_one():
    for cache in (Cache(), Cache(max_weight=5)):
        with pytest.raises(ValueError, match="without a capacity"):
            cache.set_capacity(5)


def test_a_policy_has_to_be_one_of_them_without_a_bound_too():
    for arguments in ({}, {"capacity": 5}, {"max_weight": 5}):
        with pytest.raises(ValueError, match="unknown policy 'none'; known are lru, "):
            Cache(policy="none", **arguments)


def test_a_wrong_name_is_not_one_of_the_native_part():
    with pytest.raises(TypeError, match="'maxsize'") as raised:
        Cache(maxsize=5)
    assert "Core" not in str(raised.value)
    assert list(inspect.signature(Cache).parameters)[:3] == ["capacity", "max_weight", "weigher"]


def test_the_types_of_keys_and_values_may_be_given():
    class Users(Cache[str, int]):
        pass

    cache: Cache[str, int] = Cache[str, int](5)
    assert cache.capacity == Users(5).capacity == 5


class Keyed:
    def keys(self):
        return ["a", "b"]

    def __getitem__(self, key):
        return key * 2


def full():
    cache = Cache(10)
    cache["a"], cache["b"] = "aa", "bb"
    return cache


@pytest.mark.parametrize(
    "pairs",
    [
        {"a": "aa", "b": "bb"}, collections.ChainMap({"a": "aa"}, {"b": "bb"}), [("a", "aa"), ("b", "bb")],
        [["a", "aa"], ["b", "bb"]], iter([("a", "aa"), iter(["b", "bb"])]), Keyed(), full(),
    ],
)
def test_pairs_are_taken_as_a_dict_takes_them(pairs):
    cache = Cache(10)
    cache.update(pairs)
    assert dict(cache) == {"a": "aa", "b": "bb"}


@pytest.mark.parametrize(
    "pairs, error", [([5], TypeError), ([("a",)], ValueError), ([["a", 1, 2]], ValueError), (5, TypeError)]
)
def test_what_is_no_pair_is_refused(pairs, error):
    with pytest.raises(error):
        Cache(10).set_many(pairs)


def test_a_tag_is_a_string():
    with pytest.raises(TypeError, match="a tag must be a string, not <class 'int'>"):
        Cache(10).set("a", 1, tags=[5])


def test_a_clock_goes_forward_by_any_span_that_is_not_below_0(clock):
    clock.advance(0)
    clock.advance(0.0)
    with pytest.raises(ValueError, match="seconds -1 is below 0"):
        clock.advance(-1)
    for wrong in (None, "5"):
        with pytest.raises(TypeError, match="seconds must be"):
            clock.advance(wrong)
    assert isinstance(clock, ManualClock) and clock.time() == 0 and larder.__version__


class Raising:
    """Raises in every conversion."""

    def __init__(self, error):
        self.error = error

    def convert(self):
        raise self.error

    __float__ = __index__ = __iter__ = convert


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("of the user"), ValueError("of the user")])
def test_what_a_conversion_raises_reaches_the_caller(error):
    given = Raising(error)
    for call in (
        lambda: Cache(10).set("key", "value", given),
        lambda: Cache(10, ttl=given),
        lambda: Cache(given),
        lambda: Cache(10, weigher=lambda key, value: given).set("key", "value"),
        lambda: Cache(10).set_many([given]),
        lambda: larder.cached(ttl=given),
    ):
        with pytest.raises(type(error)) as raised:
            call()
        assert raised.value is error


def test_no_time_may_be_a_timedelta(clock):
    clock.advance(datetime.timedelta(0))
    assert clock.time() == 0
    with pytest.raises(ValueError, match="below 0"):
        clock.advance(datetime.timedelta(-1))
