"""One load for all who ask for the same key at the same time.

A flight is one run of a loader. The caller that opens it leads: it runs the loader and ends the flight with an
outcome. The others wait for the outcome. A leader that is interrupted (`KeyboardInterrupt`, the cancellation of
a task) abandons its flight, and those who wait ask anew. No lock is held while a loader runs.
"""

import asyncio
import contextvars
import os
import threading

ABANDONED = object()

# The flights that the current task leads, so that a loader that asks for its own key does not wait for itself.
_leading = contextvars.ContextVar("larder_leading", default=())


# The flight that each waiting thread waits for, of all caches: loaders of several may need each other.
_waiting = {}


class Flight:
    """One run of a loader."""

    __slots__ = ("done", "error", "is_stale", "leader", "pid", "value", "watchers")

    def __init__(self):
        self.done = threading.Event()
        self.error = None
        self.is_stale = False
        self.leader = threading.get_ident()
        self.pid = os.getpid()
        self.value = ABANDONED
        # Futures of coroutines that wait, which may be of several loops.
        self.watchers = []

    def end(self, value=ABANDONED, error=None):
        self.value, self.error = value, error
        self.done.set()
        # A watcher that is added from now on finds the flight done.
        while self.watchers:
            loop, future = self.watchers.pop()
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:
                pass  # The loop is closed, and no coroutine of it waits any more.

    def outcome(self):
        """The value that the leader loaded, or `ABANDONED`; raises what the loader raised."""
        if self.error is not None:
            raise self.error
        return self.value


def _forget_waiting():
    # The threads that wait are not in a forked child.
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_waiting)


def _wake(future):
    if not future.done():
        future.set_result(None)


class Flights:
    """The open flights of a cache, by key."""

    def __init__(self):
        self._open = {}

    def open(self, key):
        """The flight of `key`, and whether the caller leads it."""
        new = Flight()
        while True:
            flight = self._open.setdefault(key, new)
            if flight is new:
                return new, True
            if flight.pid == new.pid and not flight.done.is_set():
                return flight, False
            # Its leader did not come through a fork, or could not take it out.
            self.close(key, flight)

    def close(self, key, flight):
        """Takes a flight out, so that the next call opens another one."""
        if self._open.get(key) is flight:
            self._open.pop(key, None)

    def note_change(self, key):
        """Notes that what a loader may have read of `key` is out of date."""
        flight = self._open.get(key)
        if flight is not None:
            flight.is_stale = True

    def note_all_changed(self):
        for flight in list(self._open.values()):
            flight.is_stale = True

    def run(self, key, find, load, store):
        """The value that `load` returns, here or in the call that leads; the leader passes it to `store`.

        `find` returns the value that is there, or `ABANDONED`: another leader may have stored one after the
        caller looked. `store` is not called if the key was changed meanwhile.
        """
        while True:
            flight, leads = self.open(key)
            if leads:
                return self.lead(key, flight, find, load, store)
            if not self._wait(flight):
                # The leader waits for this thread: the loaders need each other.
                return load()
            value = flight.outcome()
            if value is not ABANDONED:
                return value

    def lead(self, key, flight, find, load, store):
        value, error = ABANDONED, None
        try:
            value = find()
            if value is ABANDONED:
                value = load()
                if not flight.is_stale:
                    store(value)
            return value
        except Exception as raised:
            error = raised
            raise
        finally:
            self.close_and_end(key, flight, value, error)

    def close_and_end(self, key, flight, value, error):
        try:
            self.close(key, flight)
        finally:
            flight.end(value, error)

    def _wait(self, flight):
        me = threading.get_ident()
        # Registered before the others are looked at: of two threads that begin to wait for each other, at
        # least one sees the other.
        _waiting[me] = flight
        try:
            seen, awaited = set(), flight
            while awaited is not None and not awaited.done.is_set():
                if awaited.leader == me:
                    return False
                if awaited.leader in seen:
                    break
                seen.add(awaited.leader)
                awaited = _waiting.get(awaited.leader)
            flight.done.wait()
            return True
        finally:
            _waiting.pop(me, None)

    async def run_async(self, key, find, load, store):
        """As `run`, for a loader that returns an awaitable."""
        while True:
            flight, leads = self.open(key)
            if leads:
                flight.leader = None
                return await self.lead_async(key, flight, find, load, store)
            if flight in _leading.get():
                return await load()
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            flight.watchers.append((loop, future))
            if not flight.done.is_set():
                await future
            value = flight.outcome()
            if value is not ABANDONED:
                return value

    async def lead_async(self, key, flight, find, load, store):
        value, error = ABANDONED, None
        token = _leading.set((*_leading.get(), flight))
        try:
            value = find()
            if value is ABANDONED:
                value = await load()
                if not flight.is_stale:
                    store(value)
            return value
        except Exception as raised:
            error = raised
            raise
        finally:
            _leading.reset(token)
            self.close_and_end(key, flight, value, error)
