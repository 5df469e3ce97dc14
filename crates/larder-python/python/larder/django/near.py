"""A cache of Django with a part of it within the process: values of a server that were read or written lately.

What it promises:

- After a write of this process has returned, every read of this process, by any thread, finds that write or a later
  one. A read that was under way meanwhile does not put the old value back.
- A write of another process is seen after `MAX_STALE` seconds at the latest, and so are the expiry, the eviction and
  the deletion of a key by the server. The time counts from before the server was asked.
- A key that the server does not have is asked for each time, so a key that another process adds is seen at once.
- A lifetime that is given to `set` or `add` is kept to the second here, too.

It does not order the writes of several processes, and it is not notified of their writes: what must not be stale at all
has to be read from a backend without a near cache.
"""

import itertools
import pickle
import time

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from .backend import _MISSING, _by_identity, _Shared, _weigh

_OWN_OPTIONS = ("BACKEND", "MAX_STALE", "NEAR_ENTRIES", "NEAR_WEIGHT", "NEAR_POLICY")
_SLOTS = 4096


class _NearShared(_Shared):
    """What the backends of all threads share: the cache, and the last write of a key of each slot."""

    def __init__(self, options):
        super().__init__(options)
        # No number is given twice, also if a handler of a signal writes between two steps of a write.
        self.numbers = itertools.count(1)
        self.writes = [0] * _SLOTS
        self.clears = 0

    def mark(self, key):
        """What is different after a write of the key has begun or ended."""
        return self.clears, self.writes[hash(key) % _SLOTS]

    def begin(self, keys):
        """Begins a write: nobody finds the old value here, or puts it back. Returns the marks."""
        with self.guard.lock:
            for key in keys:
                self.writes[hash(key) % _SLOTS] = next(self.numbers)
                self.cache.remove(key)
            return [self.mark(key) for key in keys]

    def end(self, keys, marks, pickled, seconds):
        """Ends a write. Its values are kept unless another write of the key was under way."""
        with self.guard.lock:
            are_alone = [self.mark(key) == mark for key, mark in zip(keys, marks)]
            for key, is_alone, value in zip(keys, are_alone, pickled):
                self.writes[hash(key) % _SLOTS] = next(self.numbers)
                if is_alone and value is not None and seconds > 0:
                    self._put(key, self.mark(key), value, seconds)
                else:
                    self.cache.remove(key)

    def keep(self, key, mark, pickled, seconds):
        """Keeps what was read, if no write of the key has begun or ended since."""
        with self.guard.lock:
            if seconds > 0 and self.mark(key) == mark:
                self._put(key, mark, pickled, seconds)

    def _put(self, key, mark, pickled, seconds):
        self.cache.set(key, pickled, seconds)
        # The lock keeps other threads out, but not a handler of a signal that has written in between.
        if self.mark(key) != mark:
            self.cache.remove(key)


class LarderNearCache(BaseCache):
    """Django's cache interface above a server, with a `larder.Cache` in front of it.

    `LOCATION`, `TIMEOUT`, `KEY_PREFIX` and so on are those of the backend below. `OPTIONS`: `BACKEND`, the backend
    below, Django's backend for Redis if not given; `MAX_STALE`, in seconds,
    5 if not given; `NEAR_ENTRIES`, 10,000 if not given, and `NEAR_WEIGHT` in bytes, which bound the near part;
    `NEAR_POLICY`. All other options go to the backend below. Aliases with the same location and options share the near
    part; others do not see each other's writes before `MAX_STALE`.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL

    def __init__(self, location, params):
        super().__init__(params)
        given = params.get("OPTIONS", {})
        below = given.get("BACKEND", "django.core.cache.backends.redis.RedisCache")
        rest = {name: value for name, value in given.items() if name not in _OWN_OPTIONS}
        self._far = import_string(below)(location, {**params, "OPTIONS": rest})
        self.max_stale = given.get("MAX_STALE", 5)
        if not self.max_stale > 0:
            raise ValueError(f"MAX_STALE {self.max_stale} is not above 0; use {below} without a near cache instead")
        options = {"capacity": given.get("NEAR_ENTRIES", 10_000), "ttl": self.max_stale}
        if "NEAR_WEIGHT" in given:
            options["max_weight"], options["weigher"] = given["NEAR_WEIGHT"], _weigh
        if "NEAR_POLICY" in given:
            options["policy"] = given["NEAR_POLICY"]
        bounds = (options["capacity"], options["ttl"], given.get("NEAR_WEIGHT"), given.get("NEAR_POLICY"))
        location = tuple(location) if isinstance(location, list) else location
        # With other options, such as the number of a database, the backend below may have other values.
        identity = ("near", below, location, *bounds, repr(sorted(rest.items())))
        self._shared = _by_identity.get(identity) or _by_identity.setdefault(identity, _NearShared(options))
        self.larder = self._shared.cache

    @property
    def far(self):
        """The backend below, for reads that must not be stale."""
        return self._far

    def _left(self, started, timeout=None):
        """The seconds for which a value may stay here that the server had at `started`, or later."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        allowed = self.max_stale if timeout is None else min(self.max_stale, timeout)
        return allowed - (time.monotonic() - started)

    def _write(self, keys, version, write, values=(), timeout=None, keeps=bool):
        """Calls `write`, and keeps the values if `keeps` says so of its result."""
        made = [self.make_and_validate_key(key, version=version) for key in keys]
        pickled = [pickle.dumps(value, self.pickle_protocol) for value in values]
        started = time.monotonic()
        marks, stored = self._shared.begin(made), [None] * len(made)
        try:
            result = write()
            if pickled and keeps(result):
                stored = pickled
            return result
        finally:
            self._shared.end(made, marks, stored, self._left(started, timeout))

    def get(self, key, default=None, version=None):
        made = self.make_and_validate_key(key, version=version)
        pickled = self.larder.get(made, _MISSING)
        if pickled is not _MISSING:
            return pickle.loads(pickled)
        started, mark = time.monotonic(), self._shared.mark(made)
        value = self._far.get(key, _MISSING, version=version)
        if value is _MISSING:
            return default
        self._shared.keep(made, mark, pickle.dumps(value, self.pickle_protocol), self._left(started))
        return value

    def get_many(self, keys, version=None):
        keys = list(keys)
        made = {key: self.make_and_validate_key(key, version=version) for key in keys}
        near = self.larder.get_many(made.values())
        found = {key: pickle.loads(near[made[key]]) for key in keys if made[key] in near}
        missing = [key for key in keys if key not in found]
        if missing:
            started, marks = time.monotonic(), [self._shared.mark(made[key]) for key in missing]
            far = self._far.get_many(missing, version=version)
            left = self._left(started)
            for key, mark in zip(missing, marks):
                if key in far:
                    self._shared.keep(made[key], mark, pickle.dumps(far[key], self.pickle_protocol), left)
            found.update(far)
        return found

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        write = lambda: self._far.set(key, value, timeout=timeout, version=version)  # noqa: E731
        self._write([key], version, write, [value], timeout, keeps=lambda _: True)

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
        write = lambda: self._far.add(key, value, timeout=timeout, version=version)  # noqa: E731
        return self._write([key], version, write, [value], timeout)

    def set_many(self, data, timeout=DEFAULT_TIMEOUT, version=None):
        write = lambda: self._far.set_many(data, timeout=timeout, version=version)  # noqa: E731
        failed = self._write(list(data), version, write, list(data.values()), timeout, keeps=lambda failed: not failed)
        return failed or []

    def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        return self._write([key], version, lambda: self._far.touch(key, timeout=timeout, version=version))

    def delete(self, key, version=None):
        return self._write([key], version, lambda: self._far.delete(key, version=version))

    def delete_many(self, keys, version=None):
        keys = list(keys)
        self._write(keys, version, lambda: self._far.delete_many(keys, version=version))

    def incr(self, key, delta=1, version=None):
        return self._write([key], version, lambda: self._far.incr(key, delta, version=version))

    def has_key(self, key, version=None):
        made = self.make_and_validate_key(key, version=version)
        return made in self.larder or self._far.has_key(key, version=version)

    def clear(self):
        try:
            self._forget_all()
            self._far.clear()
        finally:
            self._forget_all()

    def _forget_all(self):
        with self._shared.guard.lock:
            self._shared.clears = next(self._shared.numbers)
            self.larder.clear()

    def close(self, **kwargs):
        self._far.close(**kwargs)

    async def aget(self, key, default=None, version=None):
        pickled = self.larder.get(self.make_and_validate_key(key, version=version), _MISSING)
        if pickled is not _MISSING:
            return pickle.loads(pickled)
        return await super().aget(key, default, version)
