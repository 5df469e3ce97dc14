"""Where the entries of a `QuickCache` are.

`NativeEngine` has the three policies that come with the cache, and holds the entries in the native core; it takes
no lock. `OrderedEngine` serves policies that are written in Python: they are given one ordered mapping, which
they may reorder, so their hooks are called one at a time, under a re-entrant lock.

Both say in which state a key was, "missing", "expired" or "valid", and remove an expired entry as they say so.
"""

import time
from collections import OrderedDict

from .._native import Core
from ..locks import OUTER, Guard

# Less than this is no time to live; the entry has expired as soon as it is there.
_NO_TIME = 1e-9


class NativeEngine:
    """Entries in the native core."""

    def __init__(self, max_size, policy, clock):
        self.core = Core(max_size, policy=policy, clock=clock, lazy_expiry=True)
        self._max_size = max_size
        self._base = {}
        self._cleared_expired = 0
        self.reset_counts()

    def get(self, key):
        while True:
            found = self.core.get(key)
            if found is not None:
                return "valid", found[0]
            state = self.core.remove_if_expired(key)
            if state != "valid":
                return state, None

    def set(self, key, value, ttl, kept_ttl):
        self._make_room_for(key)
        self.core.set(key, (value, kept_ttl), ttl)

    def add(self, key, value, ttl, kept_ttl):
        self._make_room_for(key)
        return self.core.add(key, (value, kept_ttl), ttl)

    def update(self, key, value, ttl, kept_ttl):
        state = self.core.remove_if_expired(key)
        if state == "valid" and not self.core.replace(key, (value, kept_ttl), ttl):
            # It has left in between.
            state = self.core.remove_if_expired(key)
            return "missing" if state == "valid" else state
        return state

    def delete(self, key):
        return self.core.remove_key(key)

    def _make_room_for(self, key):
        if len(self.core) >= self._max_size and key not in self.core:
            self.core.remove_expired()

    def size(self):
        return len(self.core)

    def valid_size(self):
        return self.core.stats()["valid_entries"]

    def sweep(self):
        self.core.remove_expired()

    def clear(self):
        before = self.core.stats()["expirations"]
        removed = self.core.clear()
        # They count as deleted.
        self._cleared_expired += self.core.stats()["expirations"] - before
        return removed

    def replace_all(self, entries):
        self.core.clear()
        for key, value, left, kept_ttl in entries:
            self.core.set(key, (value, kept_ttl), max(left, _NO_TIME))

    def entries(self):
        return [(key, value, left, ttl) for key, (value, ttl), left in self.core.entries()]

    def counts(self):
        """Evictions and expirations since the counts were reset."""
        stats = self.core.stats()
        evictions = stats["evictions"] - self._base["evictions"]
        expirations = stats["expirations"] - self._base["expirations"] - self._cleared_expired
        return evictions, expirations

    def reset_counts(self):
        self._base = self.core.stats()
        self._cleared_expired = 0


class _SystemClock:
    """Time that does not jump."""

    time = staticmethod(time.monotonic)


class OrderedEngine:
    """Entries in an ordered mapping, for a policy in Python."""

    def __init__(self, max_size, policy, clock):
        self._max_size = max_size
        self._policy = policy
        self._now = (clock or _SystemClock).time
        # Hooks, and `__eq__` of keys, may use the cache.
        self._guard = Guard(OUTER)
        self._entries = OrderedDict()
        self._evictions = self._expirations = 0

    def _state(self, key):
        entry = self._entries.get(key)
        if entry is None:
            return "missing"
        if self._now() <= entry[1]:
            return "valid"
        self._remove(key)
        self._expirations += 1
        return "expired"

    def _remove(self, key):
        del self._entries[key]
        self._policy.on_delete(self._entries, key)

    def get(self, key):
        with self._guard.lock:
            state = self._state(key)
            if state != "valid":
                return state, None
            value = self._entries[key][0]
            self._policy.on_access(self._entries, key)
            return state, value

    def set(self, key, value, ttl, kept_ttl):
        with self._guard.lock:
            if self._state(key) == "valid":
                self._entries[key] = (value, self._now() + ttl, kept_ttl)
                self._policy.on_update(self._entries, key)
            else:
                self._insert(key, value, ttl, kept_ttl)

    def add(self, key, value, ttl, kept_ttl):
        with self._guard.lock:
            if self._state(key) == "valid":
                return False
            self._insert(key, value, ttl, kept_ttl)
            return True

    def _insert(self, key, value, ttl, kept_ttl):
        if len(self._entries) >= self._max_size:
            self.sweep()
        while len(self._entries) >= self._max_size:
            self._remove(self._policy.select_eviction_key(self._entries))
            self._evictions += 1
        self._entries[key] = (value, self._now() + ttl, kept_ttl)
        self._policy.on_add(self._entries, key)

    def update(self, key, value, ttl, kept_ttl):
        with self._guard.lock:
            state = self._state(key)
            if state == "valid":
                self._entries[key] = (value, self._now() + ttl, kept_ttl)
                self._policy.on_update(self._entries, key)
            return state

    def delete(self, key):
        with self._guard.lock:
            state = self._state(key)
            if state == "valid":
                self._remove(key)
            return state

    def size(self):
        return len(self._entries)

    # Copies of the entries are walked, because hooks, and what else runs in this thread, may change them meanwhile.

    def valid_size(self):
        with self._guard.lock:
            now = self._now()
            return sum(now <= entry[1] for entry in list(self._entries.values()))

    def sweep(self):
        with self._guard.lock:
            now = self._now()
            for key in [key for key, entry in list(self._entries.items()) if now > entry[1]]:
                if key in self._entries and now > self._entries[key][1]:
                    self._remove(key)
                    self._expirations += 1

    def clear(self):
        with self._guard.lock:
            removed = len(self._entries)
            # The policy is notified, or it would name keys that are gone.
            for key in list(self._entries):
                if key in self._entries:
                    self._remove(key)
            return removed

    def replace_all(self, entries):
        with self._guard.lock:
            self.clear()
            for key, value, left, kept_ttl in entries:
                if len(self._entries) >= self._max_size and key not in self._entries:
                    self._remove(self._policy.select_eviction_key(self._entries))
                self._entries[key] = (value, self._now() + left, kept_ttl)
                self._policy.on_add(self._entries, key)

    def entries(self):
        with self._guard.lock:
            now = self._now()
            entries = [(key, *entry) for key, entry in list(self._entries.items())]
        return [(key, value, end - now, ttl) for key, value, end, ttl in entries if now <= end]

    def counts(self):
        return self._evictions, self._expirations

    def reset_counts(self):
        self._evictions = self._expirations = 0
