"""Types of the drop-in for `functools.lru_cache`."""

from typing import Callable, Optional, TypeVar, overload

from .decorators import CachedFunction

R = TypeVar("R")

@overload
def lru_cache(maxsize: Callable[..., R], typed: bool = False) -> CachedFunction[R]: ...
@overload
def lru_cache(
    maxsize: Optional[int] = 128, typed: bool = False
) -> Callable[[Callable[..., R]], CachedFunction[R]]: ...
