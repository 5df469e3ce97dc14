"""Cache backends for Django: `LarderCache` within the process, and `LarderNearCache` in front of a server.

```python
CACHES = {
    "default": {
        "BACKEND": "larder.django.LarderCache",
        "LOCATION": "pages",
        "OPTIONS": {"MAX_ENTRIES": 10_000, "POLICY": "s3_fifo"},
    },
    "shared": {
        "BACKEND": "larder.django.LarderNearCache",
        "LOCATION": "redis://127.0.0.1:6379",
        "OPTIONS": {"MAX_STALE": 2},
    },
}
```
"""

from .backend import LarderCache
from .near import LarderNearCache

__all__ = ["LarderCache", "LarderNearCache"]
