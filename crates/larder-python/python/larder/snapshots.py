"""Snapshots of a cache: what `Cache.save` and `Cache.load` do.

A snapshot is read as hostile: it is checked whole before the cache changes, no code of it runs, and neither
memory nor time grows faster than its size. A compressed one may hold `max_bytes` at most.
"""

import io
import json
import reprlib
import time

from .files import NAME, SnapshotError, check_hashes, decode, encode, write_atomically

FORMATS = ("binary", "json")
# Decompressed bytes, unless the caller says otherwise.
MAX_BYTES = 1 << 30
_ZSTD_MARK = b"\x28\xb5\x2f\xfd"
# More are refused by the cache; by then it would hold the entries before.
_MAX_TAGS = 4


def save(cache, path, format, compression):
    """Writes the valid entries of a cache to a file, and returns how many there were."""
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is neither 'binary' nor 'json'")
    if compression not in (None, "zstd"):
        raise ValueError(f"compression {compression!r} is neither None nor 'zstd'")
    entries = [(key, value, left, cache.tags(key) or []) for key, value, left in cache.entries()]
    content = {"saved_at": time.time(), "entries": entries}
    try:
        data = _encode(content, format)
    except SnapshotError:
        for entry in entries:
            _check_encodes(entry, format)
        raise
    if compression is not None:
        data = _zstandard().ZstdCompressor(write_checksum=True).compress(data)
    write_atomically(path, data)
    return len(entries)


def load(cache, path, format, max_bytes):
    """Stores the entries of a file that have not expired since, and returns how many."""
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is neither 'binary' nor 'json'")
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(_ZSTD_MARK):
        data = _decompressed(data, max_bytes)
    content = decode(data) if format == "binary" else _decode_json(data)
    saved_at, entries = _checked(content)
    # Time that runs backward has not passed.
    passed = max(0.0, time.time() - saved_at)
    loaded = 0
    for key, value, left, tags in entries:
        if left is None:
            loaded += cache.set(key, value, None, tags or None)
        elif left > passed:
            loaded += cache.set(key, value, left - passed, tags or None)
    return loaded


def _encode(content, format):
    return encode(content) if format == "binary" else _encode_json(content)


def _check_encodes(entry, format):
    """A SnapshotError that names the key if an entry cannot be written."""
    try:
        _encode({"saved_at": 0.0, "entries": [entry]}, format)
    except SnapshotError as error:
        raise SnapshotError(f"the entry of {reprlib.repr(entry[0])}: {error}") from error


def _encode_json(content):
    if not all(type(key) is str for key, *_ in content["entries"]):
        raise SnapshotError("a snapshot in JSON can hold only keys that are strings")
    try:
        return json.dumps(content).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SnapshotError(f"a value cannot be written as JSON: {error}") from error


def _decode_json(data):
    if data.startswith(NAME):
        raise SnapshotError("the file is a snapshot in the binary format; load it with format='binary'")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"the file is no JSON: {error}") from error


def _zstandard():
    try:
        import zstandard
    except ImportError as error:
        raise SnapshotError("zstd needs the package zstandard: pip install 'larder[zstd]'") from error
    return zstandard


def _decompressed(data, max_bytes):
    """The content of a compressed file; no more than `max_bytes` are ever in memory."""
    zstandard = _zstandard()
    # A window of 128 MiB is what the strongest compression asks for; a file may not ask for more.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    content = bytearray()
    try:
        # What stands behind the first frame has to be a frame, too.
        with decompressor.stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
            while True:
                part = reader.read(min(1 << 20, max_bytes + 1 - len(content)))
                if not part:
                    return bytes(content)
                content += part
                if len(content) > max_bytes:
                    raise SnapshotError(f"the snapshot holds more than {max_bytes} bytes, which `max_bytes` allows")
    except zstandard.ZstdError as error:
        raise SnapshotError(f"the snapshot cannot be decompressed: {error}") from error


def _checked(content):
    """When a snapshot was taken and its entries, if all of them have the right shape."""
    try:
        saved_at, entries = content["saved_at"], content["entries"]
        is_right = type(saved_at) is float and saved_at == saved_at and type(entries) is list
        checked = [_entry(*entry) for entry in entries] if is_right else []
        check_hashes([key for key, *_ in checked])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SnapshotError(f"the snapshot is not one of a cache: {error}") from error
    if not is_right:
        raise SnapshotError("the snapshot is not one of a cache")
    return saved_at, checked


def _entry(key, value, left, tags):
    hash(key)
    if left is not None:
        if type(left) not in (int, float) or left != left:
            raise ValueError("a lifetime is no number")
        try:
            left = float(left)
        except OverflowError:
            left = float("inf") if left > 0 else 0.0
    if type(tags) is not list or len(tags) > _MAX_TAGS or not all(type(tag) is str for tag in tags):
        raise ValueError("tags are no list of strings")
    for tag in tags:
        # A lone surrogate is no text that the cache can hold.
        tag.encode()
        if tag.startswith("\0"):
            raise ValueError("a tag begins with a zero byte, which is reserved")
    return key, value, left, tags
