"""PyQuickCache's name for `larder.pyquickcache`, so that a program need not change its imports."""

import importlib
import sys

from larder.pyquickcache import (
    QuickCache,
    QuickCacheConfig,
    register_eviction_policy,
    register_serializer,
)

__all__ = ["QuickCache", "QuickCacheConfig", "register_eviction_policy", "register_serializer"]

# The modules are the same objects under both names, so a class is one class and there is one registry.
for _name in (
    "base_cache", "decorators", "entry", "eviction_policy", "exceptions", "metrics", "quick_cache",
    "quick_cache_config", "registry", "registry.decorators", "registry.registry", "serializer",
):
    _module = importlib.import_module(f"larder.pyquickcache.{_name}")
    sys.modules[f"{__name__}.{_name}"] = _module
    if "." not in _name:
        globals()[_name] = _module
