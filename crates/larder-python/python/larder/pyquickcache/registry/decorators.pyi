"""Types of the decorators that register classes."""

from typing import Callable, TypeVar

from ..eviction_policy import BaseEvictionPolicy
from ..serializer import BaseSerializer

P = TypeVar("P", bound=type[BaseEvictionPolicy])
S = TypeVar("S", bound=type[BaseSerializer])

def register_eviction_policy(name: str) -> Callable[[P], P]: ...
def register_serializer(name: str) -> Callable[[S], S]: ...
