"""The decorators of cachetools, for any mutable mapping.

`larder.cached` does more: it loads once without a lock, and serves coroutines.
"""

import contextlib
import functools
import types
from collections import namedtuple

from ..named import Named, describe
from .caches import Cache
from .keys import hashkey, methodkey

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "maxsize", "currsize"])


class _Calls:
    """Calls of a function or of an instance's method: what was counted, and which keys are being computed."""

    def __init__(self):
        self.hits = self.misses = 0
        self.pending = set()

    def __reduce__(self):
        # A copy of an instance, or one that was pickled, begins anew.
        return _Calls, ()


class _Wrapper(Named):
    """A function whose results are in a mapping."""

    _label, _instance = "cached", None

    def __init__(self, function, cache, key, lock, condition, calls):
        describe(self, function)
        self.cache, self.cache_key = cache, key
        self.cache_lock = condition if lock is None else lock
        self.cache_condition = condition
        self._function = function
        self._calls = calls
        # A mapping need not have all methods.
        self._set_default = getattr(cache, "setdefault", None) or functools.partial(_store, cache)
        self._guard = contextlib.nullcontext() if self.cache_lock is None else self.cache_lock

    def __repr__(self):
        of = "" if self._instance is None else f" of {object.__repr__(self._instance)}"
        return f"<{self._label} {self.__wrapped__!r}{of}>"

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, /, *args, **kwargs):
        return self._call(self.cache_key(*args, **kwargs), args, kwargs)

    def _call(self, key, args, kwargs):
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
                return self._set_default(key, value)
            except ValueError:
                return value  # It is too large.

    def cache_clear(self):
        """Removes all results, and sets the counts to 0."""
        with self._guard:
            self.cache.clear()
            self._calls.hits = self._calls.misses = 0


def _store(cache, key, value):
    cache[key] = value
    return value


class _InfoWrapper(_Wrapper):
    def cache_info(self):
        """Hits, misses, the bound of the mapping and its size."""
        with self._guard:
            cache, calls = self.cache, self._calls
            is_bounded = isinstance(cache, Cache) or hasattr(cache, "currsize")
            sizes = (cache.maxsize, cache.currsize) if is_bounded else (None, len(cache))
            return CacheInfo(calls.hits, calls.misses, *sizes)


def cached(cache, key=hashkey, lock=None, condition=None, info=False):
    """Keeps the results of a function in a mapping, by `key(*args, **kwargs)`.

    `lock` guards the mapping, but no call of the function. With `condition`, one of several calls with a key
    runs the function, and the others wait. With `info`, there is `cache_info()`.
    """
    if cache is None:
        raise TypeError("cache is None; a function without a cache needs no decorator")
    kind = _InfoWrapper if info else _Wrapper
    return lambda function: kind(function, cache, key, lock, condition, _Calls())


class _Method(Named):
    """A method whose results are in a mapping that its instance has."""

    # Until the class that it is in gives it a name.
    _attribute = None

    def __init__(self, function, cache, key, lock, condition, info):
        describe(self, function)
        self._function, self._cache, self._key = function, cache, key
        self._lock, self._condition, self._info = lock, condition, info

    def __set_name__(self, owner, name):
        if self._attribute is None:
            self._name, self._attribute = name, f"_larder_calls_of_{owner.__qualname__}.{name}"
        elif name != self._name:
            raise TypeError(f"one cached method cannot have the names {self._name!r} and {name!r}")

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        if self._attribute is None:
            raise TypeError(
                "cachedmethod has to be the outermost decorator of a method in a class, which no class method is"
            )
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
        wrapper = kind(self._function, self._cache(instance), key, lock, condition, calls)
        wrapper._function = functools.partial(self._function, instance)
        wrapper._label, wrapper._instance = "cachedmethod", instance
        return wrapper

    def __repr__(self):
        return f"<cachedmethod {self._function!r}>"

    def __call__(self, instance, /, *args, **kwargs):
        return self.__get__(instance)(*args, **kwargs)


def cachedmethod(cache, key=methodkey, lock=None, condition=None, info=False):
    """Keeps the results of a method in the mapping `cache(self)`, by `key(self, *args, **kwargs)`.

    `lock(self)` and `condition(self)` are as for `cached`; what `cache_info()` counts is of one instance.
    """
    if not callable(cache):
        raise TypeError("cache has to be callable: it is given the instance, and returns its mapping")
    return lambda function: _Method(function, cache, key, lock, condition, info)
