"""Serializers: how caches and metrics become files.

A binary serializer is given an ordered mapping from keys to `CacheEntry`; another one is given a dict from keys
to dicts with "value", "expiration_time" and "ttl".
"""

import json
import pickle
import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict

from ..files import decode, encode
from .entry import CacheEntry
from .registry.decorators import register_serializer


class BaseSerializer(ABC):
    """Makes text or bytes of what a cache holds, and reads them back."""

    @property
    @abstractmethod
    def extension(self):
        """The extension of the files, without a dot."""

    @property
    @abstractmethod
    def is_binary(self):
        """Whether `serialize` returns bytes."""

    @abstractmethod
    def serialize(self, data):
        """The text or bytes of `data`."""

    @abstractmethod
    def deserialize(self, data):
        """What `serialize` was given."""


@register_serializer("binary")
class BinarySerializer(BaseSerializer):
    """Plain values with their types, in a format that runs no code when it is read. The default."""

    extension = "larder"
    is_binary = True

    def serialize(self, data):
        return encode({key: (it.value, it.expiration_time, it.ttl) for key, it in data.items()})

    def deserialize(self, data):
        entries = OrderedDict()
        for key, (value, expiration_time, ttl) in decode(data).items():
            entries[key] = CacheEntry(value, expiration_time, ttl)
        return entries


@register_serializer("json")
class JsonSerializer(BaseSerializer):
    """JSON, in which keys become strings and tuples lists."""

    extension = "json"
    is_binary = False

    def serialize(self, data):
        return json.dumps(data, indent=4)

    def deserialize(self, data):
        return json.loads(data)


@register_serializer("pickle")
class PickleSerializer(BaseSerializer):
    """Pickle, which can hold any object. Reading a file runs whatever code the file says."""

    extension = "pkl"
    is_binary = True

    def __init__(self):
        warnings.warn(
            "the serializer 'pickle' runs the code that is in the files it reads; load only files that nobody "
            "else can write, or use 'binary' or 'json'",
            UserWarning,
            stacklevel=2,
        )

    def serialize(self, data):
        return pickle.dumps(data)

    def deserialize(self, data):
        return pickle.loads(data)
