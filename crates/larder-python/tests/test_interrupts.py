"""Handlers of signals and finalizers, which run between any two steps of a thread, and use the cache it is using."""

import asyncio
import asyncio
import dis
import functools
import os
import sys
import threading

import pytest

import larder
from larder.cachetools import LRUCache, TTLCache
from pyquickcache import QuickCache, QuickCacheConfig
from pyquickcache.eviction_policy import LRUEvictionPolicy
from pyquickcache.registry.decorators import register_eviction_policy

PACKAGE = os.path.dirname(larder.__file__)
SECONDS = 10

pytestmark = pytest.mark.skipif(sys.implementation.name != "cpython", reason="it traces the steps of CPython")


# After these, the interpreter looks for signals, whose handlers may raise.
CHECKED = ("CALL", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "RESUME")


@functools.lru_cache(None)
def handlers_of(code):
    """The handlers of exceptions, by ranges of offsets, where there is a table of them."""
    return getattr(dis.Bytecode(code), "exception_entries", ())


def handler_at(code, offset):
    return [entry.target for entry in handlers_of(code) if entry.start <= offset < entry.end][:1]


def run_interrupted(call, step, interrupt, raises=False):
    """Calls `call`, and `interrupt` before its step of that number within larder. Returns whether there is that step.

    If it raises, only steps count before which the interpreter would raise that, to the same handler.
    """
    left, last = step, {}

    def trace(frame, event, argument):
        nonlocal left
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            offset = frame.f_lasti
            before = last.get(frame, offset)
            last[frame] = offset
            is_checked = before == offset or dis.opname[code.co_code[before]].startswith(CHECKED)
            left -= not raises or (is_checked and handler_at(code, before) == handler_at(code, offset))
            if left == 0:
                left = -1
                interrupt()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left < 0


def in_thread(work):
    """What `work` returns, in a thread of its own. It has to end."""
    results = []

    def run():
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it hangs"
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


@pytest.fixture(autouse=True, scope="module")
def first_trace():
    """CPython 3.12 leaves the steps out of the first trace that asks for them."""
    in_thread(lambda: run_interrupted(of_cache(), 0, fail))


@register_eviction_policy("interrupted")
class Policy(LRUEvictionPolicy):
    """One that is written in Python."""


def failed(call):
    """A call for whose key nothing is stored."""
    with pytest.raises(ValueError):
        call()


def fail():
    raise ValueError


def of_cache():
    cache = larder.Cache(10)

    def call():
        failed(lambda: cache.get_or_load("key", fail))
        return [cache.get_or_load(1, lambda: 1)]

    return call


def of_cached(**options):
    @larder.cached(**options)
    def function(number):
        return number if number < 3 else fail()

    def call():
        failed(lambda: function(3))
        return [function(1)]

    return call


def of_stale():
    time = [0]

    @larder.cached(ttl=1, stale_if_error=10**9, timer=lambda: time[0])
    def function(number):
        return number if number < 3 else fail()

    def call():
        time[0] += 5
        failed(lambda: function(3))
        return [function(1)]

    return call


def of_coroutines():
    cache = larder.Cache(10)

    @larder.cached
    async def function(number):
        await asyncio.sleep(0)
        return number if number < 3 else fail()

    async def work():
        await asyncio.gather(*(function(3) for _ in range(2)), return_exceptions=True)
        return [await cache.get_or_load_async(2, lambda: function(1))]

    # Threads have no loops yet.
    return lambda: asyncio.run(work())


def of_method():
    class Numbers:
        @larder.cached
        def number(self, number):
            return number

    def call():
        return [Numbers().number(1)]

    return call


def of_quick(policy):
    cache = QuickCache(QuickCacheConfig(max_size=1, eviction_policy=policy, cleanup_interval=None))

    def call():
        for number in range(2):
            cache.set(number, number)
        cache.get_many(range(2))
        cache.delete_many([1])
        cache.cleanup()
        return cache.get_metrics_snapshot() and [1]

    return call


def of_mapping(cache):
    def call():
        for number in range(2):
            cache[number] = number
            cache.get(number)
        cache.pop(1, None)
        return [cache.setdefault(1, 1)]

    return call


def of_nothing():
    function = larder.lru_cache(0)(lambda number: number)
    return lambda: [function(1)]


CALLS = {
    "get_or_load": of_cache,
    "cached": of_cached,
    "cached with a key": lambda: of_cached(key=lambda number: number),
    "stale": of_stale,
    "coroutines": of_coroutines,
    "method": of_method,
    "lru_cache(0)": of_nothing,
    "QuickCache": lambda: of_quick("lru"),
    "QuickCache with a policy in Python": lambda: of_quick("interrupted"),
    "TTLCache": lambda: of_mapping(TTLCache(1, 60)),
    "LRUCache": lambda: of_mapping(LRUCache(1)),
}


# Within a coroutine, nothing can wait for others; and a policy in Python is not to be called in the middle of a change.
RE_ENTRANT = {name: make for name, make in CALLS.items() if name not in ("coroutines", "QuickCache with a policy in Python")}


@pytest.mark.parametrize("make", RE_ENTRANT.values(), ids=RE_ENTRANT)
def test_what_interrupts_a_call_may_make_the_same_call(make):
    step = 1
    while True:
        call, found = make(), []

        def interrupt():
            found.append(call())

        def work():
            return run_interrupted(lambda: found.append(call()), step, interrupt)

        is_interrupted = in_thread(work)
        assert all(result == [1] for result in found) and len(found) == 1 + is_interrupted
        if not is_interrupted:
            break
        step += 1
    assert step > 2


class Interrupt(BaseException):
    """As a KeyboardInterrupt, that a handler raises."""


# Where nobody could be told of it, the interpreter reports it; and a coroutine that it keeps from running warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_after_an_interrupt_at_any_step_others_need_not_wait(make):
    def interrupt():
        raise Interrupt

    step = 1
    while True:
        call = make()

        def work():
            try:
                return run_interrupted(call, step, interrupt, raises=True)
            except Interrupt:
                return True

        is_interrupted = in_thread(work)
        assert in_thread(call) == [1], step
        if not is_interrupted:
            break
        step += 1
    assert step > 2


def test_the_thread_of_a_cache_that_is_dropped_within_it_ends():
    settings = QuickCacheConfig(cleanup_interval=0.001)
    step = 1
    while True:
        cache, left = [], step

        def trace(frame, event, argument):
            nonlocal left
            frame.f_trace_opcodes = True
            if event == "opcode" and cache:
                left -= 1
                if left == 0:
                    # As the garbage collector may do at any step.
                    cache.clear()
            return trace

        threading.settrace(trace)
        try:
            cache.append(QuickCache(settings))
        finally:
            threading.settrace(None)
        thread = cache[0]._sweeper._thread
        thread.join(SECONDS)
        assert not thread.is_alive() and not cache
        if step == 100:
            break
        step += 1


def test_a_cache_may_wait_for_ever_between_sweeps(monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    cache = QuickCache(QuickCacheConfig(cleanup_interval=float("inf")))
    cache.stop()
    assert not cache._sweeper.is_alive() and not errors
