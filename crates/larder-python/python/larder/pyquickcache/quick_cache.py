"""The cache with the interface of PyQuickCache."""

import logging
import math
from collections import OrderedDict
from datetime import datetime, timedelta, timezone

from .._native import Lookups
from . import serializer as _serializer  # noqa: F401 - registers the serializers
from .base_cache import BaseCache
from .engines import NativeEngine, OrderedEngine
from .entry import CacheEntry
from .eviction_policy import FIFOEvictionPolicy, LFUEvictionPolicy, LRUEvictionPolicy
from .exceptions import (
    CacheLoadError,
    CacheMetricsSaveError,
    CacheSaveError,
    InvalidTTL,
    KeyAlreadyExists,
    KeyExpired,
    KeyNotFound,
)
from .metrics import CacheMetrics, NoOpMetrics
from .paths import FileManager
from .quick_cache_config import QuickCacheConfig
from .registry.registry import create_eviction_policy, create_serializer
from .sweeper import Sweeper

logger = logging.getLogger("larder.pyquickcache")
logger.addHandler(logging.NullHandler())

_NATIVE = {LRUEvictionPolicy: "lru", LFUEvictionPolicy: "lfu", FIFOEvictionPolicy: "fifo"}

# Longer than any cache lives. Dates cannot say it; files then have the last date that there is.
_MAX_TTL = 10**12
_LAST_MOMENT = datetime(9999, 12, 31, tzinfo=timezone.utc)


class QuickCache(Lookups, BaseCache):
    """A cache with seconds to live, errors with codes, metrics and files.

    A key is missing, valid or expired. A call that finds an expired entry removes it and says so, so that the
    key is missing from then on. Threads share a cache without a lock, unless its policy is written in Python.
    """

    def __init__(self, config=None, *, clock=None):
        """Builds a cache; `clock` is a `larder.ManualClock`, for tests."""
        self.config = config = QuickCacheConfig() if config is None else config
        if type(config.max_size) is not int or config.max_size < 1:
            raise ValueError(f"max_size {config.max_size!r} holds nothing; use an int of at least 1")
        self.max_cache_size = config.max_size
        self.eviction_policy = create_eviction_policy(config.eviction_policy)
        self.serializer = create_serializer(config.serializer)
        self.metrics_serializer = create_serializer(config.metrics_serializer)
        self.metrics = CacheMetrics() if config.enable_metrics else NoOpMetrics()
        self.cache_file_manager = FileManager(config.storage_dir, config.filename)
        self.cache_metrics_file_manager = FileManager(config.metrics_storage_dir, config.metrics_filename)
        native = _NATIVE.get(type(self.eviction_policy))
        if native is not None:
            self._engine = NativeEngine(config.max_size, native, clock)
            # Then `get` finds entries there itself, and calls `_get` for what it does not find.
            self._look_up_in(self._engine.core)
        else:
            self._engine = OrderedEngine(config.max_size, self.eviction_policy, clock)
        interval = config.cleanup_interval
        self._sweeper = None if interval is None else Sweeper(self, interval)

    def __repr__(self):
        policy = self.config.eviction_policy
        return f"<QuickCache(size={self.size()}, max_size={self.max_cache_size}, policy='{policy}')>"

    def __reduce__(self):
        raise TypeError("a QuickCache cannot be pickled; save_to_disk writes its entries to a file")

    def _get(self, key):
        state, value = self._engine.get(key)
        self.metrics.add_lookup(state == "valid", True)
        if state == "valid":
            return value
        raise _absent(state, key)

    def set(self, key, value, ttl_sec=None):
        """Stores `value` under `key` for `ttl_sec` seconds, or for the default of the configuration."""
        self._set(key, value, self._ttl(ttl_sec))

    def add(self, key, value, ttl_sec=None):
        """Stores `value` under `key` unless the key is valid, which raises KeyAlreadyExists."""
        ttl = self._ttl(ttl_sec)
        if not self._engine.add(key, value, ttl, ttl):
            self.metrics.add("failed_ops")
            raise KeyAlreadyExists(key)
        self.metrics.add_set(self._engine.size())
        _debug("Key '%s' added.", key)

    def update(self, key, value, ttl_sec=None):
        """Replaces the value and the time to live of `key`. Raises KeyNotFound or KeyExpired."""
        ttl = self._ttl(ttl_sec)
        state = self._engine.update(key, value, ttl, ttl)
        if state != "valid":
            self.metrics.add("failed_ops")
            raise _absent(state, key)
        self.metrics.add_set(self._engine.size())
        _debug("Key '%s' updated.", key)

    def delete(self, key):
        """Removes `key`. Raises KeyNotFound or KeyExpired."""
        state = self._engine.delete(key)
        if state != "valid":
            self.metrics.add("misses")
            raise _absent(state, key)
        self.metrics.add("manual_deletions")
        _debug("Key '%s' manually deleted.", key)

    def set_many(self, data, ttl_sec=None):
        """Stores each pair of a mapping; none if a key is not hashable."""
        ttl = self._ttl(ttl_sec)
        pairs = list(data.items())
        for key, _ in pairs:
            hash(key)
        for key, value in pairs:
            self._set(key, value, ttl)

    def get_many(self, keys):
        """The valid ones among `keys` with their values, in the order of `keys`."""
        self.metrics.add("gets")
        found = {}
        for key in keys:
            state, value = self._engine.get(key)
            self.metrics.add_lookup(state == "valid", False)
            if state == "valid":
                found[key] = value
        return found

    def delete_many(self, keys):
        """Removes the keys; those that are missing or have expired are skipped, and logged."""
        skipped = []
        for key in keys:
            if self._engine.delete(key) == "valid":
                self.metrics.add("manual_deletions")
                _debug("Key '%s' deleted in bulk operation.", key)
            else:
                self.metrics.add("misses")
                skipped.append(key)
        if skipped:
            logger.warning("The following keys were missing or expired and were skipped: %s", skipped)

    def size(self):
        """The number of entries, with those that have expired and were not removed yet."""
        return self._engine.size()

    def valid_size(self):
        """Removes the entries that have expired, and returns the number of the others."""
        self.cleanup()
        return self.size()

    def clear(self):
        """Removes all entries."""
        removed = self._engine.clear()
        self.metrics.add("manual_deletions", removed)
        logger.info("Cache cleared. Removed %d items.", removed)

    def cleanup(self):
        """Removes the entries that have expired."""
        self._engine.sweep()

    def stop(self):
        """Ends the cleanup in the background. The cache remains usable."""
        if self._sweeper is not None:
            self._sweeper.stop()

    def save_to_disk(self, filepath=None, use_timestamp=False):
        """Writes the entries to a file, which appears whole or not at all. Raises CacheSaveError."""
        if use_timestamp is None:
            use_timestamp = self.config.cache_timestamps
        path = filepath
        try:
            path = self.cache_file_manager.resolve_path(filepath, self.serializer.extension, use_timestamp)
            now = datetime.now(timezone.utc)
            entries = OrderedDict()
            for key, value, left, ttl in self._engine.entries():
                entries[key] = CacheEntry(value, _moment(now, left), ttl)
            if not self.serializer.is_binary:
                entries = {key: entry.to_dict() for key, entry in entries.items()}
            self.cache_file_manager.write(path, self.serializer.serialize(entries))
        except Exception as error:
            raise CacheSaveError(path, error) from error

    def load_from_disk(self, filepath=None):
        """Replaces the entries by those of a file. Raises CacheLoadError; the cache is then as it was."""
        path = filepath
        try:
            manager, serializer = self.cache_file_manager, self.serializer
            path = manager.resolve_path(filepath, serializer.extension, creates_folder=False)
            loaded = serializer.deserialize(manager.read(path, serializer.is_binary))
            entries = _checked(loaded, serializer.is_binary)
        except Exception as error:
            raise CacheLoadError(path, error) from error
        self._engine.replace_all(entries)
        self.reset_metrics()

    def get_metrics_snapshot(self):
        """The counts since the cache was built or the metrics were reset, and how full it is, as a dict."""
        if not self.metrics.is_enabled:
            return self.metrics.snapshot(0, 0)
        self.metrics.add_hits(self._take_hits())
        evictions, expirations = self._engine.counts()
        snapshot = self.metrics.snapshot(self._engine.size(), self._engine.valid_size())
        snapshot["evictions"], snapshot["expired_removals"] = evictions, expirations
        snapshot["eviction_rate"] = evictions / snapshot["sets"] if snapshot["sets"] else 0.0
        return snapshot

    def reset_metrics(self):
        """Sets the counts to 0, and the peaks to the number of entries."""
        self._engine.reset_counts()
        self._take_hits()
        self.metrics.reset(self._engine.size())

    def save_metrics_to_disk(self, filepath=None, use_timestamp=False):
        """Writes the metrics to a file. Raises CacheMetricsSaveError."""
        if use_timestamp is None:
            use_timestamp = self.config.cache_metrics_timestamps
        path = filepath
        try:
            manager, serializer = self.cache_metrics_file_manager, self.metrics_serializer
            path = manager.resolve_path(filepath, serializer.extension, use_timestamp)
            manager.write(path, serializer.serialize(self.get_metrics_snapshot()))
        except Exception as error:
            raise CacheMetricsSaveError(path or "unknown", error) from error

    def _set(self, key, value, ttl):
        self._engine.set(key, value, ttl, ttl)
        self.metrics.add_set(self._engine.size())
        _debug("Key '%s' set.", key)

    def _ttl(self, given):
        """The seconds that a time to live stands for. Raises InvalidTTL."""
        if given is None:
            ttl = self.config.default_ttl
            is_number = type(ttl) in (int, float)
            if not is_number or not 0 < ttl < _MAX_TTL:
                raise InvalidTTL(ttl)
            return ttl
        try:
            ttl = int(given) if given else 0
        except Exception as error:
            raise InvalidTTL(given) from error
        if not 0 < ttl < _MAX_TTL:
            raise InvalidTTL(given)
        return ttl


def _debug(message, key):
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(message, key)


def _absent(state, key):
    return KeyExpired(key) if state == "expired" else KeyNotFound(key)


def _moment(now, left):
    try:
        return now + timedelta(seconds=left)
    except OverflowError:
        return _LAST_MOMENT


def _checked(loaded, is_binary):
    """The entries of a file, in the form that engines load; a TypeError or ValueError if there are others."""
    if not isinstance(loaded, dict):
        raise TypeError(f"the file holds a {type(loaded).__name__} instead of entries by key")
    now = datetime.now(timezone.utc)
    entries = []
    for key, entry in loaded.items():
        if not is_binary:
            entry = CacheEntry.from_dict(entry)
        if not isinstance(entry, CacheEntry):
            raise TypeError(f"the file holds a {type(entry).__name__} instead of an entry")
        entries.append((key, entry.value, entry.seconds_left(now), entry.ttl))
    return entries
