"""PyQuickCache's name for `larder.pyquickcache`."""

from larder.pyquickcache import (
    QuickCache,
    QuickCacheConfig,
    register_eviction_policy,
    register_serializer,
)

__all__ = ["QuickCache", "QuickCacheConfig", "register_eviction_policy", "register_serializer"]
