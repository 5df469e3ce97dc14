"""The configuration of a `QuickCache`."""

from dataclasses import dataclass
from typing import Optional


@dataclass
class QuickCacheConfig:
    """The settings of a `QuickCache`, in the order of PyQuickCache.

    A change of `default_ttl` and of the timestamps takes effect in caches that were built with the object.
    """

    max_size: int = 50
    default_ttl: float = 500
    cleanup_interval: Optional[float] = 50
    eviction_policy: str = "lru"
    serializer: str = "binary"
    storage_dir: str = "cache_storage"
    filename: str = "cache_data"
    cache_timestamps: bool = False
    enable_metrics: bool = True
    metrics_serializer: str = "json"
    metrics_storage_dir: str = "cache_metrics"
    metrics_filename: str = "metrics"
    cache_metrics_timestamps: bool = False
