"""Types of the decorators."""

from datetime import timedelta
from typing import (
    Any,
    Callable,
    Generic,
    Hashable,
    Iterable,
    NamedTuple,
    Optional,
    Protocol,
    TypeVar,
    Union,
    overload,
    type_check_only,
)

from .cache import Cache

_R = TypeVar("_R")

class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: Optional[int]
    currsize: int

@type_check_only
class CachedFunction(Generic[_R]):
    cache: Cache[Any, Any]
    __wrapped__: Callable[..., _R]
    def __call__(self, /, *args: Any, **kwargs: Any) -> _R: ...
    @overload
    def __get__(self, instance: None, owner: Any = None) -> CachedFunction[_R]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> CachedFunction[_R]: ...
    def cache_key(self, /, *args: Any, **kwargs: Any) -> Hashable: ...
    def cache_info(self) -> CacheInfo: ...
    def cache_clear(self) -> None: ...
    def cache_parameters(self) -> dict[str, Any]: ...
    def invalidate(self, /, *args: Any, **kwargs: Any) -> bool: ...

@type_check_only
class Decorator(Protocol):
    @overload
    def __call__(self, function: classmethod[Any, Any, _R], /) -> CachedFunction[_R]: ...
    @overload
    def __call__(self, function: Callable[..., _R], /) -> CachedFunction[_R]: ...

@overload
def cached(maxsize: classmethod[Any, Any, _R]) -> CachedFunction[_R]: ...
@overload
def cached(maxsize: Callable[..., _R]) -> CachedFunction[_R]: ...
@overload
def cached(
    maxsize: Optional[int] = 128,
    *,
    ttl: Union[float, timedelta, None] = None,
    key: Optional[Callable[..., Hashable]] = None,
    typed: bool = False,
    tags: Union[Iterable[str], Callable[..., Iterable[str]], None] = None,
    cache: Optional[Cache[Any, Any]] = None,
    policy: Optional[str] = None,
    stale_while_revalidate: Union[float, timedelta] = 0,
    stale_if_error: Union[float, timedelta] = 0,
    timer: Callable[[], float] = ...,
) -> Decorator: ...
