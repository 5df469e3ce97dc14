"""Types of the errors."""

import os
from typing import Any, Optional, Union

_Path = Union[str, os.PathLike[str], None]

class CacheError(Exception):
    code: str
    message: str
    def __init__(self, message: Optional[str] = None) -> None: ...

class KeyNotFound(CacheError):
    key: Any
    def __init__(self, key: Any) -> None: ...

class KeyExpired(CacheError):
    key: Any
    def __init__(self, key: Any) -> None: ...

class KeyAlreadyExists(CacheError):
    key: Any
    def __init__(self, key: Any) -> None: ...

class InvalidTTL(CacheError):
    ttl: Any
    def __init__(self, ttl: Any) -> None: ...

class _DiskError(CacheError):
    filepath: _Path
    original_exception: Optional[BaseException]
    def __init__(self, action: str, filepath: _Path, original_exception: Optional[BaseException]) -> None: ...

class CacheSaveError(_DiskError):
    def __init__(self, filepath: _Path, original_exception: Optional[BaseException] = None) -> None: ...

class CacheLoadError(_DiskError):
    def __init__(self, filepath: _Path, original_exception: Optional[BaseException] = None) -> None: ...

class CacheMetricsSaveError(CacheError):
    filepath: _Path
    def __init__(self, filepath: _Path, cause: Optional[BaseException] = None) -> None: ...
