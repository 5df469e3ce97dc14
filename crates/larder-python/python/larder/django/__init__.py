"""A cache backend for Django, within the process.

```python
CACHES = {
    "default": {
        "BACKEND": "larder.django.LarderCache",
        "LOCATION": "pages",
        "OPTIONS": {"MAX_ENTRIES": 10_000, "POLICY": "s3_fifo"},
    }
}
```
"""

from .backend import LarderCache

__all__ = ["LarderCache"]
