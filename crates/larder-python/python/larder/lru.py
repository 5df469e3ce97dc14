"""The drop-in for `functools.lru_cache`."""

import types

from .decorators import CacheInfo, cached
from .locks import INNER, Guard
from .named import describe


def lru_cache(maxsize=128, typed=False):
    """`functools.lru_cache`, except that concurrent calls with the same arguments run the function once.

    It has the same arguments and attributes. Of a method it does not keep the instances alive, and the order of
    keyword arguments makes no difference.
    """
    if callable(maxsize) and isinstance(typed, bool):
        return _decorated(maxsize, 128, typed)
    if maxsize is not None and not isinstance(maxsize, int):
        raise TypeError("Expected first argument to be an integer, a callable, or None")
    bound = None if maxsize is None else max(maxsize, 0)
    return lambda function: _decorated(function, bound, typed)


def _decorated(function, maxsize, typed):
    if not callable(function):
        raise TypeError("the first argument must be callable")
    if maxsize == 0:
        return _Uncached(function, typed)
    return cached(maxsize, typed=typed, policy="lru")(function)


class _Uncached:
    """A function with a cache that holds nothing: each call is a miss."""

    def __init__(self, function, typed):
        describe(self, function)
        self._typed = typed
        self._guard = Guard(INNER)
        self._misses = 0

    def __call__(self, /, *args, **kwargs):
        with self._guard.lock:
            self._misses += 1
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance, owner=None):
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self):
        # Found again by its name, like a function.
        return self.__qualname__

    def cache_info(self):
        """Hits, misses, the bound and the number of results."""
        return CacheInfo(0, self._misses, 0, 0)

    def cache_clear(self):
        """Sets the count of misses to 0."""
        self._misses = 0

    def cache_parameters(self):
        """The bound, and whether arguments of different types are different."""
        return {"maxsize": 0, "typed": self._typed}
