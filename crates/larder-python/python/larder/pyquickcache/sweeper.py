"""The thread that removes expired entries of a cache, until the cache is stopped or dropped."""

import atexit
import logging
import os
import threading
import weakref

logger = logging.getLogger("larder.pyquickcache")

# An interval of 0 or less means as often as is reasonable, not without a pause.
SHORTEST = 0.02

_running = weakref.WeakSet()


class _End:
    """Whether the thread is to end, for which it waits.

    Setting it is one step of the interpreter, unlike that of an `Event`, which takes a lock: the garbage collector may
    drop the cache within the thread that waits, and the thread would then wait for itself.
    """

    __slots__ = ("_gate", "is_set")

    def __init__(self):
        self.is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self):
        self.is_set = True
        try:
            self._gate.release()
        except RuntimeError:
            pass  # It was set before.

    def wait(self, seconds):
        """Waits for so long at most, and returns whether it is set."""
        return self.is_set or self._gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)) or self.is_set


class Sweeper:
    """Calls `cache.cleanup()` once each interval, and does not keep the cache alive."""

    def __init__(self, cache, interval):
        self._interval = max(interval, SHORTEST)
        self._ended = _End()
        # When the cache is dropped, the thread ends at once.
        ended = self._ended
        self._cache = weakref.ref(cache, lambda _: ended.set())
        self.start()
        _running.add(self)

    def start(self):
        arguments = (self._cache, self._ended, self._interval)
        self._thread = threading.Thread(target=_sweep, args=arguments, name="larder-sweeper", daemon=True)
        self._thread.start()

    def stop(self):
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(2)

    def is_alive(self):
        return self._thread.is_alive()

    def restart_in_child(self):
        if not self._ended.is_set:
            # The old thread is not here.
            self._ended = _End()
            cache = self._cache()
            if cache is not None:
                ended = self._ended
                self._cache = weakref.ref(cache, lambda _: ended.set())
                self.start()


def _sweep(reference, ended, interval):
    while not ended.wait(interval):
        cache = reference()
        if cache is None:
            return
        try:
            cache.cleanup()
        except Exception:
            # A policy in Python may raise; the next sweep is due nevertheless.
            logger.exception("The cleanup in the background has failed.")
        del cache


def _stop_all():
    for sweeper in list(_running):
        sweeper.stop()


def _after_fork():
    for sweeper in list(_running):
        sweeper.restart_in_child()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
