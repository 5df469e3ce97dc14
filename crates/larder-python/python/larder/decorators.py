"""Functions that remember their results.

A key is made so that two different calls have different ones: a single `str` or `int` stands for itself; other
calls are a tuple of the tuple of arguments and, if there are any, the tuple of keywords. A method's key begins
with a number that stands for the instance, which is therefore not kept alive.
"""

import asyncio
import copy
import datetime
import functools
import inspect
import itertools
import threading
import time
import types
import weakref
from collections import namedtuple

from ._native import Call, Method
from .cache import Cache
from .flights import ABANDONED, Flight, Flights, check_is_lasting
from .named import Named, describe

CacheInfo = namedtuple("CacheInfo", ["hits", "misses", "maxsize", "currsize"])

_MISSING = object()


def _make_key(args, kwargs):
    if not kwargs:
        if len(args) == 1:
            first = args[0]
            if type(first) is str or type(first) is int:
                return first
        return (args,)
    return (args, tuple(sorted(kwargs.items())))


def _make_typed_key(args, kwargs):
    classes = (*map(type, args), *(type(value) for _, value in sorted(kwargs.items())))
    return (args, tuple(sorted(kwargs.items())), classes)


def _key_maker(key, typed):
    if key is not None:
        return lambda args, kwargs: key(*args, **kwargs)
    return _make_typed_key if typed else _make_key


def _seconds(given, name):
    """A span of time that is given in seconds or as a timedelta, in seconds."""
    seconds = given.total_seconds() if isinstance(given, datetime.timedelta) else given
    if isinstance(seconds, (str, bytes)) or not hasattr(seconds, "__float__"):
        raise TypeError(f"{name} must be seconds or a timedelta, not {type(given)}")
    if not seconds >= 0:
        raise ValueError(f"{name} {given} is below 0")
    try:
        return float(seconds)
    except OverflowError:
        return float("inf")


def _name_of(function):
    # Some callables, such as partial ones, have no name.
    return getattr(function, "__qualname__", f"{type(function).__qualname__} at {id(function)}")


def cached(
    maxsize=128, *, ttl=None, key=None, typed=False, tags=None, cache=None, policy=None,
    stale_while_revalidate=0, stale_if_error=0, timer=time.monotonic,
):
    """Makes a function, a method or a coroutine function remember its results.

    - `maxsize`: the most results that are kept; None for no bound. `policy` as for `Cache`.
    - `ttl`: seconds, or a timedelta, for which a result is used.
    - `key(*args, **kwargs)`: the key of a call; calls with equal keys share a result.
    - `typed`: whether 1 and 1.0 are different arguments.
    - `tags`: a list of strings, or a function of the arguments that returns one, for `Cache.invalidate_tag`.
    - `cache`: a `Cache` to keep the results in, which several functions may share; it has its own bound.
    - `stale_while_revalidate`: for so many seconds after `ttl`, a result is still returned, while one call in
      the background renews it.
    - `stale_if_error`: for so many seconds after `ttl`, it is returned if renewing it raises an `Exception`.
    - `timer`: the clock of the last two.

    Of several calls with the same key at the same time, threads or coroutines, one runs the function; the
    others get its result, or what it raised. What a function raises is not remembered. The decorated function
    has `cache_info()`, `cache_clear()`, `cache_key(*args)`, `invalidate(*args)`, `cache` and `__wrapped__`.
    """
    if isinstance(maxsize, (classmethod, staticmethod)) or callable(maxsize) and not isinstance(maxsize, int):
        return cached()(maxsize)
    while_revalidate = _seconds(stale_while_revalidate, "stale_while_revalidate")
    if_error = _seconds(stale_if_error, "stale_if_error")
    if (while_revalidate or if_error) and ttl is None:
        raise ValueError("stale_while_revalidate and stale_if_error begin when ttl ends, so they need a ttl")
    for name, given in (("key", key), ("timer", timer)):
        if given is not None and not callable(given):
            raise TypeError(f"{name} must be callable, not {type(given)}")
    if cache is not None:
        if not isinstance(cache, Cache):
            raise TypeError(f"cache must be a larder.Cache, not {type(cache)}")
        if maxsize != 128 or policy is not None:
            raise ValueError("maxsize and policy are those of the cache, so they cannot be given with one")
    if tags is not None and not callable(tags) and not isinstance(tags, str):
        tags = tuple(tags)
    # What the cache would refuse at every call is refused now.
    Cache(1).set(None, None, ttl, None if callable(tags) else tags)
    seconds = None if ttl is None else _seconds(ttl, "ttl")

    def decorate(function):
        if isinstance(function, staticmethod):
            return staticmethod(decorate(function.__func__))
        if isinstance(function, classmethod):
            return _ClassMethod(decorate(function.__func__))
        if not callable(function):
            raise TypeError(f"only what can be called can be cached, not {type(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{_name_of(function)} is a generator: it can be run once, so it cannot be cached")
        options = types.SimpleNamespace(
            maxsize=maxsize, ttl=seconds, key=_key_maker(key, typed), tags=tags, has_own_key=key is not None,
            typed=typed, policy=policy, while_revalidate=while_revalidate, if_error=if_error, timer=timer,
        )
        kind = _CachedCoroutine if inspect.iscoroutinefunction(function) else _CachedFunction
        return kind(function, options, cache)

    return decorate


class _Instances:
    """Numbers that stand for instances, which are not kept alive, and need not be hashable."""

    def __init__(self):
        self._numbers = itertools.count(1)
        # By identity: a weak reference, and the number. The native core looks here, too.
        self.known = {}

    def number(self, instance):
        identity = id(instance)
        known = self.known.get(identity)
        if known is not None and known[0]() is instance:
            return known[1]
        try:
            reference = weakref.ref(instance, lambda dead: self._forget(identity, dead))
        except TypeError:
            name = type(instance).__name__
            raise TypeError(f"a cached method needs instances with weak references; add __weakref__ to {name}")
        # Of two threads that are the first to ask, both get the number that was there first.
        new = (reference, next(self._numbers))
        known = self.known.setdefault(identity, new)
        if known[0]() is not instance:
            self.known[identity] = known = new
        return known[1]

    def _forget(self, identity, dead):
        known = self.known.get(identity)
        if known is not None and known[0] is dead:
            self.known.pop(identity, None)


class _Cached(Named):
    """What cached functions and coroutine functions share."""

    def __init__(self, function, options, cache):
        describe(self, function)
        self._function = function
        self._options = options
        self._is_shared = cache is not None
        if cache is None:
            policy = {} if options.policy is None else {"policy": options.policy}
            cache = Cache(options.maxsize, **policy)
        self.cache = cache
        self._get = cache.get
        self._flights = Flights()
        self._make_key = options.key
        self._instances = _Instances()
        self._is_stale_allowed = bool(options.while_revalidate or options.if_error)
        self._base = cache.stats() if self._is_shared else {"hits": 0, "misses": 0}
        self._name = f"{getattr(function, '__module__', None)}.{_name_of(function)}"

    def __get__(self, instance, owner=None):
        return self if instance is None else _Bound(self, instance)

    def __repr__(self):
        return f"<cached {self._function!r}>"

    def cache_key(self, /, *args, **kwargs):
        """The key under which the result of such a call is kept."""
        key = self._make_key(args, kwargs)
        return (self._name, key) if self._is_shared and not self._options.has_own_key else key

    def cache_info(self):
        """Hits and misses of the cache, the bound and the number of results, as `functools.lru_cache` has it."""
        stats, base = self.cache.stats(), self._base
        hits, misses = stats["hits"] - base["hits"], stats["misses"] - base["misses"]
        return CacheInfo(hits, misses, self.cache.capacity, len(self.cache))

    def cache_clear(self):
        """Forgets all results; also those of other functions with the same `cache`."""
        self.cache.clear()
        self._base = self.cache.stats()

    def invalidate(self, /, *args, **kwargs):
        """Forgets the result of such a call, also one that is being computed. Returns whether there was one."""
        return self._invalidate(self.cache_key(*args, **kwargs))

    def cache_parameters(self):
        """The bound, as `functools.lru_cache` has it."""
        return {"maxsize": self.cache.capacity, "typed": self._options.typed}

    def _invalidate(self, key):
        return self.cache.remove(key)

    def _steps(self, key, args, kwargs):
        """The steps of a load, as `Flights` has them."""
        # Functions, because the interpreter calls those without using more of the C stack.
        return (
            self.cache.begin_fill,
            self._find,
            lambda: self._function(*args, **kwargs),
            lambda fill, value: self._store(key, args, kwargs, fill, value),
        )

    def _find(self, key):
        """A fresh result that is there, or `ABANDONED`."""
        kept = self.cache.peek(key, ABANDONED)
        if kept is ABANDONED or not self._is_stale_allowed:
            return kept
        return kept[0] if self._options.timer() <= kept[1] else ABANDONED

    def _store(self, key, args, kwargs, fill, value):
        options = self._options
        tags = options.tags(*args, **kwargs) if callable(options.tags) else options.tags
        ttl = options.ttl
        if self._is_stale_allowed:
            value = (value, options.timer() + ttl)
            ttl += max(options.while_revalidate, options.if_error)
        self.cache.complete_fill(fill, key, value, ttl, tags, True)


class _CachedFunction(_Cached, Call):
    def __init__(self, function, options, cache):
        super().__init__(function, options, cache)
        if not self._is_stale_allowed:
            # Then calls find their results in the native core.
            has_plain_keys = options.key is _make_key and not self._is_shared
            self._look_up_in(self.cache, has_plain_keys, self._instances.known)

    def _call_with_key(self, /, *args, **kwargs):
        return self._call(self.cache_key(*args, **kwargs), args, kwargs)

    def _call(self, key, args, kwargs):
        kept = self._get(key, _MISSING)
        return self._load(key, args, kwargs) if kept is _MISSING else self._fresh(key, kept, args, kwargs)

    def _load(self, key, args, kwargs):
        begin, find, load, store = self._steps(key, args, kwargs)
        return self._flights.run(key, begin, find, load, store)

    # A load in three steps. The native core calls the function between them, so that one that calls itself gets as deep
    # as with `functools.lru_cache`.

    def _open(self, key):
        """A tuple of the value that is there by now, or the flight of which the caller is to load it."""
        new = Flight()
        try:
            value = self._flights.enter(key, new, self.cache.begin_fill, self._find)
            if value is ABANDONED:
                return new
            self._flights.land(key, new)
            return (value,)
        except BaseException as error:
            try:
                self._fail(key, new, error)
            finally:
                self._fail(key, new, error)
                new = None
            raise

    def _keep(self, key, flight, value, args, kwargs):
        """Ends the load with a value."""
        try:
            check_is_lasting(value)
            if flight.fill is not None:
                self._store(key, args, kwargs, flight.fill, value)
                flight.value = value
        except Exception as error:
            flight.error = error
            raise
        finally:
            try:
                self._flights.land(key, flight)
            finally:
                self._flights.land(key, flight)
                flight = None

    def _fail(self, key, flight, error):
        """Ends the load with what was raised."""
        if isinstance(error, Exception) and flight.error is None:
            flight.error = error
        self._flights.land(key, flight)

    def _fresh(self, key, kept, args, kwargs):
        value, fresh_until = kept
        overdue = self._options.timer() - fresh_until
        if overdue <= 0:
            return value
        if overdue <= self._options.while_revalidate:
            flight = self._flights.try_open(key)
            if flight is not None:
                self._renew(key, flight, args, kwargs)
            return value
        try:
            return self._load(key, args, kwargs)
        except Exception:
            if overdue <= self._options.if_error:
                return value
            raise

    def _renew(self, key, flight, args, kwargs):
        def run():
            try:
                self._flights.lead(key, flight, *self._steps(key, args, kwargs))
            except Exception:
                pass  # The old result serves until its time is over; then the error is raised.

        try:
            threading.Thread(target=run, name="larder-renew", daemon=True).start()
        except RuntimeError:
            # No thread can be started, for instance because the interpreter ends.
            self._flights.land(key, flight)


class _CachedCoroutine(_Cached):
    def __init__(self, function, options, cache):
        super().__init__(function, options, cache)
        # What `inspect.iscoroutinefunction` and `asyncio.iscoroutinefunction` ask for.
        if hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine
            # `inspect` looks at the code of what seems to be a function.
            for name in ("__code__", "__defaults__", "__kwdefaults__"):
                setattr(self, name, getattr(function, name, None))
        # Tasks that renew, which the loop does not keep alive.
        self._tasks = set()

    async def __call__(self, /, *args, **kwargs):
        return await self._call(self.cache_key(*args, **kwargs), args, kwargs)

    async def _call(self, key, args, kwargs):
        value = self._get(key, _MISSING)
        if value is _MISSING:
            return await self._load(key, args, kwargs)
        return value if not self._is_stale_allowed else await self._fresh(key, value, args, kwargs)

    async def _load(self, key, args, kwargs):
        return await self._flights.run_async(key, *self._steps(key, args, kwargs))

    async def _fresh(self, key, kept, args, kwargs):
        value, fresh_until = kept
        overdue = self._options.timer() - fresh_until
        if overdue <= 0:
            return value
        if overdue <= self._options.while_revalidate:
            task = asyncio.get_running_loop().create_task(self._renew(key, args, kwargs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return value
        try:
            return await self._load(key, args, kwargs)
        except Exception:
            if overdue <= self._options.if_error:
                return value
            raise

    async def _renew(self, key, args, kwargs):
        flight = self._flights.try_open(key)
        if flight is None:
            return
        try:
            await self._flights.lead_async(key, flight, *self._steps(key, args, kwargs))
        except Exception:
            pass  # The old result serves until its time is over; then the error is raised.


class _ClassMethod(classmethod):
    """A cached method of a class, each of which has its own results."""

    def __get__(self, instance, owner=None):
        return _Bound(self.__func__, type(instance) if owner is None else owner)


def _of_function(name):
    return property(lambda bound: getattr(bound.__func__, name))


class _Bound(Method):
    """A cached method of one instance, which is copied, pickled, compared and described like a method of Python."""

    __slots__ = ()

    def __getattr__(self, name):
        return getattr(self.__func__, name)

    def __repr__(self):
        return f"<bound {self.__func__!r} of {self.__self__!r}>"

    def __eq__(self, other):
        if not isinstance(other, _Bound):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self):
        return hash((id(self.__func__), id(self.__self__)))

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return _Bound(self.__func__, copy.deepcopy(self.__self__, memo))

    def __reduce__(self):
        return getattr, (self.__self__, self.__func__.__name__)

    @property
    def __signature__(self):
        return inspect.signature(types.MethodType(self.__func__, self.__self__))

    def _call(self, /, *args, **kwargs):
        function = self.__func__
        find_or_load = getattr(function, "_find_or_load", function._call)
        return find_or_load(self.cache_key(*args, **kwargs), (self.__self__, *args), kwargs)

    def cache_key(self, /, *args, **kwargs):
        function = self.__func__
        if function._options.has_own_key:
            return function._make_key((self.__self__, *args), kwargs)
        key = (function._instances.number(self.__self__), function._make_key(args, kwargs))
        return (function._name, key) if function._is_shared else key

    def invalidate(self, /, *args, **kwargs):
        return self.__func__._invalidate(self.cache_key(*args, **kwargs))


# Those that every class has; the others are found by `__getattr__`. They are those of the function.
_Bound.__doc__, _Bound.__module__ = _of_function("__doc__"), _of_function("__module__")
