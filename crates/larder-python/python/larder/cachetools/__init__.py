"""Drop-ins for the classes of cachetools, above larder.

`from larder.cachetools import LRUCache, TTLCache` is all that changes. They are the same mutable mappings, with
`maxsize`, `currsize`, `getsizeof`, `timer`, `popitem` and `__missing__`, and work with the decorators of
cachetools as well as with `cached` and `cachedmethod` here. Threads may share them without a lock; an insertion
into a full cache and an expiry cost the same however large the cache is. What differs is listed in the page
"Coming from".
"""

from .caches import Cache, LFUCache, LRUCache, TTLCache
from .decorators import CacheInfo, cached, cachedmethod
from .keys import hashkey, methodkey, typedkey, typedmethodkey

__all__ = [
    "Cache", "CacheInfo", "LFUCache", "LRUCache", "TTLCache", "cached", "cachedmethod", "hashkey", "methodkey",
    "typedkey", "typedmethodkey",
]
