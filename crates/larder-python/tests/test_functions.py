"""How decorated functions and methods look from outside, which options they take, and how deep they may be nested."""

import asyncio
import contextlib
import contextvars
import copy
import datetime
import functools
import gc
import inspect
import multiprocessing
import pickle
import sys
import threading
import time
import weakref

import pytest

import larder
import larder.cachetools
from larder import Cache, cached, lru_cache


class Account:
    """Has cached methods; equal to others of the same number."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Account) and self.number == other.number

    def __hash__(self):
        return 0

    @cached(10)
    def plus(self, amount: int) -> int:
        """Adds."""
        return self.number + amount

    @cached
    async def later(self, amount):
        return self.number + amount

    @classmethod
    @cached
    def of_class(cls, amount):
        return cls, amount

    def plain(self, amount: int) -> int:
        """Adds."""


def test_a_bound_method_is_described_like_one_of_python():
    account = Account(5)
    for name in ("__doc__", "__module__"):
        assert getattr(account.plus, name) == getattr(account.plain, name)
    assert (account.plus.__name__, account.plus.__qualname__) == ("plus", "Account.plus")
    assert inspect.signature(account.plus) == inspect.signature(account.plain)
    assert str(inspect.signature(account.of_class)) == "(amount)"
    assert str(inspect.signature(Account.plus)) == "(self, amount: int) -> int"


def test_a_bound_method_is_compared_like_one_of_python():
    one, other = Account(5), Account(5)
    assert one == other and one.plus == one.plus and hash(one.plus) == hash(one.plus)
    assert one.plus != other.plus and one.plus != one.later and one.plus != 5
    method = one.plus
    assert weakref.ref(method)() is method


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bound_method_is_pickled_with_its_instance(protocol):
    method = pickle.loads(pickle.dumps(Account(5).plus, protocol))
    assert method(1) == 6 and method.__self__ == Account(5) and method.__func__ is Account.plus
    assert pickle.loads(pickle.dumps(Account.of_class, protocol))(1) == (Account, 1)


def test_a_bound_method_is_copied_like_one_of_python():
    account = Account(5)
    assert copy.copy(account.plus) == account.plus
    deep = copy.deepcopy(account.plus)
    assert deep.__self__ == account and deep.__self__ is not account and deep(1) == 6


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_calls_a_bound_method(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(Account(5).plus, range(4)).get(60) == [5, 6, 7, 8]


def test_what_is_a_coroutine_function_says_so():
    async def plain(x):
        return x

    for function in (cached(plain), Account.later, Account(1).later):
        assert asyncio.iscoroutinefunction(function), function
        # Before 3.10, inspect takes functions of Python alone.
        assert sys.version_info < (3, 10) or inspect.iscoroutinefunction(function), function
    for function in (cached(len), Account.plus, Account(1).plus):
        assert not inspect.iscoroutinefunction(function), function
    assert asyncio.run(cached(functools.partial(plain, 1))()) == 1


@pytest.mark.parametrize(
    "options, error",
    [
        ({"ttl": 0}, ValueError), ({"ttl": -1}, ValueError), ({"ttl": "5"}, TypeError),
        ({"ttl": float("nan")}, ValueError),
        ({"tags": "abc"}, TypeError), ({"tags": [5]}, TypeError), ({"tags": list("abcde")}, ValueError),
        ({"ttl": 5, "stale_if_error": -1}, ValueError), ({"ttl": 5, "stale_while_revalidate": "5"}, TypeError),
        ({"key": 5}, TypeError), ({"timer": 5}, TypeError), ({"cache": {}}, TypeError),
        ({"cache": Cache(5), "maxsize": 7}, ValueError), ({"cache": Cache(5), "policy": "lru"}, ValueError),
    ],
)
def test_wrong_options_are_refused_before_the_first_call(options, error):
    with pytest.raises(error):
        cached(**options)


@pytest.mark.parametrize("decorator", [cached(5), lru_cache(5), lru_cache(0)])
def test_only_what_can_be_called_can_be_decorated(decorator):
    with pytest.raises(TypeError):
        decorator(5)


def test_spans_of_time_may_be_timedeltas():
    span, time, calls = datetime.timedelta(seconds=5), [0.0], []

    @cached(ttl=span, stale_if_error=span, timer=lambda: time[0])
    def load(x):
        calls.append(x)
        if len(calls) > 1:
            raise OSError
        return x

    assert load(1) == 1
    time[0] = 9.0
    assert load(1) == 1 and len(calls) == 2
    time[0] = 11.0
    with pytest.raises(OSError):
        load(1)


def test_tags_may_be_an_iterator():
    calls = []

    @cached(tags=iter(["a", "b"]))
    def load(x):
        calls.append(x)

    load(1)
    load(2)
    assert load.cache.invalidate_tag("b") and load(1) is load(2) is None and calls == [1, 2, 1, 2]


def test_a_shared_cache_says_its_bound():
    assert cached(cache=Cache(3))(len).cache_parameters() == {"maxsize": 3, "typed": False}


def test_a_generator_with_no_name_is_refused():
    def generator(x):
        yield x

    with pytest.raises(TypeError, match="generator"):
        cached(functools.partial(generator, 1))


@pytest.mark.filterwarnings("error")
def test_a_result_that_is_used_up_is_refused():
    async def load():
        return 1

    async def generate():
        yield 1

    async def returns_generator():
        return (number for number in range(3))

    for function in (load, lambda: (number for number in range(3)), generate):
        decorated, cache = cached(lambda: function()), Cache(5)
        for _ in range(2):
            with pytest.raises(TypeError, match="run once"):
                decorated()
            with pytest.raises(TypeError, match="run once"):
                cache.get_or_load("key", function)
        assert len(cache) == decorated.cache_info().currsize == 0
    with pytest.raises(TypeError, match="run once"):
        asyncio.run(cached(returns_generator)())


def depth(function, most):
    """How deep a function that calls itself gets within 1,000 frames."""
    deepest = 0
    for step in (100, 10):
        while deepest < most:
            function.cache_clear()
            try:
                function(deepest + step)
            except RecursionError:
                break
            deepest += step
    return deepest


@pytest.mark.parametrize("options", [{}, {"key": lambda x: x}, {"cache": Cache()}, {"typed": True}])
def test_a_function_that_calls_itself_gets_as_deep_as_with_functools(options):
    def count(decorator):
        @decorator
        def function(x):
            return 0 if x == 0 else 1 + function(x - 1)

        return function

    expected = depth(count(functools.lru_cache(None)), 900)
    assert depth(count(cached(**({} if "cache" in options else {"maxsize": None}), **options)), 900) >= expected - 20


def test_no_call_waits_for_one_that_was_nested_too_deep():
    is_over = False

    @cached(None)
    def function(x):
        return x if is_over else function(x + 1)

    def nested(frames):
        return function(0) if frames == 0 else nested(frames - 1)

    # The interpreter's bound is met at another step each time.
    for frames in range(12):
        with pytest.raises(RecursionError):
            nested(frames)
    is_over, results = True, []
    # Another thread, which is within none of these loads.
    thread = threading.Thread(target=lambda: results.extend(map(function, range(sys.getrecursionlimit()))))
    thread.start()
    thread.join()
    assert results == list(range(sys.getrecursionlimit()))


@pytest.mark.parametrize(
    "options", [{}, {"key": lambda *args, **kwargs: (args, tuple(kwargs))}, {"cache": Cache(9)}, {"typed": True}]
)
def test_an_interrupted_call_is_waited_for_by_none(options):
    calls = []

    @cached(**options)
    def function(x, y=0):
        calls.append(x)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return x + y

    with pytest.raises(KeyboardInterrupt):
        function(1, y=2)
    assert not function._flights._open and function(1, y=2) == function(1, y=2) == 3 and calls == [1, 1]


def test_a_leader_that_finds_a_value_lands_its_flight():
    @cached
    def function(x):
        return x

    flight = function._open(1)
    assert isinstance(flight, larder.flights.Flight)
    # Another call has stored the value after the caller looked, and before it opened its flight.
    function.cache.set(2, "there")
    assert function._open(2) == ("there",) and list(function._flights._open) == [1]
    function._keep(1, flight, "value", (1,), {})
    assert not function._flights._open and function(1) == "value"


def test_a_method_finds_its_result_with_and_without_keywords():
    class Counter:
        def __init__(self):
            self.calls = []

        @cached
        def add(self, *args, **kwargs):
            self.calls.append((args, kwargs))
            return len(self.calls)

    one, other = Counter(), Counter()
    for args, kwargs in [((), {}), ((1,), {}), ((True,), {}), ((1.5,), {}), (("a",), {}), ((1, 2), {}), ((), {"a": 1})]:
        first = one.add(*args, **kwargs)
        assert one.add(*args, **kwargs) == first == len(one.calls)
        assert Counter.add.cache.peek(one.add.cache_key(*args, **kwargs)) == first
    assert one.add.cache_info()[:2] == (7, 7) and other.calls == []
    assert other.add(1) == 1 == len(other.calls) and one.calls[1] == ((1,), {})
    with pytest.raises(TypeError, match="unhashable"):
        one.add([])


def test_an_interrupted_method_is_waited_for_by_none():
    calls = []

    class Counter:
        @cached
        def add(self, x):
            calls.append(x)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return x

    counter = Counter()
    counter.add(1)
    with pytest.raises(KeyboardInterrupt):
        counter.add(2)
    assert not Counter.add._flights._open and counter.add(2) == 2 == counter.add(2) and calls == [1, 2, 2]


def test_the_instances_of_methods_are_collected():
    class Node:
        @cached
        def me(self):
            return 1

    references = []
    for _ in range(20):
        node = Node()
        node.method = node.me
        node.me()
        references.append(weakref.ref(node))
    del node
    gc.collect()
    assert all(reference() is None for reference in references) and not Node.me._instances.known


class Held:
    """Something that a loader has in a variable."""


@pytest.mark.parametrize("is_waited_for", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_keeps_nothing_of_the_loader_once_it_is_handled(is_async, is_waited_for):
    held, cache = [], Cache(9)

    def hold():
        value = Held()
        held.append(weakref.ref(value))
        return value

    def fail():
        value = hold()
        if is_waited_for:
            flights = cache._flights._open or function._flights._open
            # Until the others wait.
            while len(flights[1].watchers) < 2:
                time.sleep(0.001)
        raise ValueError(type(value))

    async def fail_later():
        value = hold()
        for _ in range(3):
            await asyncio.sleep(0)
        raise ValueError(type(value))

    function = cached(lambda x: fail())
    later = cached(_later(fail_later))

    def call(work):
        with contextlib.suppress(ValueError):
            work()

    async def call_async(work):
        with contextlib.suppress(ValueError):
            await work()

    gc.collect()
    gc.disable()
    try:
        for sync, coroutine in [
            (lambda: cache.get_or_load(1, fail), lambda: cache.get_or_load_async(1, fail_later)),
            (lambda: function(1), lambda: later(1)),
        ]:
            if is_async:

                async def work():
                    await asyncio.gather(*(call_async(coroutine) for _ in range(1 + 2 * is_waited_for)))
                    await asyncio.sleep(0)
                    assert held.pop()() is None

                asyncio.run(work())
            else:
                threads = [threading.Thread(target=call, args=(sync,)) for _ in range(1 + 2 * is_waited_for)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert held.pop()() is None
    finally:
        gc.enable()


def _later(function):
    async def later(x):
        return await function()

    return later


@pytest.mark.parametrize("make", [lambda: Cache(9).get_or_load, lambda: None])
def test_a_loader_may_ask_for_its_own_key_in_another_context(make):
    get_or_load = make()
    depth = []

    def load():
        depth.append(1)
        return contextvars.Context().run(ask) if len(depth) == 1 else "loaded"

    function = cached(lambda x: load())
    ask = (lambda: get_or_load(1, load)) if get_or_load else (lambda: function(1))
    results = []
    thread = threading.Thread(target=lambda: results.append(ask()), daemon=True)
    thread.start()
    thread.join(20)
    assert results == ["loaded"] and len(depth) == 2


@pytest.mark.parametrize(
    "options", [{}, {"key": lambda *args, **kwargs: (len(args), *kwargs)}, {"typed": True}, {"cache": Cache(9)}]
)
def test_a_keyword_may_have_any_name(options):
    names = dict.fromkeys(("self", "key", "args", "kwargs", "slf", "arguments", "keywords", "function", "instance"), 1)

    class Names:
        @cached(**options)
        def method(this, **keywords):
            return keywords

        @cached(**options)
        async def coroutine(this, **keywords):
            return keywords

    @cached(**options)
    def function(**keywords):
        return keywords

    @cached(ttl=60, stale_if_error=60)
    def stale(**keywords):
        return keywords

    @cached(**options)
    async def coroutine(**keywords):
        return keywords

    names_of = Names()
    for call in (function, stale, names_of.method):
        result = call(**names)
        assert result == names and call(**names) is result and call.invalidate(**names)
    for call in (coroutine, names_of.coroutine):
        assert asyncio.run(call(**names)) == names and call.invalidate(**names)
    assert lru_cache(0)(lambda **keywords: keywords)(**names) == names


def test_attributes_of_a_function_replace_nothing_of_the_decorated_one():
    names = ("cache_clear", "cache_info", "cache_key", "invalidate", "_call", "_load", "_open", "_keep", "_fail", "_store")

    def function(x):
        return x + 1

    for name in names:
        setattr(function, name, "an attribute")
    function.more = "an attribute"
    for decorated in (
        cached(function), cached(ttl=9, stale_if_error=9)(function), cached(cached(function)), lru_cache(function),
        cached(typed=True)(functools.lru_cache(function)), larder.cachetools.cached({}, info=True)(function),
    ):
        assert decorated(1) == decorated(1) == 2 and decorated.cache_info()[:2] == (1, 1)
        assert decorated.more == "an attribute"
        decorated.cache_clear()
        assert decorated.cache_info().currsize == 0
    outer = cached(key=abs)(larder.cachetools.cached({}, key=lambda x: 0)(function))
    assert outer(1) == outer(2) == 2 and outer.cache_info()[:2] == (0, 2)
    assert lru_cache(0)(function)(1) == 2 and outer.__wrapped__.__wrapped__ is function


def test_methods_of_a_class_are_cached_for_each_class():
    calls = []

    class Base:
        @cached
        @classmethod
        def of_class(cls, x=0):
            """Says the class."""
            calls.append(cls)
            return cls, x

        @cached(ttl=60)
        @classmethod
        async def coroutine(cls):
            calls.append(cls)
            return cls

        @cached(10)
        @staticmethod
        def static(x):
            calls.append(x)
            return x

    class Derived(Base):
        pass

    for owner in (Base, Derived):
        assert owner.of_class(1) == owner.of_class(1) == owner().of_class(1) == (owner, 1)
        assert asyncio.run(owner.coroutine()) is asyncio.run(owner.coroutine()) is owner
        assert owner.static(owner) is owner().static(owner) is owner
    assert calls == [Base] * 3 + [Derived] * 3
    assert Base.of_class.invalidate(1) and not Base.of_class.invalidate(1)
    assert Base.of_class.cache_info().currsize == 1 and Base.static.invalidate(Base)
    assert Base.of_class(1) == (Base, 1) and calls[6:] == [Base]
    assert str(inspect.signature(Derived.of_class)) == "(x=0)" and Base.of_class.__doc__ == "Says the class."
