"""Keys of calls, as cachetools makes them."""


class _Key(tuple):
    __slots__ = ()

    def __add__(self, other):
        return _Key(tuple.__add__(self, other))

    def __radd__(self, other):
        return _Key(tuple.__add__(tuple(other), self))


class _Mark:
    """What separates the arguments of a key from the keywords. There is one, also after it was pickled."""

    def __repr__(self):
        return "<keywords>"

    def __reduce__(self):
        return "KEYWORDS"


KEYWORDS = _Mark()


def hashkey(*args, **kwargs):
    """The key of a call: calls with equal arguments share it."""
    return _Key((*args, KEYWORDS, *_flat(kwargs))) if kwargs else _Key(args)


def methodkey(self, /, *args, **kwargs):
    """As `hashkey`, without the first argument."""
    return hashkey(*args, **kwargs)


def typedkey(*args, **kwargs):
    """As `hashkey`; arguments of different types are different."""
    types = (*map(type, args), *(type(value) for _, value in sorted(kwargs.items())))
    return hashkey(*args, **kwargs) + types


def typedmethodkey(self, /, *args, **kwargs):
    """As `typedkey`, without the first argument."""
    return typedkey(*args, **kwargs)


def _flat(kwargs):
    return (part for pair in sorted(kwargs.items()) for part in pair)
