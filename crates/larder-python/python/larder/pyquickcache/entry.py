"""An entry as files hold it."""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass
class CacheEntry:
    """A value, until when it is valid, and the time to live that it was given."""

    value: Any
    expiration_time: datetime
    ttl: float

    def to_dict(self):
        """The entry as JSON can hold it."""
        return {"value": self.value, "expiration_time": self.expiration_time.isoformat(), "ttl": self.ttl}

    @classmethod
    def from_dict(cls, data):
        """The entry that `to_dict` was called on. A time without a zone is in UTC."""
        return cls(data["value"], datetime.fromisoformat(data["expiration_time"]), data["ttl"])

    def seconds_left(self, now):
        """The seconds for which it is still valid; negative if it has expired."""
        moment = self.expiration_time
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return (moment - now).total_seconds()

    def is_expired(self):
        """Whether its time is over."""
        return self.seconds_left(datetime.now(timezone.utc)) < 0


# Where files that PyQuickCache has pickled say that the class is.
CacheEntry.__module__ = "pyquickcache.quick_cache"
