"""Policies and serializers by name."""

from .registry import create_eviction_policy, create_serializer

__all__ = ["create_eviction_policy", "create_serializer"]
