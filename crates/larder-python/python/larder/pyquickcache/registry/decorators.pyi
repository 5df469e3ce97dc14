"""Types of the decorators that register classes."""

from typing import Callable, TypeVar

from ..eviction_policy import BaseEvictionPolicy
from ..serializer import BaseSerializer

_P = TypeVar("_P", bound=type[BaseEvictionPolicy])
_S = TypeVar("_S", bound=type[BaseSerializer])

def register_eviction_policy(name: str) -> Callable[[_P], _P]: ...
def register_serializer(name: str) -> Callable[[_S], _S]: ...
