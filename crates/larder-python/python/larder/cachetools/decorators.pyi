"""Types of the decorators of cachetools."""

from contextlib import AbstractContextManager
from typing import Any, Callable, Generic, Hashable, Literal, MutableMapping, NamedTuple, Optional, TypeVar, overload

R = TypeVar("R")

class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: Optional[float]
    currsize: float

class _Wrapper(Generic[R]):
    cache: MutableMapping[Any, Any]
    cache_key: Callable[..., Hashable]
    cache_lock: Optional[AbstractContextManager[Any]]
    cache_condition: Any
    __wrapped__: Callable[..., R]
    def __call__(self, /, *args: Any, **kwargs: Any) -> R: ...
    def __get__(self, instance: object, owner: Any = None) -> Any: ...
    def cache_clear(self) -> None: ...

class _InfoWrapper(_Wrapper[R]):
    def cache_info(self) -> CacheInfo: ...

class _Method(Generic[R]):
    __wrapped__: Callable[..., R]
    @overload
    def __get__(self, instance: None, owner: Any = None) -> _Method[R]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> _InfoWrapper[R]: ...
    def __call__(self, instance: Any, /, *args: Any, **kwargs: Any) -> R: ...

@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Hashable] = ...,
    lock: Optional[AbstractContextManager[Any]] = None,
    condition: Any = None,
    *,
    info: Literal[True],
) -> Callable[[Callable[..., R]], _InfoWrapper[R]]: ...
@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Hashable] = ...,
    lock: Optional[AbstractContextManager[Any]] = None,
    condition: Any = None,
    info: bool = False,
) -> Callable[[Callable[..., R]], _Wrapper[R]]: ...
def cachedmethod(
    cache: Callable[[Any], MutableMapping[Any, Any]],
    key: Callable[..., Hashable] = ...,
    lock: Optional[Callable[[Any], AbstractContextManager[Any]]] = None,
    condition: Optional[Callable[[Any], Any]] = None,
    info: bool = False,
) -> Callable[[Callable[..., R]], _Method[R]]: ...
