"""The contract of PyQuickCache, and its defects, against the shim."""

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections import OrderedDict
from decimal import Decimal
from datetime import datetime, timedelta, timezone

import pytest

import pyquickcache
from pyquickcache import QuickCache, QuickCacheConfig, register_eviction_policy, register_serializer
from pyquickcache.base_cache import BaseCache
from pyquickcache.eviction_policy import (
    BaseEvictionPolicy,
    FIFOEvictionPolicy,
    LFUEvictionPolicy,
    LRUEvictionPolicy,
)
from pyquickcache.exceptions import (
    CacheError,
    CacheLoadError,
    CacheMetricsSaveError,
    CacheSaveError,
    InvalidTTL,
    KeyAlreadyExists,
    KeyExpired,
    KeyNotFound,
)
from pyquickcache.registry.registry import create_eviction_policy, create_serializer
from pyquickcache.serializer import BaseSerializer


@register_eviction_policy("python_lru")
class PythonLRU(LRUEvictionPolicy):
    pass


@register_eviction_policy("python_lfu")
class PythonLFU(LFUEvictionPolicy):
    pass


@register_eviction_policy("python_fifo")
class PythonFIFO(FIFOEvictionPolicy):
    pass


POLICIES = ["lru", "lfu", "fifo", "python_lru", "python_lfu", "python_fifo"]
NAMES = ["hits", "misses", "sets", "gets", "failed_ops", "evictions", "expired_removals", "manual_deletions"]


def make(clock, policy="lru", **settings):
    settings = {"cleanup_interval": None, "max_size": 3, **settings}
    return QuickCache(QuickCacheConfig(eviction_policy=policy, **settings), clock=clock)


def counted(cache):
    snapshot = cache.get_metrics_snapshot()
    return {name: snapshot[name] for name in NAMES if snapshot[name]}


def present(cache):
    return [key for key in "abcdefgh" if cache.get_many([key])]


def test_the_configuration_has_the_order_and_the_defaults():
    config = QuickCacheConfig(7, 8, 9, "fifo", "json", "dir", "name", True, False, "json", "mdir", "mname", True)
    assert (config.max_size, config.default_ttl, config.cleanup_interval) == (7, 8, 9)
    assert (config.filename, config.metrics_filename, config.cache_metrics_timestamps) == ("name", "mname", True)
    default = QuickCacheConfig()
    assert (default.max_size, default.default_ttl, default.cleanup_interval) == (50, 500, 50)
    assert (default.eviction_policy, default.storage_dir, default.filename) == ("lru", "cache_storage", "cache_data")
    assert default.enable_metrics is True and default.metrics_serializer == "json"
    assert (default.metrics_storage_dir, default.metrics_filename) == ("cache_metrics", "metrics")
    assert default == QuickCacheConfig() and default != config


def test_the_shim_is_the_same_package():
    import larder.pyquickcache.exceptions

    assert larder.pyquickcache.exceptions.KeyNotFound is KeyNotFound
    assert pyquickcache.QuickCache is larder.pyquickcache.QuickCache
    assert isinstance(QuickCache(), BaseCache)
    assert repr(QuickCache()) == "<QuickCache(size=0, max_size=50, policy='lru')>"


# What each call does in each state of its key: (result or error, what is counted besides the set-up, value after).
TABLE = [
    ("get", "missing", KeyNotFound, {"gets": 1, "misses": 1}, None),
    ("get", "expired", KeyExpired, {"gets": 1, "misses": 1, "expired_removals": 1}, None),
    ("get", "valid", "old", {"gets": 1, "hits": 1}, "old"),
    ("set", "missing", None, {"sets": 1}, "new"),
    ("set", "expired", None, {"sets": 1, "expired_removals": 1}, "new"),
    ("set", "valid", None, {"sets": 1}, "new"),
    ("add", "missing", None, {"sets": 1}, "new"),
    ("add", "expired", None, {"sets": 1, "expired_removals": 1}, "new"),
    ("add", "valid", KeyAlreadyExists, {"failed_ops": 1}, "old"),
    ("update", "missing", KeyNotFound, {"failed_ops": 1}, None),
    ("update", "expired", KeyExpired, {"failed_ops": 1, "expired_removals": 1}, None),
    ("update", "valid", None, {"sets": 1}, "new"),
    ("delete", "missing", KeyNotFound, {"misses": 1}, None),
    ("delete", "expired", KeyExpired, {"misses": 1, "expired_removals": 1}, None),
    ("delete", "valid", None, {"manual_deletions": 1}, None),
    ("set_many", "missing", None, {"sets": 1}, "new"),
    ("set_many", "expired", None, {"sets": 1, "expired_removals": 1}, "new"),
    ("set_many", "valid", None, {"sets": 1}, "new"),
    ("get_many", "missing", {}, {"gets": 1, "misses": 1}, None),
    ("get_many", "expired", {}, {"gets": 1, "misses": 1, "expired_removals": 1}, None),
    ("get_many", "valid", {"k": "old"}, {"gets": 1, "hits": 1}, "old"),
    ("delete_many", "missing", None, {"misses": 1}, None),
    ("delete_many", "expired", None, {"misses": 1, "expired_removals": 1}, None),
    ("delete_many", "valid", None, {"manual_deletions": 1}, None),
    ("clear", "expired", None, {"manual_deletions": 1}, None),
    ("clear", "valid", None, {"manual_deletions": 1}, None),
    ("cleanup", "expired", None, {"expired_removals": 1}, None),
    ("cleanup", "valid", None, {}, "old"),
]
ARGUMENTS = {
    "get": ("k",), "set": ("k", "new"), "add": ("k", "new"), "update": ("k", "new"), "delete": ("k",),
    "set_many": ({"k": "new"},), "get_many": (["k"],), "delete_many": (["k"],), "clear": (), "cleanup": (),
}


@pytest.mark.parametrize("policy", ["lru", "lfu", "python_lfu"])
@pytest.mark.parametrize("call, state, expected, counts, after", TABLE)
def test_calls_by_state(call, state, expected, counts, after, policy, clock):
    cache = make(clock, policy)
    if state != "missing":
        cache.set("k", "old", 10)
        cache.reset_metrics()
    if state == "expired":
        clock.advance(10.001)
        assert cache.size() == 1
    method, arguments = getattr(cache, call), ARGUMENTS[call]
    if isinstance(expected, type) and issubclass(expected, CacheError):
        with pytest.raises(expected) as raised:
            method(*arguments)
        assert raised.value.key == "k" and not isinstance(raised.value, KeyError)
    else:
        assert method(*arguments) == expected
    assert counted(cache) == counts
    assert cache.size() == (after is not None)
    if after is None:
        with pytest.raises(KeyNotFound):
            cache.get("k")
    else:
        assert cache.get("k") == after


@pytest.mark.parametrize("policy", ["lru", "python_lru"])
def test_an_entry_is_valid_up_to_its_deadline(policy, clock):
    cache = make(clock, policy)
    cache.set("a", 1, 10)
    clock.advance(10)
    assert cache.get("a") == 1
    clock.advance(0.001)
    with pytest.raises(KeyExpired):
        cache.get("a")
    with pytest.raises(KeyNotFound):
        cache.get("a")


TTLS = [
    (1.9, 1), ("5", 5), (b"7", 7), (True, 1), (Decimal("2.7"), 2), (3, 3), (10**9, 10**9),
    (0, InvalidTTL), ("", InvalidTTL), (False, InvalidTTL), ([], InvalidTTL), ({}, InvalidTTL), (0.5, InvalidTTL),
    (-1, InvalidTTL), ("abc", InvalidTTL), (float("nan"), InvalidTTL), ("-3", InvalidTTL), (0.0, InvalidTTL),
    # Where the original overflows, or raises a TypeError (defect 5).
    (float("inf"), InvalidTTL), ([1], InvalidTTL), (object(), InvalidTTL), (timedelta(1), InvalidTTL),
    (10**12, InvalidTTL), (10**400, InvalidTTL),
]


@pytest.mark.parametrize("given, expected", TTLS, ids=[str(index) for index in range(len(TTLS))])
def test_times_to_live(given, expected, clock):
    cache = make(clock)
    if expected is InvalidTTL:
        for call in (cache.set, cache.add, cache.update):
            with pytest.raises(InvalidTTL) as raised:
                call("missing", 1, given)
            assert raised.value.ttl is given and raised.value.message == f"Invalid TTL value: {given}"
        with pytest.raises(InvalidTTL):
            cache.set_many({"a": 1}, given)
        assert cache.size() == 0 and counted(cache) == {}
        return
    cache.set("a", 1, given)
    clock.advance(expected)
    assert cache.get("a") == 1
    clock.advance(0.001)
    with pytest.raises(KeyExpired):
        cache.get("a")


def test_the_default_time_to_live_is_raw_and_can_be_changed(clock):
    cache = make(clock, default_ttl=0.25)
    cache.set("a", 1)
    clock.advance(0.3)
    with pytest.raises(KeyExpired):
        cache.get("a")
    cache.config.default_ttl = 5
    cache.set("a", 1)
    cache.set("b", 1, 100)
    cache.update("b", 2)
    clock.advance(5.1)
    for key in "ab":
        with pytest.raises(KeyExpired):
            cache.get(key)


@pytest.mark.parametrize("default", [0, -1, None, "5", float("nan"), float("inf")])
def test_a_wrong_default_time_to_live_is_an_error(default, clock):
    cache = make(clock, default_ttl=default)
    with pytest.raises(InvalidTTL):
        cache.set("a", 1)
    assert cache.size() == 0


@pytest.mark.parametrize("size", [0, -1, None, 1.5, "5"])
def test_a_size_that_holds_nothing_is_refused(size, clock):
    with pytest.raises(ValueError, match="max_size"):
        make(clock, max_size=size)


ERRORS = [
    (KeyNotFound("k"), "KEY_NOT_FOUND", "Key 'k' not found", {"key": "k"}),
    (KeyExpired("k"), "KEY_EXPIRED", "Key 'k' has expired", {"key": "k"}),
    (KeyAlreadyExists(5), "KEY_ALREADY_EXISTS", "Key '5' already exists", {"key": 5}),
    (InvalidTTL(-1), "INVALID_TTL", "Invalid TTL value: -1", {"ttl": -1}),
    (CacheSaveError("p"), "CACHE_SAVE_ERROR", "Failed to save cache to disk: p", {"filepath": "p"}),
    (CacheLoadError("p", ValueError("x")), "CACHE_LOAD_ERROR", "Failed to load cache from disk: p | x", {"filepath": "p"}),
    (CacheMetricsSaveError("p"), "CACHE_METRICS_SAVE_ERROR", "Failed to save cache metrics to disk: p", {"filepath": "p"}),
    (CacheError(), "CACHE_ERROR", "CacheError", {}),
]


@pytest.mark.parametrize("error, code, message, fields", ERRORS, ids=[code for _, code, _, _ in ERRORS])
def test_errors(error, code, message, fields):
    # Pickled and back (defect 19), too.
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(one, CacheError) and type(one) is type(error)
        assert (one.code, one.message, str(one)) == (code, message, message)
        assert {name: getattr(one, name) for name in fields} == fields


@pytest.mark.parametrize("key", [1, 1.5, None, ("a", 1), frozenset("a"), b"x", "", object()])
def test_any_hashable_key_and_values_by_identity(key, clock):
    cache, value = make(clock), object()
    cache.set(key, value)
    assert cache.get(key) is value
    cache.set(key, None)
    assert cache.get(key) is None
    cache.delete(key)


@pytest.mark.parametrize("policy", ["lru", "python_lru"])
def test_keys_are_equal_as_in_python(policy, clock):
    cache = make(clock, policy)
    cache.set(1, "one")
    assert cache.get(1.0) == cache.get(True) == "one" and cache.size() == 1
    for call in (cache.get, cache.delete):
        with pytest.raises(TypeError):
            call([])
    with pytest.raises(TypeError):
        cache.set({}, 1)


def test_set_many_stores_nothing_if_a_key_is_not_hashable(clock):
    class Mapping(dict):
        def items(self):
            return [("a", 1), ([], 2)]

    cache = make(clock)
    with pytest.raises(TypeError):
        cache.set_many(Mapping())
    assert cache.size() == 0


ORDERS = {
    "lru": [
        ("", "bcd"), ("get a", "acd"), ("get_many a", "acd"), ("set a", "acd"), ("set_many a", "acd"),
        ("update a", "acd"), ("add a", "bcd"), ("delete c", "abd"), ("size", "bcd"), ("get z", "bcd"),
    ],
    "fifo": [
        ("", "bcd"), ("get a", "bcd"), ("set a", "bcd"), ("update a", "bcd"), ("get_many a", "bcd"),
        ("delete a;set a", "acd"),
    ],
    "lfu": [
        ("", "bcd"), ("get a", "acd"), ("get a;get b", "abd"), ("set a;get b;get c", "bcd"),
        ("get a;get b;get c;get b", "bcd"), ("update a", "acd"), ("delete a;set a", "acd"), ("add a", "bcd"),
        ("get c;get b;get a", "abd"),
    ],
}


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "python"])
@pytest.mark.parametrize(
    "policy, calls, left", [(policy, *case) for policy, cases in ORDERS.items() for case in cases]
)
def test_order_of_eviction(policy, calls, left, is_native, clock):
    cache = make(clock, policy if is_native else f"python_{policy}")
    cache.set_many({"a": 1, "b": 1, "c": 1})
    for call in filter(None, calls.split(";")):
        name, *keys = call.split()
        arguments = {"get_many": [keys], "set_many": [{"a": 1}], "get": keys, "delete": keys, "size": []}
        try:
            getattr(cache, name)(*arguments.get(name, [*keys, 2]))
        except CacheError:
            pass
    cache.set("d", 1)
    assert "".join(present(cache)) == left and cache.size() == 3


@pytest.mark.parametrize("policy", POLICIES)
def test_of_too_many_the_last_ones_remain(policy, clock):
    cache = make(clock, policy)
    cache.set_many(dict.fromkeys("abcdefgh", 1))
    assert "".join(present(cache)) == "fgh"
    assert counted(cache)["evictions"] == 5 and counted(cache)["sets"] == 8


@pytest.mark.parametrize("policy", POLICIES)
def test_expired_entries_make_room_first(policy, clock):
    cache = make(clock, policy)
    cache.set("a", 1, 100)
    cache.set_many({"b": 1, "c": 1}, 5)
    clock.advance(6)
    cache.set("d", 1, 100)
    assert cache.size() == 2 and "".join(present(cache)) == "ad"
    assert counted(cache)["expired_removals"] == 2 and "evictions" not in counted(cache)


@pytest.mark.parametrize("policy", POLICIES)
def test_overwriting_never_evicts(policy, clock):
    cache = make(clock, policy)
    for _ in range(3):
        cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache.size() == 3 and "evictions" not in counted(cache)


class Recorder(BaseEvictionPolicy):
    log = []

    def _note(hook):
        def note(self, cache, key):
            Recorder.log.append((hook, key, key in cache, len(cache)))

        return note

    on_add, on_update, on_access, on_delete = map(_note, ("add", "update", "access", "delete"))

    def select_eviction_key(self, cache):
        Recorder.log.append(("select", list(cache), list(reversed(cache)) == list(cache)[::-1], len(cache)))
        cache.move_to_end(next(iter(cache)), last=True)
        return next(iter(cache))


register_eviction_policy("recorder")(Recorder)


@register_eviction_policy("cleaning")
class Cleaning(Recorder):
    """Its hook removes what the caller is about to remove."""

    cache = None

    def on_delete(self, cache, key):
        Cleaning.cache.cleanup()


def test_a_hook_may_remove_what_has_expired(clock):
    Cleaning.cache = cache = make(clock, "cleaning")
    for key in "abc":
        cache.set(key, 1, 5)
    clock.advance(6)
    cache.cleanup()
    assert cache.size() == 0 and cache.get_metrics_snapshot()["expired_removals"] == 3
    Cleaning.cache = None


def test_the_hooks_of_a_policy_in_python(clock):
    Recorder.log.clear()
    cache = make(clock, "Recorder", max_size=2)
    cache.set("a", 1, 5)
    cache.set("a", 2, 5)
    cache.get("a")
    cache.set("b", 1)
    with pytest.raises(KeyAlreadyExists):
        cache.add("b", 1)
    cache.set("c", 1)
    assert Recorder.log == [
        ("add", "a", True, 1), ("update", "a", True, 1), ("access", "a", True, 1), ("add", "b", True, 2),
        ("select", ["a", "b"], True, 2), ("delete", "b", False, 1), ("add", "c", True, 2),
    ]
    Recorder.log.clear()
    clock.advance(6)
    with pytest.raises(KeyExpired):
        cache.get("a")
    cache.delete("c")
    assert Recorder.log == [("delete", "a", False, 1), ("delete", "c", False, 0)]


@pytest.mark.parametrize("policy", POLICIES)
def test_clear_and_load_do_not_confuse_a_policy(policy, clock, tmp_path):
    # Defects 2 and 3.
    cache = make(clock, policy)
    cache.set_many(dict.fromkeys("abc", 1))
    cache.clear()
    cache.set_many(dict.fromkeys("defg", 1))
    assert "".join(present(cache)) == "efg"
    cache.save_to_disk(tmp_path / "file")
    cache.load_from_disk(tmp_path / "file")
    assert cache.get("e") == 1
    cache.delete("f")
    cache.cleanup()
    cache.set_many(dict.fromkeys("abcd", 1))
    assert cache.size() == 3


def test_the_metrics_have_18_names(clock):
    cache = make(clock, max_size=4)
    cache.set_many(dict.fromkeys("abcd", 1), 5)
    cache.set("a", 1, 50)
    clock.advance(6)
    cache.get("a")
    snapshot = cache.get_metrics_snapshot()
    assert len(snapshot) == 18
    assert (snapshot["current_total_keys"], snapshot["current_valid_keys"], snapshot["expired_bloat"]) == (4, 1, 3)
    assert snapshot["waste_percentage"] == 75.0 and snapshot["hit_ratio"] == 1.0 and snapshot["miss_ratio"] == 0.0
    assert snapshot["get_set_ratio"] == 0.2 and snapshot["peak_total_keys"] == 4
    cache.reset_metrics()
    assert counted(cache) == {} and cache.get_metrics_snapshot()["current_total_keys"] == 4


def test_ratios_stay_within_one(clock):
    # Defect 16.
    cache = make(clock)
    cache.set_many({"a": 1, "b": 1})
    cache.get_many(["a", "b", "a", "z"])
    cache.delete_many(["x", "y", "z"])
    snapshot = cache.get_metrics_snapshot()
    assert snapshot["gets"] == 1 and snapshot["hits"] == 3 and snapshot["misses"] == 4
    assert (snapshot["hit_ratio"], snapshot["miss_ratio"]) == (0.75, 0.25)


def test_metrics_can_be_disabled(clock):
    # Defect 1.
    cache = make(clock, enable_metrics=False)
    cache.set("a", 1)
    cache.get("a")
    cache.delete("a")
    cache.clear()
    snapshot = cache.get_metrics_snapshot()
    assert len(snapshot) == 18 and not any(snapshot.values())


def test_delete_many_logs_what_it_skipped(clock, caplog):
    cache = make(clock)
    cache.set("a", 1)
    with caplog.at_level(logging.WARNING):
        cache.delete_many(["a", "b", "c"])
    assert [record.getMessage() for record in caplog.records] == [
        "The following keys were missing or expired and were skipped: ['b', 'c']"
    ]


def test_a_full_cache_logs_nothing(clock, caplog):
    # Defect 15.
    cache = make(clock)
    with caplog.at_level(logging.INFO):
        cache.set_many(dict.fromkeys("abcdefgh", 1))
    assert caplog.records == []


@pytest.mark.parametrize("name", ["lru", "LRU", "Fifo", "lFU"])
def test_names_have_no_case(name):
    assert isinstance(create_eviction_policy(name), BaseEvictionPolicy)


def test_the_registry_refuses():
    with pytest.raises(ValueError, match="already registered"):
        register_eviction_policy("LRU")(PythonLRU)
    with pytest.raises(ValueError, match="already registered"):
        register_serializer("json")(type(create_serializer("json")))
    with pytest.raises(TypeError, match="must inherit from BaseEvictionPolicy, got int"):
        register_eviction_policy("x")(int)
    with pytest.raises(TypeError, match="must inherit from BaseSerializer, got int"):
        register_serializer("x")(int)
    with pytest.raises(ValueError, match=r"Unknown eviction policy 'x'. Available: \['lru'"):
        create_eviction_policy("x")
    for wrong in ("x", None):
        with pytest.raises(ValueError, match=f"Unknown serializer '{wrong}'"):
            create_serializer(wrong)


def test_what_the_constructor_of_a_policy_raises_is_seen():
    # Defect 19.
    @register_eviction_policy("broken")
    class Broken(LRUEvictionPolicy):
        def __init__(self):
            raise ZeroDivisionError

    @register_eviction_policy("abstract")
    class Abstract(BaseEvictionPolicy):
        pass

    with pytest.raises(ZeroDivisionError):
        create_eviction_policy("broken")
    with pytest.raises(TypeError):
        create_eviction_policy("abstract")


@pytest.mark.parametrize("serializer", ["binary", "json", "pickle"])
@pytest.mark.parametrize("policy", ["lru", "python_lru"])
def test_files_round_trip(serializer, policy, clock, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = make(clock, policy, serializer=serializer)
        other = make(clock, policy, serializer=serializer)
    cache.set("a", {"x": [1, None]}, 50)
    cache.set("b", 2, 50)
    cache.save_to_disk(str(tmp_path / "file"))
    other.set("old", 1)
    other.load_from_disk(tmp_path / "file")
    assert other.size() == 2 and other.get("a") == {"x": [1, None]}
    with pytest.raises(KeyNotFound):
        other.get("old")
    clock.advance(40)
    assert other.get("b") == 2
    clock.advance(11)
    with pytest.raises(KeyExpired):
        other.get("b")


def test_time_goes_on_while_saved_and_expired_entries_are_loaded(tmp_path):
    cache = QuickCache(QuickCacheConfig(serializer="json", cleanup_interval=None))
    past = datetime.now(timezone.utc) - timedelta(seconds=5)
    entry = {"value": 1, "expiration_time": past.isoformat(), "ttl": 7}
    naive = {"value": 2, "expiration_time": (datetime.now(timezone.utc) + timedelta(hours=1)).replace(tzinfo=None).isoformat(), "ttl": 7}
    (tmp_path / "file.json").write_text(json.dumps({"old": entry, "naive": naive}))
    cache.load_from_disk(tmp_path / "file.json")
    assert cache.size() == 2 and cache.get("naive") == 2
    with pytest.raises(KeyExpired):
        cache.get("old")


def test_json_files_are_readable(clock, tmp_path):
    cache = make(clock, serializer="json")
    cache.set(1, ("é",), 50)
    cache.save_to_disk(tmp_path / "file")
    text = (tmp_path / "file.json").read_text()
    assert text.isascii() and '\n    "1"' in text
    entry = json.loads(text)["1"]
    assert entry["value"] == ["é"] and entry["ttl"] == 50 and entry["expiration_time"].endswith("+00:00")


def test_a_file_that_is_too_large_is_cut_to_the_bound(clock, tmp_path):
    # Defect 11.
    large = make(clock, max_size=10)
    large.set_many(dict.fromkeys("abcdefgh", 1))
    large.save_to_disk(tmp_path / "file")
    for policy in POLICIES:
        small = make(clock, policy)
        small.load_from_disk(tmp_path / "file")
        assert small.size() == 3, policy


@pytest.mark.parametrize(
    "content", [b"", b"x", b"[]", b"5", b'{"a": 1}', b'{"a": {}}', b'{"a": {"value": 1, "expiration_time": "x", "ttl": 1}}', None]
)
def test_a_failed_load_changes_nothing(content, clock, tmp_path):
    # Defects 6 and 8.
    cache = make(clock, serializer="json")
    cache.set("a", 1)
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CacheLoadError) as raised:
        cache.load_from_disk(path)
    assert raised.value.filepath == str(path) and raised.value.original_exception is not None
    assert cache.get("a") == 1 and counted(cache)["sets"] == 1


@pytest.mark.parametrize("content", [[1], {"a": 1}, 5, OrderedDict(a=(1, 2))])
def test_a_pickle_of_something_else_is_refused(content, clock, tmp_path):
    # Defect 6.
    with pytest.warns(UserWarning, match="pickle"):
        cache = make(clock, serializer="pickle")
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CacheLoadError):
        cache.load_from_disk(tmp_path / "file")
    cache.set("a", 1)
    assert cache.get("a") == 1


class Planted:
    def __reduce__(self):
        return os.mkdir, (os.environ["PLANTED"],)


def test_the_default_serializer_runs_no_code(clock, tmp_path, monkeypatch):
    # Defect 12.
    monkeypatch.setenv("PLANTED", str(tmp_path / "planted"))
    path = tmp_path / "file.larder"
    path.write_bytes(pickle.dumps({"a": Planted()}))
    with pytest.raises(CacheLoadError):
        make(clock).load_from_disk(path)
    assert not (tmp_path / "planted").exists()


def test_a_failed_save_leaves_the_old_file(clock, tmp_path):
    # Defect 7.
    cache = make(clock)
    cache.set("a", 1)
    cache.save_to_disk(tmp_path / "file")
    cache.set("b", object())
    with pytest.raises(CacheSaveError) as raised:
        cache.save_to_disk(tmp_path / "file")
    assert raised.value.filepath.endswith("file.larder")
    other = make(clock)
    other.load_from_disk(tmp_path / "file")
    assert other.get("a") == 1 and [path.name for path in tmp_path.iterdir()] == ["file.larder"]


@pytest.mark.parametrize(
    "given, name",
    [("x.dat", "x.larder"), ("x", "x.larder"), ("v1.2", "v1.2.larder"), ("v1.3", "v1.3.larder"), ("a.tar.gz", "a.tar.larder")],
)
def test_names_of_files(given, name, clock, tmp_path):
    # "v1.2" and "v1.3" are two files (defect 10).
    cache = make(clock)
    cache.save_to_disk(tmp_path / given)
    assert (tmp_path / name).is_file()


def test_default_places_of_files(clock, tmp_path, monkeypatch):
    main = tmp_path / "program.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(main), raising=False)
    cache = make(clock, serializer="json")
    cache.save_to_disk()
    cache.save_to_disk("bare")
    cache.save_to_disk(tmp_path / "cache_storage")
    cache.save_metrics_to_disk()
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))
    assert names == ["cache_metrics/metrics.json", "cache_storage/bare.json", "cache_storage/cache_data.json"]
    assert len(json.loads((tmp_path / "cache_metrics/metrics.json").read_text())) == 18


def test_timestamps(clock, tmp_path):
    # Two files within one second are two files (defect 10).
    cache = make(clock, cache_timestamps=True)
    for use in (True, True, None, False):
        cache.save_to_disk(tmp_path / "file", use)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4 and "file.larder" in names
    assert sum("_srr" in name for name in names) == 3


def test_loading_makes_no_folders(clock, tmp_path):
    # Defect 11.
    with pytest.raises(CacheLoadError):
        make(clock).load_from_disk(tmp_path / "folder" / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_serializer_in_python(clock, tmp_path):
    @register_serializer("reversed")
    class Reversed(BaseSerializer):
        extension = "rev"
        is_binary = False

        def serialize(self, data):
            return json.dumps(data)[::-1]

        def deserialize(self, data):
            return json.loads(data[::-1])

    cache = make(clock, serializer="reversed")
    cache.set("a", 1, 60)
    cache.save_to_disk(tmp_path / "file")
    assert (tmp_path / "file.rev").read_text().endswith('"a"{')
    cache.load_from_disk(tmp_path / "file")
    assert cache.get("a") == 1


def test_pickles_of_the_original_can_be_loaded(clock, tmp_path):
    from pyquickcache.quick_cache import CacheEntry

    assert (CacheEntry.__module__, CacheEntry.__name__) == ("pyquickcache.quick_cache", "CacheEntry")
    moment = datetime.now(timezone.utc) + timedelta(seconds=60)
    stored = OrderedDict({("k", 1): CacheEntry(value={1}, expiration_time=moment, ttl=60)})
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(stored))
    with pytest.warns(UserWarning):
        cache = make(clock, serializer="pickle")
    cache.load_from_disk(tmp_path / "file")
    assert cache.get(("k", 1)) == {1}


def test_the_sweeper_removes_ends_and_can_be_stopped_twice(clock):
    swept = threading.Event()

    class Watched(QuickCache):
        def cleanup(self):
            super().cleanup()
            swept.set()

    cache = Watched(QuickCacheConfig(cleanup_interval=0.02), clock=clock)
    thread = cache._sweeper._thread
    cache.set("a", 1, 1)
    clock.advance(2)
    swept.clear()
    assert swept.wait(30)
    swept.clear()
    assert swept.wait(30) and cache.size() == 0
    cache.stop()
    cache.stop()
    thread.join(30)
    assert not thread.is_alive()
    cache.set("b", 1)
    assert cache.get("b") == 1


def test_a_dropped_cache_ends_its_thread(clock):
    # Defect 17.
    cache = make(clock, cleanup_interval=1000)
    thread = cache._sweeper._thread
    assert thread.is_alive() and thread.daemon
    del cache
    thread.join(30)
    assert not thread.is_alive()


def test_a_policy_that_raises_does_not_end_the_sweeper(clock, caplog):
    # Defect 3.
    tries = []

    class Failing(QuickCache):
        def cleanup(self):
            tries.append(1)
            if len(tries) < 3:
                raise ZeroDivisionError
            third.set()

    third = threading.Event()
    cache = Failing(QuickCacheConfig(cleanup_interval=0), clock=clock)
    assert third.wait(30)
    cache.stop()


def test_a_cache_cannot_be_pickled(clock):
    with pytest.raises(TypeError, match="save_to_disk"):
        pickle.dumps(make(clock))


def test_add_is_atomic(clock):
    cache, barrier, added = make(clock), threading.Barrier(8), []

    def add():
        barrier.wait()
        try:
            cache.add("k", threading.get_ident())
            added.append(threading.get_ident())
        except KeyAlreadyExists:
            pass

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added == [cache.get("k")] and counted(cache)["failed_ops"] == 7


def test_a_forked_child_has_a_sweeper():
    # Defect 18.
    program = (
        "import os, pyquickcache as p\n"
        "cache = p.QuickCache(p.QuickCacheConfig(cleanup_interval=0.02))\n"
        "cache.set('a', 1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    alive = cache._sweeper.is_alive() and cache.get('a') == 1\n"
        "    cache.stop()\n"
        "    os._exit(0 if alive else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=100)


def test_an_import_of_the_cache_alone_registers_the_serializers():
    program = "from larder.pyquickcache import QuickCache; QuickCache().stop()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_saving_calls_no_code_of_values_while_the_cache_is_locked(clock, tmp_path):
    # Defect 9.
    class Restless:
        def __getstate__(self):
            cache.set(object(), 1)
            return {}

    class Nothing(BaseSerializer):
        extension = "txt"
        is_binary = False

        def serialize(self, data):
            for entry in data.values():
                entry["value"].__getstate__()
                threading.Thread(target=cache.set, args=("other", 1)).start()
            return "{}"

        def deserialize(self, data):
            return json.loads(data)

    register_serializer("restless")(Nothing)
    for policy in POLICIES:
        cache = make(clock, policy, max_size=50, serializer="restless")
        cache.set_many({number: Restless() for number in range(20)})
        cache.save_to_disk(tmp_path / policy)
        assert (tmp_path / f"{policy}.txt").read_text() == "{}"


def test_files_are_for_their_owner_alone(clock, tmp_path):
    # Defect 12.
    cache = make(clock)
    cache.set("a", 1)
    cache.save_to_disk(tmp_path / "file")
    assert (tmp_path / "file.larder").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo"])
def test_an_insertion_into_a_full_cache_visits_no_other_entry(policy, clock):
    # Defects 13 and 14: with 100 times the entries, the insertions take about the same time.
    def seconds(size):
        cache = make(clock, policy, max_size=size)
        cache.set_many({number: 1 for number in range(size)}, 1000)
        start = time.process_time()
        for number in range(500):
            cache.set(-number - 1, 1)
        return time.process_time() - start

    # The original takes 100 times as long.
    assert min(seconds(30_000) for _ in range(3)) < 10 * min(seconds(300) for _ in range(3))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_wall_clock_expires_nothing(policy, monkeypatch):
    # Defect 18.
    cache = make(None, policy)
    cache.set("a", 1, 1000)
    monkeypatch.setattr(time, "time", lambda: 10**10)
    assert cache.get("a") == 1
    monkeypatch.setattr(time, "time", lambda: 0)
    assert cache.get("a") == 1


def test_timestamps_of_the_configuration_are_for_calls_that_leave_it_open(clock, tmp_path):
    # Defect 19.
    cache = make(clock, storage_dir=str(tmp_path), cache_timestamps=True)
    cache.set("a", 1)
    cache.save_to_disk()
    cache.save_to_disk(use_timestamp=None)
    assert len(list(tmp_path.iterdir())) == 2
