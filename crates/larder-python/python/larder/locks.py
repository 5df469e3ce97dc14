"""Locks that a forked child can use.

A fork copies a lock as it is, and of the threads only the calling one. What another thread holds at that moment, no
thread of the child would ever release. So the forking thread takes these locks before the fork, which also makes sure
that what they protect is whole in the child, and both sides release them after it. It waits for a second at most: a hook
of the user may be at work under such a lock. One that it did not get is replaced in the child by a new one.

All of them are re-entrant. Between any two steps of a thread, under a lock too, the interpreter may run a handler of a
signal, or finalizers of what the garbage collector has found; and those may use the same cache.
"""

import os
import threading
import time
import weakref

# Ranks: the locks under which Python code of users may run, and those that are held for a few steps. They are taken in
# this order.
OUTER, INNER = range(2)

# For how many seconds a fork waits, for all locks together.
_PATIENCE = 1.0

# Weak references to all guards.
_guards = {}

# What the thread has taken for its fork.
_forking = threading.local()


class Guard:
    """The place of a re-entrant lock, which is another one in a child if its holder did not come along."""

    __slots__ = ("__weakref__", "lock", "rank")

    def __init__(self, rank):
        self.rank = rank
        self.renew()
        _guards[weakref.ref(self, _forget)] = None

    def renew(self):
        self.lock = threading.RLock()


def _forget(reference, guards=_guards):
    guards.pop(reference, None)


def _living():
    # A copy is made in one step; other threads may make guards, and drop them, meanwhile.
    guards = [reference() for reference in _guards.copy()]
    return sorted((guard for guard in guards if guard is not None), key=lambda guard: guard.rank)


def _before():
    _forking.taken = taken = []
    deadline = time.monotonic() + _PATIENCE
    for guard in _living():
        lock = guard.lock
        if lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            taken.append(lock)


def _after_in_parent():
    # A server that forks by itself may have left out the step before.
    taken, _forking.taken = getattr(_forking, "taken", []), []
    while taken:
        taken.pop().release()


def _after_in_child():
    taken = getattr(_forking, "taken", [])
    for guard in _living():
        if not any(guard.lock is lock for lock in taken):
            guard.renew()
    _after_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
