"""The cache: the native core, and what is written in Python above it."""

import types

from ._native import Core, frequency, ranked, reset_shadow_counts, segments, shadow_report
from .flights import ABANDONED, Flights
from .snapshots import MAX_BYTES, load, save

_MISSING = object()


class Cache(Core):
    """A cache of up to `capacity` entries, or up to `max_weight` in all, which threads share.

    It works like a dict whose entries may leave: `cache[key] = value`, `cache[key]`, `key in cache`,
    `del cache[key]`, `len(cache)`, iteration over keys. Keys are hashable objects, found by Python's equality.

    - `capacity`: the most entries; `max_weight`: the highest sum of what `weigher(key, value)` returns.
      Without either, nothing is evicted.
    - `policy`: which entries are evicted, one of `larder.policies()`; "window_tiny_lfu" if not given.
    - `ttl`, `idle`: seconds, or a timedelta, after which an entry expires that was not stored, or not used.
    - `jitter`: the part of itself, 0 to 1, by which each lifetime varies at random.
    - `listener(key, value, cause)`: is called after an entry has left, because it was "evicted", "expired",
      "removed", "replaced" or "invalidated". What it raises is reported to `sys.unraisablehook`.
    - `explain`: for how many removals the reason is remembered, for `explain(key)`.
    - `clock`: a `ManualClock`, for tests.
    - `shadow`: True, or a dict of "policies", "multiples" of the bounds and "sample_entries", for
      `shadow_report()`: sampled keys are played to small caches that say what other bounds or policies would
      do. True stands for the cache's own policy at 0.5, 1, 2 and 4 times its bounds.
    """

    # Made by `__new__`, so that a subclass may have an `__init__` of its own.
    __slots__ = ("_flights", "_async_flights")

    # The types of keys and values, for annotations.
    __class_getitem__ = classmethod(types.GenericAlias)

    # Without it, `reversed` would ask for the keys `len(cache) - 1` to 0.
    __reversed__ = None

    def __new__(
        cls, capacity=None, *, max_weight=None, weigher=None, policy="window_tiny_lfu", ttl=None, idle=None, jitter=0.0,
        listener=None, explain=None, clock=None, lazy_expiry=False, shadow=None,
    ):
        cache = super().__new__(
            cls, capacity, max_weight=max_weight, weigher=weigher, policy=policy, ttl=ttl, idle=idle, jitter=jitter,
            listener=listener, explain=explain, clock=clock, lazy_expiry=lazy_expiry, shadow=shadow,
        )
        # Apart, because a thread that waits for a coroutine of its own loop would wait for ever.
        cache._flights, cache._async_flights = Flights(), Flights()
        return cache

    def get_or_load(self, key, load, /, ttl=None, tags=None):
        """The value of `key`; if it is missing, the one that `load()` returns, which is then stored.

        Of several threads that ask for the same key, one calls its `load`, and all get its value, or what
        it raised. The value is not stored if the key was stored, removed or invalidated meanwhile. Loaders that
        wait for each other's keys raise a `LoadCycleError`.
        """
        value = self.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return self._flights.run(
            key, self.begin_fill, lambda key: self.peek(key, ABANDONED), load,
            lambda fill, new: self.complete_fill(fill, key, new, ttl, tags),
        )

    async def get_or_load_async(self, key, load, /, ttl=None, tags=None):
        """As `get_or_load`, for a `load` that returns an awaitable."""
        value = self.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return await self._async_flights.run_async(
            key, self.begin_fill, lambda key: self.peek(key, ABANDONED), load,
            lambda fill, new: self.complete_fill(fill, key, new, ttl, tags),
        )

    def setdefault(self, key, default=None, /):
        """The value of `key`; if it is missing, `default`, which is then stored."""
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return value
            if self.add(key, default):
                return default
            if key not in self:
                return default  # It is too heavy for the cache.

    def update(self, pairs=(), /, **more):
        """Stores every pair of a mapping, a cache or an iterable, and every keyword."""
        self.set_many(pairs)
        self.set_many(more)

    def delete_many(self, keys, /):
        """Removes the keys. Returns how many of them the cache had."""
        return sum(self.remove(key) for key in keys)

    def hottest(self, count=10):
        """Up to `count` keys that the policy finds most worth keeping, the best first. It counts as no use."""
        return ranked(self, False, count)

    def coldest(self, count=10):
        """Up to `count` keys that the policy would evict next, the very next first. It counts as no use."""
        return ranked(self, True, count)

    def pop_coldest(self):
        """Removes the entry that would be evicted next, and returns its key and value. A KeyError if empty."""
        while True:
            keys = self.coldest(1)
            if not keys:
                raise KeyError("the cache is empty")
            value = self.pop(keys[0], _MISSING)
            if value is not _MISSING:
                return keys[0], value

    def popitem(self):
        """As `pop_coldest`: the pair that it removes is not the last one, as that of a dict."""
        return self.pop_coldest()

    def __ior__(self, pairs, /):
        """`cache |= pairs` is `cache.update(pairs)`."""
        self.update(pairs)
        return self

    def frequency(self, key, /):
        """How often `key` was used lately, in the measure of the policy; None if it is missing."""
        return frequency(self, key)

    def segments(self):
        """The parts into which the policy divides the entries: dicts of name, entries, cost and target."""
        return segments(self)

    def shadow_report(self):
        """What the hit ratio would be with other bounds or policies, as a dict; None without `shadow`.

        "points" has a dict for each policy and multiple, with "policy", "multiple", "capacity", "max_weight",
        "hit_ratio" (None before the first lookup), "samples", "sample_rate", "entries" and "has_failed".
        """
        return shadow_report(self)

    def reset_shadow_counts(self):
        """Lets later reports count only what happens from now on. The shadow caches keep their entries."""
        reset_shadow_counts(self)

    def save(self, path, format="binary", compression=None):
        """Writes the valid entries to a file, with what is left of their lifetimes, and returns how many.

        "binary" keeps the types of keys and values; "json" is for other programs to read: keys must be
        strings there. With `compression="zstd"`, which needs `larder[zstd]`, the file is compressed. It
        appears whole or not at all, with the permissions of the old one, or for its owner alone. A value of a
        type that the format does not have is a `SnapshotError`, and the old file stays. What is no regular
        file, such as a device, is not replaced.
        """
        return save(self, path, format, compression)

    def load(self, path, format="binary", max_bytes=MAX_BYTES):
        """Stores the entries of a file that have not expired since, and returns how many.

        A compressed file is recognized; it may hold `max_bytes` at most, 1 GiB unless given. No code of the
        file runs. If it cannot be read, that is a `SnapshotError`, and the cache is unchanged.
        """
        return load(self, path, format, max_bytes)
