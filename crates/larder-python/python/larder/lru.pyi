"""Types of the drop-in for `functools.lru_cache`."""

from typing import Callable, Optional, TypeVar, overload

from .decorators import CachedFunction

_R = TypeVar("_R")

@overload
def lru_cache(maxsize: Callable[..., _R], typed: bool = False) -> CachedFunction[_R]: ...
@overload
def lru_cache(
    maxsize: Optional[int] = 128, typed: bool = False
) -> Callable[[Callable[..., _R]], CachedFunction[_R]]: ...
