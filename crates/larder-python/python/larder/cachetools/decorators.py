"""The decorators of cachetools, for any mutable mapping.

`larder.cached` does more: it loads once without a lock, and serves coroutines.
"""

import contextlib
import functools
from collections import namedtuple

from .caches import Cache
from .keys import hashkey, methodkey

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "maxsize", "currsize"])


class _Calls:
    """Calls of a function or of an instance's method: what was counted, and which keys are being computed."""

    def __init__(self):
        self.hits = self.misses = 0
        self.pending = set()


class _Wrapper:
    """A function whose results are in a mapping."""

    def __init__(self, function, cache, key, lock, condition, calls):
        functools.update_wrapper(self, function)
        self.cache, self.cache_key = cache, key
        self.cache_lock = condition if lock is None else lock
        self.cache_condition = condition
        self._function = function
        self._calls = calls
        self._guard = contextlib.nullcontext() if self.cache_lock is None else self.cache_lock

    def __call__(self, /, *args, **kwargs):
        return self._call(self.cache_key(*args, **kwargs), args, kwargs)

    def _call(self, key, args, kwargs):
        if self.cache is None:
            self._calls.misses += 1
            return self._function(*args, **kwargs)
        condition, calls = self.cache_condition, self._calls
        with self._guard:
            if condition is not None and key in calls.pending:
                condition.wait_for(lambda: key not in calls.pending)
            try:
                value = self.cache[key]
                calls.hits += 1
                return value
            except KeyError:
                calls.misses += 1
            if condition is not None:
                calls.pending.add(key)
        if condition is None:
            return self._compute(key, args, kwargs)
        try:
            return self._compute(key, args, kwargs)
        finally:
            with self._guard:
                calls.pending.discard(key)
                condition.notify_all()

    def _compute(self, key, args, kwargs):
        value = self._function(*args, **kwargs)
        with self._guard:
            try:
                # What another call has stored meanwhile stays, and both return the same.
                return self.cache.setdefault(key, value)
            except ValueError:
                return value  # It is too large.

    def cache_clear(self):
        """Removes all results, and sets the counts to 0."""
        with self._guard:
            if self.cache is not None:
                self.cache.clear()
            self._calls.hits = self._calls.misses = 0


class _InfoWrapper(_Wrapper):
    def cache_info(self):
        """Hits, misses, the bound of the mapping and its size."""
        with self._guard:
            cache, calls = self.cache, self._calls
            if cache is None:
                return CacheInfo(calls.hits, calls.misses, 0, 0)
            is_bounded = isinstance(cache, Cache) or hasattr(cache, "currsize")
            sizes = (cache.maxsize, cache.currsize) if is_bounded else (None, len(cache))
            return CacheInfo(calls.hits, calls.misses, *sizes)


def cached(cache, key=hashkey, lock=None, condition=None, info=False):
    """Keeps the results of a function in a mapping, by `key(*args, **kwargs)`.

    `lock` guards the mapping, but no call of the function. With `condition`, one of several calls with a key
    runs the function, and the others wait. With `info`, there is `cache_info()`.
    """
    kind = _InfoWrapper if info else _Wrapper

    def decorate(function):
        wrapper = kind(function, cache, key, lock, condition, _Calls())
        # A function, so that it is a method in a class.
        @functools.wraps(function)
        def call(*args, **kwargs):
            return wrapper(*args, **kwargs)

        for name in ("cache", "cache_key", "cache_lock", "cache_condition", "cache_clear"):
            setattr(call, name, getattr(wrapper, name))
        if info:
            call.cache_info = wrapper.cache_info
        return call

    return decorate


class _Method:
    """A method whose results are in a mapping that its instance has."""

    def __init__(self, function, cache, key, lock, condition, info):
        functools.update_wrapper(self, function)
        self._function, self._cache, self._key = function, cache, key
        self._lock, self._condition, self._info = lock, condition, info

    def __set_name__(self, owner, name):
        self._attribute = f"_larder_calls_of_{owner.__qualname__}.{name}"

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        try:
            attributes = instance.__dict__
        except AttributeError:
            raise TypeError(
                f"No '__dict__' attribute on {type(instance).__name__!r} instance to keep what "
                f"{self._function.__name__!r} counts"
            ) from None
        calls = attributes.get(self._attribute)
        if calls is None:
            calls = attributes.setdefault(self._attribute, _Calls())
        kind = _InfoWrapper if self._info else _Wrapper
        key = functools.partial(self._key, instance)
        lock, condition = (given and given(instance) for given in (self._lock, self._condition))
        bound = functools.partial(self._function, instance)
        wrapper = kind(self._function, self._cache(instance), key, lock, condition, calls)
        wrapper._function = bound
        return wrapper

    def __call__(self, instance, /, *args, **kwargs):
        return self.__get__(instance)(*args, **kwargs)


def cachedmethod(cache, key=methodkey, lock=None, condition=None, info=False):
    """Keeps the results of a method in the mapping `cache(self)`, by `key(self, *args, **kwargs)`.

    `lock(self)` and `condition(self)` are as for `cached`; what `cache_info()` counts is of one instance.
    """

    def decorate(function):
        return _Method(function, cache, key, lock, condition, info)

    return decorate
