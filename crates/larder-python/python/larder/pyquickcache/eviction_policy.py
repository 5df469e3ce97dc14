"""Eviction policies: the interface of policies in Python, and the three that come with the cache.

A `QuickCache` runs the three by their equivalents in the native core, and calls objects of these classes only if
they are subclassed, or used on their own. `cache` is an ordered mapping from keys to entries, in the order of
insertion unless the policy moves keys.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict

from .registry.decorators import register_eviction_policy


class BaseEvictionPolicy(ABC):
    """Decides which key is evicted. The hooks are called one at a time."""

    @abstractmethod
    def on_add(self, cache, key):
        """A key was added that was missing or had expired."""

    @abstractmethod
    def on_update(self, cache, key):
        """The value of a valid key was replaced."""

    @abstractmethod
    def on_access(self, cache, key):
        """The value of a key was read."""

    @abstractmethod
    def on_delete(self, cache, key):
        """A key was removed: deleted, expired, evicted, or with all others."""

    @abstractmethod
    def select_eviction_key(self, cache):
        """The key to evict. It must not be removed here."""


def _first(cache):
    for key in cache:
        return key
    raise RuntimeError("Eviction requested on empty cache")


@register_eviction_policy("lru")
class LRUEvictionPolicy(BaseEvictionPolicy):
    """Evicts the key that was not used for the longest time."""

    def on_add(self, cache, key):
        if key in cache:
            cache.move_to_end(key)

    on_update = on_access = on_add

    def on_delete(self, cache, key):
        pass

    def select_eviction_key(self, cache):
        return _first(cache)


@register_eviction_policy("fifo")
class FIFOEvictionPolicy(BaseEvictionPolicy):
    """Evicts the key that was added first."""

    def on_add(self, cache, key):
        pass

    on_update = on_access = on_delete = on_add

    def select_eviction_key(self, cache):
        return _first(cache)


@register_eviction_policy("lfu")
class LFUEvictionPolicy(BaseEvictionPolicy):
    """Evicts the key that was used least often; among those, the one whose last use is the oldest."""

    def __init__(self):
        self._counts = {}
        # The keys with each count, in the order in which they have reached it.
        self._levels = {}

    def on_add(self, cache, key):
        self.on_delete(cache, key)
        self._enter(key, 1)

    def on_update(self, cache, key):
        count = self._counts.get(key, 0)
        self.on_delete(cache, key)
        self._enter(key, count + 1)

    on_access = on_update

    def on_delete(self, cache, key):
        count = self._counts.pop(key, None)
        if count is not None:
            level = self._levels[count]
            del level[key]
            if not level:
                del self._levels[count]

    def select_eviction_key(self, cache):
        if not self._levels:
            return _first(cache)
        return _first(self._levels[min(self._levels)])

    def _enter(self, key, count):
        self._counts[key] = count
        self._levels.setdefault(count, OrderedDict())[key] = None
