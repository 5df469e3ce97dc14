"""Types of the files."""

import os
import struct
from typing import Any, Final, Union

NAME: Final[bytes]
VERSION: Final[bytes]
MAGIC: Final[bytes]
HEAD: Final[struct.Struct]
MAX_DEPTH: Final[int]
MAX_EQUAL_HASHES: Final[int]

class SnapshotError(Exception): ...

def write_atomically(path: Union[str, os.PathLike[str]], data: bytes) -> None: ...
def encode(value: Any) -> bytes: ...
def decode(data: bytes) -> Any: ...
def check_hashes(keys: list[Any]) -> None: ...
