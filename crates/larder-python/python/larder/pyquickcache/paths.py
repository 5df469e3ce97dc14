"""Where the files of a cache are, and how they are written and read."""

import os
import sys
from datetime import datetime

from ..files import write_atomically


class FileManager:
    """Files in a folder, with a default name."""

    def __init__(self, default_dir, default_filename):
        self.default_dir = default_dir
        self.default_filename = default_filename

    def resolve_path(self, user_input, extension, use_timestamp=False, creates_folder=True):
        """The path that `user_input` stands for: nothing, a folder, a bare name, or a path."""
        default_folder = os.path.join(_program_folder(), self.default_dir)
        if not user_input:
            folder, name = default_folder, self.default_filename
        elif os.path.isdir(user_input):
            folder, name = os.fspath(user_input), self.default_filename
        else:
            folder, name = os.path.split(os.fspath(user_input))
            folder = folder or default_folder
            name = _without_extension(name)
        if use_timestamp:
            name += datetime.now().strftime("_%Y%m%d_%H%M%S_srr")
        path = os.path.join(folder, f"{name}.{extension}")
        if use_timestamp:
            path = _unused(path, extension)
        if creates_folder:
            os.makedirs(folder, exist_ok=True)
        return path

    def write(self, path, data, append=False):
        """Writes text or bytes; the file has the old content or all of the new one, whatever happens."""
        if isinstance(data, str):
            data = data.encode()
        if append and os.path.exists(path):
            data = self.read(path, binary=True) + data
        write_atomically(path, data)

    def read(self, path, binary=False):
        """The content of a file."""
        with open(path, "rb") as file:
            data = file.read()
        return data if binary else data.decode()


def _program_folder():
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.dirname(os.path.abspath(main)) if main else os.getcwd()


def _without_extension(name):
    """The name without what looks like an extension; a version such as "v1.2" has none."""
    stem, extension = os.path.splitext(name)
    return name if extension[1:].isdigit() else stem


def _unused(path, extension):
    """The path, or the first with a number that no file has: timestamps have a resolution of a second."""
    stem, number, candidate = path[: -len(extension) - 1], 1, path
    while os.path.exists(candidate):
        number += 1
        candidate = f"{stem}_{number}.{extension}"
    return candidate
