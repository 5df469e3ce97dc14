"""The interface of PyQuickCache, above larder.

`from larder.pyquickcache import QuickCache, QuickCacheConfig` is all that changes. What differs is listed in
the README: files are written by a serializer that runs no code when it reads, unless `serializer="pickle"` says
otherwise, and what crashed or lost data does so no more.
"""

from .decorators import register_eviction_policy, register_serializer
from .quick_cache import QuickCache
from .quick_cache_config import QuickCacheConfig

__all__ = ["QuickCache", "QuickCacheConfig", "register_eviction_policy", "register_serializer"]
