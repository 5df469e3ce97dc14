"""Types of the files of a cache."""

import os
from typing import Literal, Optional, Union, overload

_Path = Union[str, os.PathLike[str]]

class FileManager:
    default_dir: str
    default_filename: str
    def __init__(self, default_dir: str, default_filename: str) -> None: ...
    def resolve_path(
        self,
        user_input: Optional[_Path],
        extension: str,
        use_timestamp: Optional[bool] = False,
        creates_folder: bool = True,
    ) -> str: ...
    def write(self, path: _Path, data: Union[str, bytes], append: bool = False) -> None: ...
    @overload
    def read(self, path: _Path, binary: Literal[True]) -> bytes: ...
    @overload
    def read(self, path: _Path, binary: bool = False) -> Union[str, bytes]: ...
