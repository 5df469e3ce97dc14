"""The interface of caches."""

from abc import ABC, abstractmethod


class BaseCache(ABC):
    """What every cache of this interface can do."""

    @abstractmethod
    def get(self, key):
        """The value of `key`."""

    @abstractmethod
    def set(self, key, value, ttl_sec=None):
        """Stores `value` under `key`."""

    @abstractmethod
    def delete(self, key):
        """Removes `key`."""

    @abstractmethod
    def size(self):
        """The number of entries."""

    @abstractmethod
    def clear(self):
        """Removes all entries."""

    @abstractmethod
    def cleanup(self):
        """Removes the entries that have expired."""
