"""Types of the decorators of cachetools."""

from contextlib import AbstractContextManager
from typing import Any, Callable, Generic, Hashable, Literal, MutableMapping, NamedTuple, Optional, TypeVar, overload

_R = TypeVar("_R")

class CacheInfo(NamedTuple):
    hits: int
    misses: int
    maxsize: Optional[float]
    currsize: float

class _Wrapper(Generic[_R]):
    cache: MutableMapping[Any, Any]
    cache_key: Callable[..., Hashable]
    cache_lock: Optional[AbstractContextManager[Any]]
    cache_condition: Any
    __wrapped__: Callable[..., _R]
    def __init__(
        self,
        function: Callable[..., _R],
        cache: MutableMapping[Any, Any],
        key: Callable[..., Hashable],
        lock: Optional[AbstractContextManager[Any]],
        condition: Any,
        calls: Any,
    ) -> None: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> _R: ...
    def __copy__(self) -> _Wrapper[_R]: ...
    def __deepcopy__(self, memo: Any) -> _Wrapper[_R]: ...
    def __get__(self, instance: object, owner: Any = None) -> Any: ...
    def cache_clear(self) -> None: ...

class _InfoWrapper(_Wrapper[_R]):
    def cache_info(self) -> CacheInfo: ...

class _Method(Generic[_R]):
    __wrapped__: Callable[..., _R]
    def __init__(
        self,
        function: Callable[..., _R],
        cache: Callable[[Any], MutableMapping[Any, Any]],
        key: Callable[..., Hashable],
        lock: Optional[Callable[[Any], AbstractContextManager[Any]]],
        condition: Optional[Callable[[Any], Any]],
        info: bool,
    ) -> None: ...
    @overload
    def __get__(self, instance: None, owner: Any = None) -> _Method[_R]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> _InfoWrapper[_R]: ...
    def __set_name__(self, owner: type, name: str) -> None: ...
    def __copy__(self) -> _Method[_R]: ...
    def __deepcopy__(self, memo: Any) -> _Method[_R]: ...
    def __call__(self, instance: Any, /, *args: Any, **kwargs: Any) -> _R: ...

@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Hashable] = ...,
    lock: Optional[AbstractContextManager[Any]] = None,
    condition: Any = None,
    *,
    info: Literal[True],
) -> Callable[[Callable[..., _R]], _InfoWrapper[_R]]: ...
@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Hashable] = ...,
    lock: Optional[AbstractContextManager[Any]] = None,
    condition: Any = None,
    info: bool = False,
) -> Callable[[Callable[..., _R]], _Wrapper[_R]]: ...
def cachedmethod(
    cache: Callable[[Any], MutableMapping[Any, Any]],
    key: Callable[..., Hashable] = ...,
    lock: Optional[Callable[[Any], AbstractContextManager[Any]]] = None,
    condition: Optional[Callable[[Any], Any]] = None,
    info: bool = False,
) -> Callable[[Callable[..., _R]], _Method[_R]]: ...
