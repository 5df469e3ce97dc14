"""One load for all who ask for the same key at the same time.

A flight is one run of a loader. The caller that opens it leads: it runs the loader and ends the flight with an
outcome. The others wait for the outcome. A leader that is interrupted (`KeyboardInterrupt`, the cancellation of
a task) abandons its flight, and those who wait ask anew. No lock is held while a loader runs.

A loader that asks for the key of its own flight does not wait for itself; it runs another load. So does a handler of a
signal, or a finalizer, that interrupts the thread which leads a flight, and asks for its key. If a loader waits for a
flight whose loader waits for its own, directly or through others, none of them would ever end; then the one that
would close the circle raises `LoadCycleError`.

# Errors
A flight refers to what its loader raised, and that to the frames it came through. These must not refer to the flight
any more, or all that the loader had in its variables would stay until the garbage collector comes by.

# Interrupts
A handler of a signal may raise between any two steps, such as before the first one of a function that is called to land
a flight. So it is landed twice, by whoever leads it: the second call does what is left.
"""

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
import types

ABANDONED = object()

# The flights within whose loaders the current thread or task is. Tasks that a loader starts are within it too.
_leading = contextvars.ContextVar("larder_leading", default=())


class LoadCycleError(RuntimeError):
    """Loaders wait for each other's values, so that none of them could end."""


def check_is_lasting(value):
    """Refuses a result that its first user would use up, such as a coroutine that a loader did not await."""
    if isinstance(value, (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)):
        hint = ""
        if isinstance(value, types.CoroutineType):
            value.close()  # Nobody is to await it, and it would warn of that.
            hint = "; await it in a coroutine function"
        raise TypeError(f"the result is a {type(value).__name__}: it can be run once, so it cannot be cached{hint}")


class Flight:
    """One run of a loader."""

    __slots__ = ("awaited", "error", "fill", "is_done", "pid", "thread", "token", "value", "watchers")

    def __init__(self):
        # The flights for which its loader waits; several, if it has started tasks.
        self.awaited = []
        self.error = None
        # What notices changes of the key since the loader began.
        self.fill = None
        self.is_done = False
        self.pid = os.getpid()
        # The thread that leads it. (Of coroutines, many are in one thread, so it says nothing there.)
        self.thread = threading.get_ident()
        # What its leader has to reset when it ends.
        self.token = None
        self.value = ABANDONED
        # Functions that wake the threads and coroutines that wait.
        self.watchers = []

    def is_open_to(self, pid):
        """Whether a call of that process may wait for it. A call after a change of the key may not."""
        return self.pid == pid and not self.is_done and not (self.fill is not None and self.fill.is_stale)

    def is_led_here(self):
        """Whether the current thread leads it, so that it must not wait for it."""
        return self.thread == threading.get_ident() or self in _leading.get()

    def end(self):
        """Ends it. A call after one that was interrupted does the rest."""
        self.is_done = True
        # Who begins to wait from now on finds it done.
        for wake in list(self.watchers):
            wake()

    def wait(self):
        """Waits for its end."""
        gate = threading.Lock()
        gate.acquire()
        with self._watched_by(functools.partial(_open, gate)):
            if not self.is_done:
                gate.acquire()

    async def wait_async(self):
        """As `wait`."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._watched_by(functools.partial(_wake, loop, future)):
            if not self.is_done:
                await future

    @contextlib.contextmanager
    def _watched_by(self, wake):
        self.watchers.append(wake)
        try:
            yield
        finally:
            self.watchers.remove(wake)

    def outcome(self):
        """The value that the leader loaded, or `ABANDONED`; raises what the loader raised."""
        error = self.error
        if error is None:
            return self.value
        try:
            raise error
        finally:
            # See "Errors".
            del self, error


# More than it takes to end a flight and to wake those who wait, in a thread or in a loop.
_FRAMES_TO_END = 10


def _make_room(frames):
    """Raises a RecursionError where no flight could be ended that is opened here, for which others would wait."""
    if frames:
        _make_room(frames - 1)


def _open(gate):
    try:
        gate.release()
    except RuntimeError:
        pass  # It is open.


def _wake(loop, future):
    try:
        loop.call_soon_threadsafe(_set_done, future)
    except RuntimeError:
        pass  # The loop is closed, and no coroutine of it waits any more.


def _set_done(future):
    if not future.done():
        future.set_result(None)


@contextlib.contextmanager
def _waiting_for(flight):
    """Notes that the loaders which the caller is within wait for a flight. Raises LoadCycleError."""
    leading = _leading.get()
    try:
        # Noted before the others are looked at: of two that begin to wait for each other, at least one
        # sees the other.
        for own in leading:
            own.awaited.append(flight)
        if leading and _waits_for_any(flight, leading):
            raise LoadCycleError("loaders wait for each other's values; none of them could ever end")
        yield
    finally:
        for own in leading:
            if flight in own.awaited:
                own.awaited.remove(flight)


def _waits_for_any(flight, goals):
    seen, left = set(), [flight]
    while left:
        flight = left.pop()
        if flight in goals:
            return True
        if flight not in seen and not flight.is_done:
            seen.add(flight)
            left.extend(list(flight.awaited))
    return False


class Flights:
    """The open flights of a cache, by key.

    The methods are given the steps of a load: `begin(key)` returns what notices changes of the key; `find(key)`
    returns the value that is there, or `ABANDONED`, since another leader may have stored one after the caller
    looked; `load()` returns the new value; `store` is given what `begin` has returned, and the value.
    """

    def __init__(self):
        self._open = {}

    def try_open(self, key):
        """A new flight that the caller is to lead; None if there is one."""
        new = Flight()
        return new if self._join(key, new) is new else None

    def _join(self, key, new):
        while True:
            flight = self._open.setdefault(key, new)
            if flight is new or flight.is_open_to(new.pid):
                return flight
            # Its leader did not come through a fork, or could not take it out; or its value is out of date.
            self._close(key, flight)

    def _close(self, key, flight):
        if self._open.get(key) is flight:
            self._open.pop(key, None)

    def _close_and_end(self, key, flight):
        try:
            self._close(key, flight)
        finally:
            flight.end()

    def run(self, key, begin, find, load, store):
        """The value that is loaded, here or in the call that leads."""
        new = Flight()
        try:
            value = self.enter(key, new, begin, find)
            if value is ABANDONED:
                value = load()
                self.keep(new, value, store)
            return value
        except Exception as error:
            new.error = error
            raise
        finally:
            try:
                self.land(key, new)
            finally:
                self.land(key, new)
                new = None

    def enter(self, key, new, begin, find):
        """Leads the flight `new`, or waits for the one that is open. Returns the value if there is one by then.

        After `ABANDONED` the caller is to load the value, and to `keep` it. It lands the flight in any case.
        """
        _make_room(_FRAMES_TO_END)
        try:
            while True:
                flight = self._join(key, new)
                if flight is new:
                    return self._begin(key, new, begin, find)
                if flight.is_led_here():
                    return ABANDONED
                with _waiting_for(flight):
                    flight.wait()
                value = flight.outcome()
                if value is not ABANDONED:
                    return value
        finally:
            flight = new = None

    @staticmethod
    def _begin(key, flight, begin, find):
        flight.token = _leading.set((*_leading.get(), flight))
        flight.fill = begin(key)
        flight.value = find(key)
        return flight.value

    @staticmethod
    def keep(flight, value, store):
        """Stores what the leader of a flight has loaded; not what was loaded beside an open flight."""
        try:
            check_is_lasting(value)
            if flight.fill is not None:
                store(flight.fill, value)
                flight.value = value
        finally:
            flight = None

    def land(self, key, flight):
        """Ends a flight, so that the next call opens another one. It may have ended before."""
        token, flight.token = flight.token, None
        try:
            # A coroutine that is thrown away is ended in the context of whoever does so.
            if token is not None:
                with contextlib.suppress(ValueError):
                    _leading.reset(token)
        finally:
            if not flight.is_done or flight.watchers:
                self._close_and_end(key, flight)

    def lead(self, key, flight, begin, find, load, store):
        """Leads a flight that was opened, maybe by another thread."""
        flight.thread = threading.get_ident()
        try:
            if self._begin(key, flight, begin, find) is ABANDONED:
                self.keep(flight, load(), store)
        except Exception as error:
            flight.error = error
            raise
        finally:
            try:
                self.land(key, flight)
            finally:
                self.land(key, flight)
                flight = None

    async def run_async(self, key, begin, find, load, store):
        """As `run`, for a loader that returns an awaitable."""
        new = Flight()
        try:
            value = await self._enter_async(key, new, begin, find)
            if value is ABANDONED:
                value = await load()
                self.keep(new, value, store)
            return value
        except Exception as error:
            new.error = error
            raise
        finally:
            try:
                self.land(key, new)
            finally:
                self.land(key, new)
                new = None

    async def _enter_async(self, key, new, begin, find):
        _make_room(_FRAMES_TO_END)
        try:
            while True:
                flight = self._join(key, new)
                if flight is new:
                    return self._begin(key, new, begin, find)
                if flight in _leading.get():
                    return ABANDONED
                with _waiting_for(flight):
                    await flight.wait_async()
                value = flight.outcome()
                if value is not ABANDONED:
                    return value
        finally:
            flight = new = None

    async def lead_async(self, key, flight, begin, find, load, store):
        """As `lead`."""
        try:
            if self._begin(key, flight, begin, find) is ABANDONED:
                self.keep(flight, await load(), store)
        except Exception as error:
            flight.error = error
            raise
        finally:
            try:
                self.land(key, flight)
            finally:
                self.land(key, flight)
                flight = None
