"""The decorators."""

import asyncio
import gc
import inspect
import pickle
import threading
import weakref

import pytest

import larder
from larder import cached, lru_cache


@cached
def module_level(x):
    return x * 2


def test_a_result_is_remembered():
    calls = []

    @cached(maxsize=2, policy="lru")
    def add(x, y=0, *more, z=0):
        """Adds."""
        calls.append(x)
        return x + y + z

    assert [add(1), add(1), add(1, 2), add(1, z=3), add(z=3, x=1), add(1, z=3)] == [1, 1, 3, 4, 4, 4]
    assert len(calls) == 4 and add.cache_info() == (2, 4, 2, 2)
    assert add.__name__ == "add" and add.__doc__ == "Adds." and add.__wrapped__(1) == 1
    assert list(inspect.signature(add).parameters) == ["x", "y", "more", "z"]
    add.cache_clear()
    assert add.cache_info() == (0, 0, 2, 0)
    assert add(1) == 1 and add.invalidate(1) is True and add.invalidate(1) is False
    assert add.cache_parameters() == {"maxsize": 2, "typed": False}


@pytest.mark.parametrize(
    "one, other",
    [
        (((1,), {}), (((1,),), {})), (((), {}), (((),), {})), ((("x",), {}), ((), {"a": "x"})),
        ((("a", "x"), {}), ((), {"a": "x"})), (((((1,), (("a", 1),)),), {}), ((1,), {"a": 1})),
        ((((1,), (("a", 1),)), {}), ((1,), {"a": 1})), ((("1",), {}), ((1,), {})),
    ],
)
def test_different_calls_have_different_keys(one, other):
    @cached
    def function(*args, **kwargs):
        return args, kwargs

    for args, kwargs in (one, other, one):
        assert function(*args, **kwargs) == (args, kwargs)
    assert function.cache_key(*one[0], **one[1]) != function.cache_key(*other[0], **other[1])


def test_typed_and_own_keys():
    @lru_cache(typed=True)
    def kind(x):
        return type(x)

    assert (kind(1), kind(1.0), kind(True)) == (int, float, bool)

    @cached(key=lambda text: text.lower())
    def length(text):
        return text

    assert length("A") == "A" == length("a") and length.cache_key("A") == "a"


def test_none_is_a_result_and_an_error_is_not():
    calls = []

    @cached
    def function(x):
        calls.append(x)
        if len(calls) == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        function(1)
    assert function(1) is None and function(1) is None and len(calls) == 2


def test_unhashable_arguments_are_a_type_error():
    with pytest.raises(TypeError):
        module_level([])


def test_recursion_works_and_a_call_of_itself_is_not_waited_for():
    @lru_cache(maxsize=None)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(80) == 23416728348467685

    depth = []

    @cached
    def itself(x):
        depth.append(x)
        return x if len(depth) > 3 else itself(x)

    assert itself(1) == 1


def test_results_expire_and_are_tagged():
    clock = larder.ManualClock()
    cache = larder.Cache(10, clock=clock)

    @cached(ttl=5, cache=cache, tags=lambda x: [f"user:{x}"])
    def one(x):
        return object()

    @cached(cache=cache, tags=["all"])
    def two(x):
        return object()

    first, second = one(1), two(1)
    assert first is one(1) and second is two(1) and first is not second and len(cache) == 2
    assert cache.invalidate_tag("user:1") and one(1) is not first and two(1) is second
    kept = one(1)
    clock.advance(6)
    assert one(1) is not kept and two(1) is second


class Counter:
    def __init__(self):
        self.calls = 0

    __hash__ = None

    @cached
    def double(self, x):
        self.calls += 1
        return x * 2

    @staticmethod
    @cached
    def static(x):
        return x

    @classmethod
    @cached
    def of_class(cls, x):
        return cls, x


def test_methods():
    one, other = Counter(), Counter()
    assert one.double(2) == 4 == one.double(2) == other.double(2)
    assert (one.calls, other.calls) == (1, 1)
    assert one.double.invalidate(2) and one.double(2) == 4 and (one.calls, other.calls) == (2, 1)
    assert Counter.static(1) == 1 == one.static(1) and one.of_class(5) == (Counter, 5)
    assert one.double.cache_info().currsize >= 2 and one.double.__self__ is one


def test_a_method_does_not_keep_its_instance():
    counter = Counter()
    counter.double(1)
    reference = weakref.ref(counter)
    del counter
    assert reference() is None
    # An object at the same address is another one.
    for _ in range(100):
        new = Counter()
        new.double(1)
        assert new.calls == 1
        del new

    class Slotted:
        __slots__ = ()

        @cached
        def method(self):
            return 1

    with pytest.raises(TypeError, match="__weakref__"):
        Slotted().method()


def test_what_cannot_be_cached_is_refused():
    def generator():
        yield 1

    async def async_generator():
        yield 1

    for function in (generator, async_generator, staticmethod(generator), classmethod(async_generator)):
        with pytest.raises(TypeError):
            cached()(function)
    for option in ("stale_while_revalidate", "stale_if_error"):
        with pytest.raises(ValueError, match="ttl"):
            cached(**{option: 5})


def test_a_cached_function_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def run_threads(count, target):
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_threads_compute_once():
    calls, go, barrier, results = [], threading.Event(), threading.Barrier(9), []

    @cached
    def slow(x):
        calls.append(x)
        go.wait()
        return object()

    def ask():
        barrier.wait()
        results.append(slow(1))

    threads = run_threads(8, ask)
    barrier.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(set(map(id, results))) == 1


def test_an_interrupted_leader_hands_over():
    inside, go, calls, results = threading.Event(), threading.Event(), [], []

    @cached
    def slow(x):
        calls.append(x)
        if len(calls) == 1:
            inside.set()
            go.wait()
            raise KeyboardInterrupt
        return "value"

    def lead():
        with pytest.raises(KeyboardInterrupt):
            slow(1)

    leader = run_threads(1, lead)[0]
    inside.wait()
    waiters = run_threads(3, lambda: results.append(slow(1)))
    go.set()
    for thread in [leader, *waiters]:
        thread.join()
    assert results == ["value"] * 3 and len(calls) == 2


def test_an_invalidation_during_a_call_is_not_lost():
    inside, go, calls = threading.Event(), threading.Event(), []

    @cached
    def slow(x):
        calls.append(x)
        inside.set()
        go.wait()
        return len(calls)

    thread = run_threads(1, lambda: slow(1))[0]
    inside.wait()
    slow.invalidate(1)
    go.set()
    thread.join()
    assert slow(1) == 2


def test_threads_that_wait_for_each_other_learn_it():
    both, results = threading.Barrier(2), []

    @cached
    def one(x):
        both.wait()
        return two(x)

    @cached
    def two(x):
        both.wait()
        return one(x)

    def ask(function):
        try:
            function(1)
        except larder.LoadCycleError as error:
            results.append(str(error))

    threads = [threading.Thread(target=ask, args=(function,)) for function in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and "wait for each other" in results[0]


@pytest.mark.parametrize("has_tasks", [False, True])
def test_coroutines_that_wait_for_each_other_learn_it(has_tasks):
    needs = {1: 2, 2: 3, 3: 1, 4: 1}

    @cached
    async def slow(x):
        await asyncio.sleep(0)
        load = slow(needs[x])
        # Tasks that a loader starts are a part of it.
        return (await asyncio.gather(load))[0] if has_tasks else await load

    async def run():
        return await asyncio.gather(*map(slow, needs), return_exceptions=True)

    results = asyncio.run(asyncio.wait_for(run(), 60))
    assert [type(result) for result in results] == [larder.LoadCycleError] * 4


def test_waiting_in_a_chain_is_no_cycle():
    async def run():
        @cached
        async def slow(x):
            await asyncio.sleep(0)
            return x if x == 0 else await slow(x - 1) + 1

        return await asyncio.gather(*(slow(x) for x in (0, 3, 2, 1, 3)))

    assert asyncio.run(run()) == [0, 3, 2, 1, 3]


@pytest.mark.parametrize("change", [
    lambda f: f.invalidate(1), lambda f: f.cache_clear(), lambda f: f.cache.remove(1), lambda f: f.cache.pop(1, None),
    lambda f: f.cache.invalidate_tag("tag"), lambda f: f.cache.__setitem__(1, "new"),
])
def test_a_change_during_a_call_is_noticed(change):
    calls = []

    @cached
    def slow(x):
        calls.append(x)
        if len(calls) == 1:
            change(slow)
            return "old"
        return "new"

    assert slow(1) == "old"
    assert slow(1) == "new"


def test_a_call_after_a_change_does_not_join_the_one_before():
    inside, go, calls = threading.Event(), threading.Event(), []

    @cached
    def slow(x):
        calls.append(x)
        if len(calls) == 1:
            inside.set()
            go.wait()
            return "old"
        return "new"

    results = []
    thread = run_threads(1, lambda: results.append(slow(1)))[0]
    inside.wait()
    slow.cache.remove(1)
    assert slow(1) == "new"
    go.set()
    thread.join()
    assert results == ["old"] and slow(1) == "new" and len(calls) == 2


def test_an_interrupt_leaves_no_flight_behind():
    @cached
    def slow(x):
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            slow(1)
    assert not slow._flights._open


def test_calls_of_each_form_share_their_results():
    calls = []

    @cached
    def function(*args, **kwargs):
        calls.append((args, kwargs))
        return len(calls)

    for args, kwargs in [((), {}), ((1,), {}), ((True,), {}), ((1.5,), {}), (("a",), {}), ((1, 2), {}), ((), {"a": 1})]:
        first = function(*args, **kwargs)
        assert function(*args, **kwargs) == first == len(calls)
        assert function._find(function.cache_key(*args, **kwargs)) == first
    assert function.cache_info().hits == function.cache_info().misses == 7


@pytest.mark.parametrize("is_async", [False, True])
def test_stale_results(is_async):
    now, results = [0.0], iter([1, 2, ZeroDivisionError, ZeroDivisionError])
    options = dict(ttl=10, stale_while_revalidate=5, stale_if_error=20, timer=lambda: now[0])

    def compute():
        result = next(results)
        if isinstance(result, int):
            return result
        raise result

    if is_async:
        @cached(**options)
        async def function():
            return compute()

        loop = asyncio.new_event_loop()

        async def call_and_settle():
            value = await function()
            while function._tasks:
                await asyncio.sleep(0)
            return value

        call = lambda: loop.run_until_complete(call_and_settle())
    else:
        @cached(**options)
        def function():
            return compute()

        def call():
            value = function()
            for thread in threading.enumerate():
                if thread.name == "larder-renew":
                    thread.join()
            return value

    assert call() == 1
    now[0] = 12.0
    # The old result, while the new one is computed.
    assert call() == 1 and call() == 2
    now[0] = 30.0
    assert call() == 2
    now[0] = 43.0
    with pytest.raises(ZeroDivisionError):
        call()
    if is_async:
        loop.close()


def test_coroutines_compute_once():
    async def run():
        calls = []

        @cached(ttl=100)
        async def slow(x):
            calls.append(x)
            await asyncio.sleep(0)
            return object()

        assert inspect.iscoroutinefunction(slow) or asyncio.iscoroutinefunction(slow)
        results = await asyncio.gather(*(slow(1) for _ in range(10)))
        assert len(calls) == 1 and len(set(map(id, results))) == 1
        assert await slow(1) is results[0]

    asyncio.run(run())


def test_a_cancelled_leader_hands_over():
    async def run():
        calls, inside = [], asyncio.Event()

        @cached
        async def slow(x):
            calls.append(x)
            if len(calls) == 1:
                inside.set()
                await asyncio.Event().wait()
            return "value"

        leader = asyncio.create_task(slow(1))
        await inside.wait()
        waiters = [asyncio.create_task(slow(1)) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        leader.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError) and results[1:] == ["value"] * 2
        assert len(calls) == 2

    asyncio.run(run())


def test_coroutines_of_two_loops_compute_once():
    calls, inside, go = [], threading.Event(), threading.Event()

    @cached
    async def slow(x):
        calls.append(x)
        inside.set()
        await asyncio.get_running_loop().run_in_executor(None, go.wait)
        return object()

    results = []
    first = run_threads(1, lambda: results.append(asyncio.run(slow(1))))[0]
    inside.wait()
    second = run_threads(1, lambda: results.append(asyncio.run(slow(1))))[0]
    go.set()
    first.join()
    second.join()
    assert len(calls) == 1 and results[0] is results[1]


def test_async_methods_and_recursion():
    class Service:
        @cached
        async def method(self, x):
            return x * 2

        @cached
        async def itself(self, depth):
            return await self.itself(depth) if self.left() else depth

        def left(self):
            self.count = getattr(self, "count", 3) - 1
            return self.count

    service = Service()
    assert asyncio.run(service.method(2)) == 4 and asyncio.run(service.itself(1)) == 1
    reference = weakref.ref(service)
    del service
    gc.collect()
    assert reference() is None
