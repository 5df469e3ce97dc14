"""The backend.

Values are pickled, as with Django's own local-memory backend, so that a caller that changes what it got changes
nothing in the cache. The pickles never leave the process. Lookups take no lock; changes take one, so that none comes
between two steps of another. Django's keys are strings, so no code of users runs under that lock, except for handlers of
signals and finalizers; `incr` notices if those change its key.
"""

import pickle

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from ..cache import Cache
from ..locks import OUTER, Guard

_MISSING = object()
# Less than this is no lifetime that the cache takes.
_SHORTEST = 1e-9


class _Shared:
    """What all backends with one location share; Django makes one backend for each thread."""

    def __init__(self, options):
        self.cache = Cache(**options)
        self.guard = Guard(OUTER)


_by_identity = {}


def _weigh(key, pickled):
    return min(len(key) + len(pickled), 0xFFFFFFFF)


class LarderCache(BaseCache):
    """Django's cache interface above a `larder.Cache` that the threads of a process share.

    `OPTIONS`: `MAX_ENTRIES` (300 if neither bound is given), `MAX_WEIGHT` in bytes of keys and pickled values,
    `POLICY`, `JITTER`. `CULL_FREQUENCY` has no effect: entries are evicted one by one.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL

    def __init__(self, location, params):
        super().__init__(params)
        given = params.get("OPTIONS", {})
        options = {"capacity": self._max_entries}
        if "MAX_WEIGHT" in given:
            options["max_weight"], options["weigher"] = given["MAX_WEIGHT"], _weigh
            if "MAX_ENTRIES" not in given and "max_entries" not in params:
                options["capacity"] = None
        for name in ("POLICY", "JITTER"):
            if name in given:
                options[name.lower()] = given[name]
        # Backends with one location share what it holds if they have the same bounds.
        identity = (location, *(options.get(name) for name in ("capacity", "max_weight", "policy", "jitter")))
        # Of two threads that are the first, both get what was there first.
        shared = _by_identity.get(identity) or _by_identity.setdefault(identity, _Shared(options))
        self._shared = shared
        self.larder = shared.cache

    def _seconds(self, timeout):
        """The lifetime as the cache takes it; 0 if the entry is to be gone at once."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        if timeout is None:
            return None
        return max(timeout, 0)

    def _store(self, verb, key, value, timeout, version, tags):
        key = self.make_and_validate_key(key, version=version)
        pickled = pickle.dumps(value, self.pickle_protocol)
        seconds = self._seconds(timeout)
        with self._shared.guard.lock:
            if seconds == 0:
                is_done = verb == "set" or key not in self.larder
                if verb == "set":
                    self.larder.remove(key)
                return is_done
            return getattr(self.larder, verb)(key, pickled, seconds, tags or None)

    def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None, tags=()):
        return self._store("add", key, value, timeout, version, tags)

    def get(self, key, default=None, version=None):
        pickled = self.larder.get(self.make_and_validate_key(key, version=version), _MISSING)
        return default if pickled is _MISSING else pickle.loads(pickled)

    def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None, tags=()):
        self._store("set", key, value, timeout, version, tags)

    def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        key = self.make_and_validate_key(key, version=version)
        seconds = self._seconds(timeout)
        with self._shared.guard.lock:
            return self.larder.remove(key) if seconds == 0 else self.larder.expire(key, seconds)

    def delete(self, key, version=None):
        key = self.make_and_validate_key(key, version=version)
        with self._shared.guard.lock:
            return self.larder.remove(key)

    def incr(self, key, delta=1, version=None):
        made = self.make_and_validate_key(key, version=version)
        while True:
            # It notices every change of the key from here on.
            fill = self.larder.begin_fill(made)
            pickled = self.larder.get(made, _MISSING)
            if pickled is _MISSING:
                raise ValueError(f"Key '{made}' not found")
            value = pickle.loads(pickled) + delta
            pickled = pickle.dumps(value, self.pickle_protocol)
            with self._shared.guard.lock:
                try:
                    seconds = self.larder.expires_in(made)
                except KeyError:
                    raise ValueError(f"Key '{made}' not found") from None
                # At the very end of its time, an entry has no time left, and is valid.
                seconds = None if seconds is None else max(seconds, _SHORTEST)
                tags = self.larder.tags(made)
                is_stored = self.larder.complete_fill(fill, made, pickled, seconds, tags or None, True)
            if is_stored or not fill.is_stale:
                return value

    def has_key(self, key, version=None):
        return self.make_and_validate_key(key, version=version) in self.larder

    def clear(self):
        with self._shared.guard.lock:
            self.larder.clear()

    def invalidate_tag(self, tag):
        """Removes every entry that was stored with the tag. Returns whether there was any."""
        with self._shared.guard.lock:
            return self.larder.invalidate_tag(tag)

    # Nothing here waits for anything outside the process, so coroutines need no thread.

    async def aadd(self, key, value, timeout=DEFAULT_TIMEOUT, version=None, tags=()):
        return self.add(key, value, timeout, version, tags)

    async def aget(self, key, default=None, version=None):
        return self.get(key, default, version)

    async def aset(self, key, value, timeout=DEFAULT_TIMEOUT, version=None, tags=()):
        return self.set(key, value, timeout, version, tags)

    async def atouch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
        return self.touch(key, timeout, version)

    async def adelete(self, key, version=None):
        return self.delete(key, version)

    async def aincr(self, key, delta=1, version=None):
        return self.incr(key, delta, version)

    async def ahas_key(self, key, version=None):
        return self.has_key(key, version)

    async def aclear(self):
        return self.clear()

    async def ainvalidate_tag(self, tag):
        return self.invalidate_tag(tag)
