"""A cache for Python: bounded, concurrent, with lifetimes, tags and one load for all who wait.

`Cache` is the cache; `cached` and `lru_cache` make functions remember their results; `larder.django` has
backends for Django; `larder.pyquickcache` and `larder.cachetools` have the interfaces of PyQuickCache and
cachetools.
"""

from ._native import ManualClock, policies
from .cache import Cache
from .decorators import CacheInfo, cached
from .files import SnapshotError
from .flights import LoadCycleError
from .lru import lru_cache

__all__ = [
    "Cache", "CacheInfo", "LoadCycleError", "ManualClock", "SnapshotError", "cached", "lru_cache", "policies",
]
__version__ = "0.1.0"
