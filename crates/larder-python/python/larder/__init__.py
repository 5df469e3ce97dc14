"""A cache for Python: bounded, concurrent, with lifetimes, tags and one load for all who wait.

`Cache` is the cache; `cached` and `lru_cache` make functions remember their results; `larder.django` is a
backend for Django; `larder.pyquickcache` has the interface of PyQuickCache.
"""

from ._native import ManualClock, policies
from .cache import Cache
from .decorators import CacheInfo, cached, lru_cache
from .files import SnapshotError
from .flights import LoadCycleError

__all__ = [
    "Cache", "CacheInfo", "LoadCycleError", "ManualClock", "SnapshotError", "cached", "lru_cache", "policies",
]
__version__ = "0.1.0"
