"""The registered policies and serializers, by names that are compared without case."""

_POLICIES = {}
_SERIALIZERS = {}


def add(kind, registered, name, cls):
    """Registers a class under a name that is free."""
    if name.lower() in registered:
        raise ValueError(f"{kind} '{name}' already registered.")
    registered[name.lower()] = cls


def _create(kind, registered, name):
    cls = registered.get(name.lower()) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"Unknown {kind} '{name}'. Available: {list(registered)}")
    # What the constructor raises is not hidden behind another message.
    return cls()


def create_eviction_policy(name):
    """A new object of the policy that is registered as `name`."""
    return _create("eviction policy", _POLICIES, name)


def create_serializer(name):
    """A new object of the serializer that is registered as `name`."""
    return _create("serializer", _SERIALIZERS, name)
