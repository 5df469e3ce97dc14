"""Types of the cache."""

import os
from datetime import timedelta
from typing import Any, Awaitable, Callable, Iterable, Mapping, Optional, TypeVar, Union

from ._native import Core

K = TypeVar("K")
V = TypeVar("V")
_Seconds = Union[int, float, timedelta]

class Cache(Core[K, V]):
    def get_or_load(
        self,
        key: K,
        load: Callable[[], V],
        /,
        ttl: Optional[_Seconds] = None,
        tags: Optional[Iterable[str]] = None,
    ) -> V: ...
    async def get_or_load_async(
        self,
        key: K,
        load: Callable[[], Awaitable[V]],
        /,
        ttl: Optional[_Seconds] = None,
        tags: Optional[Iterable[str]] = None,
    ) -> V: ...
    def setdefault(self, key: K, default: V = ..., /) -> V: ...
    def update(self, pairs: Union[Mapping[K, V], Iterable[tuple[K, V]]] = (), /, **more: V) -> None: ...
    def delete_many(self, keys: Iterable[K], /) -> int: ...
    def save(self, path: Union[str, os.PathLike[str]], format: str = "binary") -> int: ...
    def load(self, path: Union[str, os.PathLike[str]], format: str = "binary") -> int: ...
