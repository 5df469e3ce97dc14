"""The classes of cachetools, above the native core.

The core finds, bounds and evicts; it holds each value as (value, size, number), where the number says which
place the key has in iterations. With `getsizeof`, and in subclasses that override what cachetools documents as
hooks (`popitem`, `__delitem__` and so on), room is made here, by `popitem`, so that the hooks see each eviction.
"""

import itertools
import math
import operator
import threading
import time
from collections.abc import MutableMapping

from .._native import Core, ManualClock, frequency, ranked, weight
from ..locks import INNER, Guard

# A bound that no cache reaches.
_NO_BOUND = 1 << 33
# Uses that a copy of a cache gives an entry at most; an LFU cache that was copied ranks the rest alike.
_MOST_COPIED_USES = 2000
_HOOKS = ("popitem", "pop", "__getitem__", "__setitem__", "__delitem__", "__contains__")
_MISSING = object()
# Less than this is no lifetime that the core takes.
_SHORTEST = 1e-9


def _weigh(key, kept):
    return kept[1]


def _whole(size):
    """A size as the core takes it: whole, rounded up."""
    try:
        return operator.index(size)
    except TypeError:
        return math.ceil(size)


class Cache(MutableMapping):
    """A mapping of at most `maxsize` items, or of values whose `getsizeof` is `maxsize` in all.

    This class evicts the item that was inserted first. `getsizeof(value)` is called for each value that is
    stored; without it, each value counts as 1.
    """

    _policy = "fifo"
    # Whether a subclass overrides what evictions have to go through.
    _is_hooked = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = itertools.takewhile(lambda base: base.__module__ != __name__, cls.__mro__)
        cls._is_hooked = any(name in vars(base) for base in own for name in _HOOKS)

    def __init__(self, maxsize, getsizeof=None):
        if getsizeof is not None:
            self.getsizeof = getsizeof
        self._build(maxsize)

    def _build(self, maxsize, clock=None, listener=None):
        if not maxsize >= 0:
            raise ValueError(f"maxsize {maxsize} is below 0")
        self._maxsize = maxsize
        bound = _NO_BOUND if maxsize == math.inf else max(1, math.floor(maxsize))
        # An attribute of the instance, of the class of a user, or ours, which says 1.
        self._is_weighed = getattr(self.getsizeof, "__func__", self.getsizeof) is not Cache.getsizeof
        options = {"max_weight": bound, "weigher": _weigh} if self._is_weighed else {"capacity": bound}
        if listener is not None:
            options["listener"] = listener
        self._core = Core(policy=self._policy, clock=clock, lazy_expiry=clock is not None, **options)
        self._numbers = itertools.count()

    @staticmethod
    def getsizeof(value):
        """The size of a value: 1, unless the cache was given another function."""
        return 1

    @property
    def maxsize(self):
        """The bound on `currsize`."""
        return self._maxsize

    @property
    def currsize(self):
        """The sum of the sizes of all items."""
        return weight(self._core) if self._is_weighed else len(self)

    def __repr__(self):
        items = ", ".join(f"{key!r}: {kept[0]!r}" for key, kept, *_ in self._in_order())
        return f"{type(self).__name__}({{{items}}}, maxsize={self.maxsize}, currsize={self.currsize})"

    def __getitem__(self, key):
        kept = self._core.get(key)
        return self.__missing__(key) if kept is None else kept[0]

    def __setitem__(self, key, value):
        self._store(key, value)

    def __delitem__(self, key):
        if not self._core.remove(key):
            raise KeyError(key)

    def __contains__(self, key):
        return key in self._core

    def __missing__(self, key):
        """What `cache[key]` returns for a missing key; it raises KeyError unless a subclass overrides it."""
        raise KeyError(key)

    def __iter__(self):
        for key, *_ in self._in_order():
            # It may have left meanwhile.
            if key in self._core:
                yield key

    def __len__(self):
        return len(self._core)

    def get(self, key, default=None):
        """The value of `key`, or `default`."""
        if self._is_hooked:
            return self[key] if key in self else default
        kept = self._core.get(key)
        return default if kept is None else kept[0]

    def pop(self, key, default=_MISSING):
        """Removes `key` and returns its value, or `default`; a KeyError if there is neither."""
        if self._is_hooked:
            if key in self:
                value = self[key]
                del self[key]
                return value
        else:
            kept = self._core.pop(key, None)
            if kept is not None:
                return kept[0]
        if default is _MISSING:
            raise KeyError(key)
        return default

    def setdefault(self, key, default=None):
        """The value of `key`; if it is missing, `default`, which is then stored."""
        while True:
            if self._is_hooked:
                if key in self:
                    return self[key]
                self[key] = default
                return default
            kept = self._core.get(key)
            if kept is not None:
                return kept[0]
            if self._store(key, default, "add"):
                return default

    def popitem(self):
        """Removes the item that would be evicted next, and returns its key and value."""
        while True:
            keys = ranked(self._core, True, 1)
            if not keys:
                raise KeyError(f"{type(self).__name__} is empty") from None
            value = self.pop(keys[0], _MISSING)
            if value is not _MISSING:
                return keys[0], value

    def clear(self):
        """Removes all items."""
        self._core.clear()

    def _in_order(self):
        """Keys, what is kept for them and the seconds that are left, in the order of insertion."""
        return sorted(self._core.entries(), key=lambda entry: entry[1][2])

    def _store(self, key, value, verb="set", seconds=None):
        core, size = self._core, 1
        if self._is_weighed:
            given = self.getsizeof(value)
            if given < 0:
                raise ValueError(f"getsizeof returned {given}, which is below 0")
            size = _whole(given)
        if size > self._maxsize:
            raise ValueError(f"value too large: its size is {size}, and maxsize is {self._maxsize}")
        old = core.peek(key)
        if self._is_weighed or self._is_hooked:
            self._make_room(key, size)
            old = old and core.peek(key)
        # An item whose value is replaced stays where it was in iterations.
        number = next(self._numbers) if old is None else old[2]
        return getattr(core, verb)(key, (value, size, number), seconds)

    def _make_room(self, key, size):
        while True:
            old = self._core.peek(key)
            if old is not None and old[1] >= size:
                return
            used = weight(self._core) if self._is_weighed else len(self._core)
            if used + size - (0 if old is None else old[1]) <= self._maxsize:
                return
            try:
                self.popitem()
            except KeyError:
                return  # Another thread has emptied the cache; the core keeps the bound, too.

    # Copies and pickles hold the items with the order of eviction, and build a core of their own.

    def __getstate__(self):
        own = {name: value for name, value in vars(self).items() if name not in self._internals()}
        by_key = {key: (kept, left) for key, kept, left in self._core.entries()}
        items = []
        for key in ranked(self._core, True, len(self._core)):
            if key in by_key:
                (value, _, number), left = by_key[key]
                uses = frequency(self._core, key) or 0 if self._policy == "lfu" else 0
                items.append((key, value, number, left, uses))
        return {"own": own, "maxsize": self._maxsize, "items": items}

    def __setstate__(self, state):
        vars(self).update(state["own"])
        self._rebuild(state)
        highest = -1
        for key, value, number, left, _ in state["items"]:
            size = _whole(self.getsizeof(value)) if self._is_weighed else 1
            self._core.set(key, (value, size, number), left)
            highest = max(highest, number)
        self._numbers = itertools.count(highest + 1)
        # In the order of eviction again, so that it is the same among items of equal use.
        for key, _, _, _, uses in state["items"]:
            for _ in range(min(uses, _MOST_COPIED_USES) - 1):
                self._core.get(key)

    def _rebuild(self, state):
        self._build(state["maxsize"])

    @staticmethod
    def _internals():
        return ("_maxsize", "_is_weighed", "_core", "_numbers")


class LRUCache(Cache):
    """A mapping that evicts the item that was not used for the longest time."""

    _policy = "lru"


class LFUCache(Cache):
    """A mapping that evicts the item that was used least often; among those, the one whose last use is oldest."""

    _policy = "lfu"


class _Timer:
    """The timer of a cache. Within `with cache.timer as now:` it stands still, for this thread."""

    def __init__(self, timer):
        self._timer = timer
        self._frozen = threading.local()

    def __call__(self):
        times = getattr(self._frozen, "times", None)
        return times[-1] if times else self._timer()

    def __enter__(self):
        now = self()
        self._frozen.__dict__.setdefault("times", []).append(now)
        return now

    def __exit__(self, *error):
        self._frozen.times.pop()

    def __getattr__(self, name):
        if name == "_timer":
            # Asked for before it is there, when a copy is made.
            raise AttributeError(name)
        return getattr(self._timer, name)

    def __reduce__(self):
        return _Timer, (self._timer,)


def _seconds(span):
    """A span of a timer in seconds."""
    return span.total_seconds() if hasattr(span, "total_seconds") else float(span)


class TTLCache(LRUCache):
    """A mapping whose items expire `ttl` after they were stored, and that evicts the least recently used one.

    `timer()` is the time that counts; the difference of two times is a number of seconds or a timedelta. Time
    that runs backward stands still.
    """

    def __init__(self, maxsize, ttl, timer=time.monotonic, getsizeof=None):
        if getsizeof is not None:
            self.getsizeof = getsizeof
        self._ttl = ttl
        self._start_timer(timer)
        self._build_with_timer(maxsize)

    def _start_timer(self, timer):
        self._timer = _Timer(timer)
        # The clock of the core, which follows the timer.
        self._clock = ManualClock()
        self._began = None
        self._clock_guard = Guard(INNER)
        self._expired_lists = []

    def _build_with_timer(self, maxsize):
        expired_lists = self._expired_lists

        def note(key, kept, cause):
            # It keeps no reference to the cache, which would be a cycle.
            if cause == "expired" and expired_lists:
                expired_lists[-1].append((key, kept[0]))

        self._build(maxsize, self._clock, note)

    @property
    def ttl(self):
        """For how long an item is valid."""
        return self._ttl

    @property
    def timer(self):
        """The timer; `with cache.timer as now:` lets it stand still within the block."""
        return self._timer

    def _sync(self):
        """Lets the clock of the core follow the timer, and returns the time."""
        now = self._timer()
        began = self._began
        if began is None:
            # Of several threads that are the first, one decides.
            began = self.__dict__.setdefault("_first", now)
            self._began = began
        elapsed = _seconds(now - began)
        with self._clock_guard.lock:
            ahead = elapsed - self._clock.time()
            if ahead > 0:
                self._clock.advance(ahead)
        return now

    def __getitem__(self, key):
        self._sync()
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self._store(key, value)

    def __delitem__(self, key):
        self._sync()
        super().__delitem__(key)

    def __contains__(self, key):
        self._sync()
        return super().__contains__(key)

    def __iter__(self):
        self._sync()
        return super().__iter__()

    def __len__(self):
        """The number of items that have not expired; the others are removed."""
        self._sync()
        return self._core.remove_expired()

    @property
    def currsize(self):
        """The sum of the sizes of all items that have not expired."""
        count = len(self)
        return weight(self._core) if self._is_weighed else count

    def __repr__(self):
        with self._timer:
            return super().__repr__()

    def get(self, key, default=None):
        """The value of `key`, or `default`."""
        with self._timer:
            self._sync()
            return super().get(key, default)

    def pop(self, key, default=_MISSING):
        """Removes `key` and returns its value, or `default`; a KeyError if there is neither."""
        with self._timer:
            self._sync()
            return super().pop(key, default)

    def setdefault(self, key, default=None):
        """The value of `key`; if it is missing, `default`, which is then stored."""
        with self._timer:
            self._sync()
            return super().setdefault(key, default)

    def popitem(self):
        """Removes the least recently used item that has not expired, and returns its key and value."""
        with self._timer:
            self._sync()
            return super().popitem()

    def expire(self, time=None):
        """Removes the items that have expired at `time`, or now, and returns those that it found."""
        now = self._sync()
        found = []
        if time is not None:
            ahead = _seconds(time - now)
            for key, kept, left in self._core.entries():
                if left is not None and left < ahead and self._core.remove(key):
                    found.append((key, kept[0]))
        self._expired_lists.append(found)
        try:
            self._core.remove_expired()
        finally:
            self._expired_lists[:] = [other for other in self._expired_lists if other is not found]
        return found

    def _store(self, key, value, verb="set", seconds=None):
        with self._timer:
            now = self._sync()
            # Also what a timer of dates says of a time that is too late for it: OverflowError.
            left = _seconds(now + self._ttl - now) if self._ttl != math.inf else None
            if left is not None and left <= 0:
                self._core.remove(key)
                return True
            if len(self._core) >= self._maxsize or self._is_weighed:
                # What has expired makes room before anything is evicted.
                self._core.remove_expired()
            # At the very end of its time an item is not valid any more, unlike one of the core.
            return super()._store(key, value, verb, left and max(left - _SHORTEST, _SHORTEST))

    def _rebuild(self, state):
        self._ttl = state["ttl"]
        self._start_timer(state["timer"])
        self._build_with_timer(state["maxsize"])
        self._sync()

    def __getstate__(self):
        self._sync()
        return {**super().__getstate__(), "ttl": self._ttl, "timer": self._timer._timer}

    @staticmethod
    def _internals():
        return (
            *Cache._internals(), "_ttl", "_timer", "_clock", "_began", "_first", "_clock_guard", "_expired_lists",
        )
