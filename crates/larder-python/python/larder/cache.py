"""The cache: the native core, and what is written in Python above it."""

import json
import time

from ._native import Core
from .files import SnapshotError, decode, encode, write_atomically
from .flights import ABANDONED, Flights

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
    """

    # Made by `__new__`, so that a subclass may have an `__init__` of its own.
    __slots__ = ("_flights", "_async_flights")

    def __new__(cls, *args, **kwargs):
        cache = super().__new__(cls, *args, **kwargs)
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
            key, lambda: self.begin_fill(key), lambda: self.peek(key, ABANDONED), load,
            lambda fill, new: self.complete_fill(fill, key, new, ttl, tags),
        )

    async def get_or_load_async(self, key, load, /, ttl=None, tags=None):
        """As `get_or_load`, for a `load` that returns an awaitable."""
        value = self.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return await self._async_flights.run_async(
            key, lambda: self.begin_fill(key), lambda: self.peek(key, ABANDONED), load,
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
        """Stores every pair of a mapping or an iterable, and every keyword."""
        self.set_many(pairs)
        self.set_many(more)

    def delete_many(self, keys, /):
        """Removes the keys. Returns how many of them the cache had."""
        return sum(self.remove(key) for key in keys)

    def save(self, path, format="binary"):
        """Writes the valid entries to a file, with what is left of their lifetimes, and returns how many.

        "binary" keeps the types of keys and values; "json" is for other programs to read: keys must be
        strings there. The file appears whole or not at all. A value of a type that the format does not have
        is a `SnapshotError`, and the old file stays.
        """
        entries = [(key, value, left, self.tags(key) or []) for key, value, left in self.entries()]
        content = {"saved_at": time.time(), "entries": entries}
        if format == "binary":
            data = encode(content)
        elif format == "json":
            if not all(type(key) is str for key, *_ in entries):
                raise SnapshotError("a snapshot in JSON can hold only keys that are strings")
            try:
                data = json.dumps(content).encode()
            except (TypeError, ValueError, RecursionError) as error:
                raise SnapshotError(f"a value cannot be written as JSON: {error}") from error
        else:
            raise ValueError(f"format {format!r} is neither 'binary' nor 'json'")
        write_atomically(path, data)
        return len(entries)

    def load(self, path, format="binary"):
        """Stores the entries of a file that have not expired since, and returns how many.

        No code of the file runs. If it cannot be read, that is a `SnapshotError`, and the cache is unchanged.
        """
        with open(path, "rb") as file:
            data = file.read()
        if format == "binary":
            content = decode(data)
        elif format == "json":
            try:
                content = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise SnapshotError(f"the file is no JSON: {error}") from error
        else:
            raise ValueError(f"format {format!r} is neither 'binary' nor 'json'")
        entries = _checked(content)
        # Time that runs backward has not passed.
        passed = max(0.0, time.time() - content["saved_at"])
        loaded = 0
        for key, value, left, tags in entries:
            if left is None:
                loaded += self.set(key, value, None, tags or None)
            elif left > passed:
                loaded += self.set(key, value, left - passed, tags or None)
        return loaded


def _checked(content):
    """The entries of a snapshot, if all of them have the right shape."""
    try:
        entries = content["entries"]
        is_right = type(content["saved_at"]) is float and type(entries) is list
        for key, _, left, tags in entries if is_right else ():
            hash(key)
            is_right &= left is None or (type(left) in (int, float) and left == left)
            is_right &= type(tags) is list and all(type(tag) is str for tag in tags)
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"the snapshot is not one of a cache: {error}") from error
    if not is_right:
        raise SnapshotError("the snapshot is not one of a cache")
    return entries
