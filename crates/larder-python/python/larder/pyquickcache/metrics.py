"""What a `QuickCache` counts."""

from ..locks import INNER, Guard

COUNTERS = (
    "hits", "misses", "sets", "gets", "failed_ops", "evictions", "expired_removals", "manual_deletions",
)
GAUGES = ("current_valid_keys", "peak_valid_keys", "current_total_keys", "peak_total_keys")


class CacheMetrics:
    """Counters and peaks. The lock is held for an addition alone."""

    is_enabled = True

    def __init__(self):
        self._guard = Guard(INNER)
        self.reset()

    def reset(self, total=0):
        """Sets the counters to 0 and the peaks to what there is."""
        with self._guard.lock:
            self._counts = dict.fromkeys(COUNTERS, 0)
            # Lookups by key: `gets` counts a call for many keys once, which ratios must not.
            self._looked_up = 0
            self._peak_total = self._peak_valid = total

    def add(self, counter, count=1):
        """Adds to a counter."""
        with self._guard.lock:
            self._counts[counter] += count

    def add_lookup(self, is_hit, is_call):
        """Counts the lookup of a key: a hit or a miss; and a get, if it is a call of its own."""
        with self._guard.lock:
            self._counts["hits" if is_hit else "misses"] += 1
            self._counts["gets"] += is_call
            self._looked_up += 1

    def add_hits(self, count):
        """Counts calls that have found their key."""
        with self._guard.lock:
            self._counts["hits"] += count
            self._counts["gets"] += count
            self._looked_up += count

    def add_set(self, total):
        """Counts an insertion, after which there are `total` entries."""
        with self._guard.lock:
            self._counts["sets"] += 1
            self._peak_total = max(self._peak_total, total)
            self._peak_valid = max(self._peak_valid, total)

    def snapshot(self, total, valid):
        """The 18 numbers, as a dict."""
        with self._guard.lock:
            counts = dict(self._counts)
            looked_up, peaks = self._looked_up, (self._peak_valid, self._peak_total)
        gauges = dict(zip(GAUGES, (valid, peaks[0], total, peaks[1])))
        # A miss of `delete` is a miss, but no lookup.
        missed = looked_up - counts["hits"]
        return {
            **counts,
            **gauges,
            "hit_ratio": _ratio(counts["hits"], looked_up),
            "miss_ratio": _ratio(missed, looked_up),
            "get_set_ratio": _ratio(counts["gets"], counts["sets"]),
            "eviction_rate": _ratio(counts["evictions"], counts["sets"]),
            "expired_bloat": total - valid,
            "waste_percentage": _ratio(total - valid, total) * 100,
        }


class NoOpMetrics(CacheMetrics):
    """Counts nothing."""

    is_enabled = False

    def add(self, counter, count=1):
        pass

    def add_lookup(self, is_hit, is_call):
        pass

    def add_hits(self, count):
        pass

    def add_set(self, total):
        pass


def _ratio(part, whole):
    return part / whole if whole else 0.0
