"""Decorators that register classes by name."""

from . import registry


def register_eviction_policy(name):
    """Registers a subclass of `BaseEvictionPolicy` as `name`."""

    def decorate(cls):
        from ..eviction_policy import BaseEvictionPolicy

        if not (isinstance(cls, type) and issubclass(cls, BaseEvictionPolicy)):
            given = getattr(cls, "__name__", cls)
            raise TypeError(f"Eviction policy must inherit from BaseEvictionPolicy, got {given}")
        registry.add("Eviction policy", registry._POLICIES, name, cls)
        return cls

    return decorate


def register_serializer(name):
    """Registers a subclass of `BaseSerializer` as `name`."""

    def decorate(cls):
        from ..serializer import BaseSerializer

        if not (isinstance(cls, type) and issubclass(cls, BaseSerializer)):
            given = getattr(cls, "__name__", cls)
            raise TypeError(f"Serializer must inherit from BaseSerializer, got {given}")
        registry.add("Serializer", registry._SERIALIZERS, name, cls)
        return cls

    return decorate
