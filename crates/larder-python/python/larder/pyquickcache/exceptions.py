"""What a `QuickCache` raises. Each class has a `code`, and each error its `message`."""


class CacheError(Exception):
    """The base of all errors of a `QuickCache`."""

    code = "CACHE_ERROR"

    def __init__(self, message=None):
        self.message = message or type(self).__name__
        super().__init__(self.message)

    def __reduce__(self):
        # The arguments of a subclass are not its message, from which it would be built again.
        return _rebuild, (type(self), self.message, self.__dict__)


def _rebuild(kind, message, fields):
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(fields)
    return error


class KeyNotFound(CacheError):
    """The cache has no entry of the key."""

    code = "KEY_NOT_FOUND"

    def __init__(self, key):
        self.key = key
        super().__init__(f"Key '{key}' not found")


class KeyExpired(CacheError):
    """The entry of the key has expired; the call has removed it."""

    code = "KEY_EXPIRED"

    def __init__(self, key):
        self.key = key
        super().__init__(f"Key '{key}' has expired")


class KeyAlreadyExists(CacheError):
    """The key has a valid entry."""

    code = "KEY_ALREADY_EXISTS"

    def __init__(self, key):
        self.key = key
        super().__init__(f"Key '{key}' already exists")


class InvalidTTL(CacheError):
    """A time to live is no number of seconds above 0."""

    code = "INVALID_TTL"

    def __init__(self, ttl):
        self.ttl = ttl
        super().__init__(f"Invalid TTL value: {ttl}")


class _DiskError(CacheError):
    def __init__(self, action, filepath, original_exception):
        self.filepath = filepath
        self.original_exception = original_exception
        message = f"Failed to {action} disk: {filepath}"
        super().__init__(message if original_exception is None else f"{message} | {original_exception}")


class CacheSaveError(_DiskError):
    """The cache cannot be saved; the old file is as it was."""

    code = "CACHE_SAVE_ERROR"

    def __init__(self, filepath, original_exception=None):
        super().__init__("save cache to", filepath, original_exception)


class CacheLoadError(_DiskError):
    """A file cannot be loaded; the cache is as it was."""

    code = "CACHE_LOAD_ERROR"

    def __init__(self, filepath, original_exception=None):
        super().__init__("load cache from", filepath, original_exception)


class CacheMetricsSaveError(CacheError):
    """The metrics cannot be saved."""

    code = "CACHE_METRICS_SAVE_ERROR"

    def __init__(self, filepath, cause=None):
        self.filepath = filepath
        super().__init__(f"Failed to save cache metrics to disk: {filepath}")
        self.__cause__ = cause
