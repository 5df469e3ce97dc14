"""Files that appear whole or not at all, and a format for them that runs no code when it is read.

The format holds None, bool, int, float, str, bytes, tuple, list, dict, set, frozenset, datetime and timedelta,
and gives back the same types. A file begins with a mark, the length and the checksum of what follows; it is
refused if any of them does not fit. Nothing is allocated for more items than the file has bytes, and no dict
or set is built of many keys that have one hash, which would take quadratic time.
"""

import collections
import datetime
import errno
import os
import stat
import struct
import tempfile
import zlib

NAME, VERSION = b"larder\x00", b"\x01"
MAGIC = NAME + VERSION
HEAD = struct.Struct("<QI")
MAX_DEPTH = 100
# Keys of one hash that a dict, a set or a cache in a file may have. Honest files have a few.
MAX_EQUAL_HASHES = 500


class SnapshotError(Exception):
    """A file cannot be read as a snapshot, or a value cannot be written to one."""


def write_atomically(path, data):
    """Writes a file so that its name refers to the old content or to the new one, also after a crash.

    It gets the permissions of the old file; without one, only its owner can use it. A device, a pipe and what else is
    no regular file is refused: the new file would take its place.
    """
    path = os.fsdecode(os.path.realpath(path))
    try:
        _write_beside(path, data)
    except OSError as error:
        # The temporary file, which it names, is not the one that the caller asked for.
        raise OSError(error.errno, error.strerror, path) from error
    _sync_folder(os.path.dirname(path))


def _write_beside(path, data):
    permissions = _permissions(path)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".larder-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if permissions is not None:
            os.chmod(temporary, permissions)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _permissions(path):
    """Those of the file that is to be replaced; None if there is none."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file, and is not replaced by one")
    return stat.S_IMODE(mode)


def _sync_folder(folder):
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Not every system opens folders.
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # Not every file system can; the file itself is safe.
    finally:
        os.close(descriptor)


def encode(value):
    """The bytes of a file that holds `value`."""
    out = bytearray()
    _put(out, value, 0)
    return MAGIC + HEAD.pack(len(out), zlib.crc32(out)) + bytes(out)


def decode(data):
    """What the bytes of a file hold."""
    data = bytes(data)
    start = len(MAGIC) + HEAD.size
    if data.startswith(NAME) and not data.startswith(MAGIC) and len(data) > len(NAME):
        raise SnapshotError(
            f"the snapshot is of version {data[len(NAME)]}, and this release of larder reads version {VERSION[0]}"
        )
    if len(data) < start or not data.startswith(MAGIC):
        hint = "; one in JSON is loaded with format='json'" if data[:1] == b"{" else ""
        raise SnapshotError(f"this is no snapshot of larder{hint}")
    length, checksum = HEAD.unpack_from(data, len(MAGIC))
    body = data[start:]
    if len(body) != length:
        raise SnapshotError(f"the snapshot has {len(body)} bytes instead of {length}; it was cut or added to")
    if zlib.crc32(body) != checksum:
        raise SnapshotError("the checksum of the snapshot does not fit; the file is damaged")
    reader = _Reader(body)
    value = reader.value(0)
    if reader.position != len(body):
        raise SnapshotError("the snapshot goes on after its end")
    return value


def check_hashes(keys):
    """Refuses keys many of which have one hash. A TypeError if one has none."""
    if len(keys) > MAX_EQUAL_HASHES:
        ((_, most),) = collections.Counter(map(hash, keys)).most_common(1)
        if most > MAX_EQUAL_HASHES:
            raise SnapshotError(f"{most} keys of the snapshot have one hash, which only a hostile file has")


def _put_sized(out, tag, content):
    out += tag
    out += struct.pack("<I", len(content))
    out += content


def _put(out, value, depth):
    if depth > MAX_DEPTH:
        raise SnapshotError(f"a value is nested more than {MAX_DEPTH} deep, or holds itself")
    kind = type(value)
    if value is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if value else b"F"
    elif kind is int:
        _put_sized(out, b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    elif kind is float:
        out += b"d" + struct.pack("<d", value)
    elif kind is str:
        _put_sized(out, b"s", value.encode("utf-8", "surrogatepass"))
    elif kind is bytes:
        _put_sized(out, b"b", value)
    elif kind is datetime.datetime:
        _put_sized(out, b"D", value.isoformat().encode())
    elif kind is datetime.timedelta:
        out += b"W" + struct.pack("<qqq", value.days, value.seconds, value.microseconds)
    elif kind in _GROUPS:
        items = list(value.items()) if kind is dict else list(value)
        out += _GROUPS[kind] + struct.pack("<I", len(items))
        for item in items:
            if kind is dict:
                _put(out, item[0], depth + 1)
                item = item[1]
            _put(out, item, depth + 1)
    else:
        raise SnapshotError(f"a value of type {kind.__name__} cannot be written to a snapshot")


_GROUPS = {tuple: b"t", list: b"l", dict: b"m", set: b"e", frozenset: b"f"}
_KINDS = {tag[0]: kind for kind, tag in _GROUPS.items()}


class _Reader:
    def __init__(self, data):
        self.data = data
        self.position = 0

    def take(self, count):
        start, end = self.position, self.position + count
        if end > len(self.data):
            raise SnapshotError("the snapshot ends too early")
        self.position = end
        return self.data[start:end]

    def sized(self):
        return self.take(struct.unpack("<I", self.take(4))[0])

    def value(self, depth):
        if depth > MAX_DEPTH:
            raise SnapshotError(f"the snapshot is nested more than {MAX_DEPTH} deep")
        tag = self.take(1)
        if tag in _SINGLE:
            return _SINGLE[tag]
        try:
            return self._sized_value(tag, depth)
        except (TypeError, ValueError, OverflowError) as error:
            raise SnapshotError(f"the snapshot holds a wrong value: {error}") from error

    def _sized_value(self, tag, depth):
        if tag == b"i":
            return int.from_bytes(self.sized(), "little", signed=True)
        if tag == b"d":
            return struct.unpack("<d", self.take(8))[0]
        if tag == b"s":
            return self.sized().decode("utf-8", "surrogatepass")
        if tag == b"b":
            return self.sized()
        if tag == b"D":
            return datetime.datetime.fromisoformat(self.sized().decode())
        if tag == b"W":
            days, seconds, microseconds = struct.unpack("<qqq", self.take(24))
            return datetime.timedelta(days, seconds, microseconds)
        kind = _KINDS.get(tag[0])
        if kind is None:
            raise SnapshotError(f"the snapshot holds the unknown mark {tag!r}")
        (count,) = struct.unpack("<I", self.take(4))
        if count > len(self.data) - self.position:
            raise SnapshotError("the snapshot ends too early")
        if kind is dict:
            pairs = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(count)]
            check_hashes([key for key, _ in pairs])
            return dict(pairs)
        items = [self.value(depth + 1) for _ in range(count)]
        if kind is set or kind is frozenset:
            check_hashes(items)
        return kind(items)


_SINGLE = {b"N": None, b"T": True, b"F": False}
