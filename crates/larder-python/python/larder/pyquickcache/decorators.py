"""The decorators that register policies and serializers."""

from .registry.decorators import register_eviction_policy, register_serializer

__all__ = ["register_eviction_policy", "register_serializer"]
