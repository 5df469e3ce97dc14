"""Snapshots: compression, and files that are made to do harm."""

import datetime
import json
import os
import random
import stat
import struct
import sys
import time
import zlib

import pytest

import larder
from larder import Cache, SnapshotError
from larder.files import HEAD, MAGIC, MAX_EQUAL_HASHES, decode, encode

ROUNDS = 1000


def sealed(body):
    """A file whose head fits, so that the body is read."""
    return MAGIC + HEAD.pack(len(body), zlib.crc32(body)) + body


def content(entries, saved_at=None):
    return {"saved_at": time.time() if saved_at is None else saved_at, "entries": entries}


def filled():
    cache = Cache(1000)
    for number in range(15):
        cache.set(f"key {number}", {"number": number, "list": [number] * 10, "at": datetime.timedelta(number)}, 500, ["t"])
    return cache


@pytest.mark.parametrize("format", ["binary", "json"])
def test_a_compressed_snapshot_is_smaller_and_says_the_same(format, tmp_path):
    pytest.importorskip("zstandard")
    cache = Cache(1000)
    for number in range(200):
        cache.set(f"key {number}", ["some words"] * 20, 500, ["t"])
    cache.save(tmp_path / "plain", format)
    assert cache.save(tmp_path / "small", format, compression="zstd") == 200
    assert (tmp_path / "small").stat().st_size * 4 < (tmp_path / "plain").stat().st_size
    other = Cache(1000)
    assert other.load(tmp_path / "small", format) == 200
    assert dict(other.items()) == dict(cache.items()) and other.tags("key 5") == ["t"]
    assert 400 < other.expires_in("key 5") <= 500


def test_a_compressed_snapshot_may_hold_so_many_bytes(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    path, other = tmp_path / "bomb", Cache(10)
    other["kept"] = 1
    for bomb in (zstandard.compress(bytes(50_000_000)), zstandard.compress(sealed(b"s" + struct.pack("<I", 20_000_000) + b"a" * 20_000_000))):
        assert len(bomb) < 10_000
        path.write_bytes(bomb)
        with pytest.raises(SnapshotError, match="max_bytes"):
            other.load(path, max_bytes=1_000_000)
    cache = Cache(10)
    cache["a"] = "x" * 5000
    cache.save(path, compression="zstd")
    with pytest.raises(SnapshotError, match="max_bytes"):
        other.load(path, max_bytes=4999)
    assert other.load(path, max_bytes=10_000) == 1 and other["kept"] == 1


def test_damage_to_a_compressed_snapshot_is_noticed(tmp_path):
    pytest.importorskip("zstandard")
    path, cache, other = tmp_path / "cache", Cache(10), Cache(10)
    cache.update(a=1, b=["x" * 50, 5])
    cache.save(path, compression="zstd")
    whole = path.read_bytes()
    other["kept"] = 1
    damaged = [whole[:cut] for cut in range(len(whole) - 4)] + [whole + b"x", whole + whole, whole + b"\x28\xb5\x2f\xfd"]
    damaged += [whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for at in range(4, len(whole)) for bit in (1, 128)]
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            other.load(path)
        except SnapshotError:
            refused += 1
        else:
            # A bit of the frame that says nothing about the content.
            assert other.pop("a") == 1 and other.pop("b") == ["x" * 50, 5]
        assert other.items() == [("kept", 1)]
    assert refused > len(damaged) * 0.95


def test_compression_without_its_package_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(SnapshotError, match=r"larder\[zstd\]"):
        filled().save(tmp_path / "cache", compression="zstd")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="gzip"):
        filled().save(tmp_path / "cache", compression="gzip")


def test_random_bytes_are_refused(tmp_path):
    chance, path, cache = random.Random(1), tmp_path / "noise", Cache(10)
    for _ in range(200):
        path.write_bytes(chance.randbytes(chance.randrange(200)))
        for format in ("binary", "json"):
            with pytest.raises(SnapshotError):
                cache.load(path, format)
    assert len(cache) == 0


def test_random_bodies_raise_nothing_else():
    chance, marks = random.Random(2), b"NTFidsbDWtlmef"
    for round in range(ROUNDS):
        size = chance.randrange(60)
        body = bytes(chance.choice(marks) if chance.random() < 0.5 else chance.choice((0, 1, 2, 255)) for _ in range(size))
        try:
            decode(sealed(body))
        except SnapshotError:
            pass
        except BaseException as error:
            raise AssertionError(f"round {round}, body {body!r}") from error


def test_changed_bodies_raise_nothing_else(tmp_path):
    chance, path, cache = random.Random(3), tmp_path / "changed", filled()
    cache.save(path)
    body = path.read_bytes()[len(MAGIC) + HEAD.size :]
    for round in range(ROUNDS // 8):
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(changed))
            if chance.random() < 0.3:
                del changed[at : at + chance.randrange(20)]
            else:
                changed[at] = chance.randrange(256)
        path.write_bytes(sealed(bytes(changed)))
        other = Cache(1000)
        other["kept"] = 1
        try:
            other.load(path)
        except SnapshotError:
            assert other.items() == [("kept", 1)]
        except BaseException as error:
            raise AssertionError(f"round {round}") from error


def test_changed_json_raises_nothing_else(tmp_path):
    chance, path, cache = random.Random(4), tmp_path / "changed", Cache(100)
    for number in range(20):
        cache.set(f"key {number}", [number, None, "x"], 500, ["t"])
    cache.save(path, "json")
    body = path.read_bytes()
    for round in range(ROUNDS // 8):
        changed = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.choice(b'0123456789-eE.,:[]{}"\\nu \xff')
        path.write_bytes(bytes(changed))
        other = Cache(100)
        try:
            other.load(path, "json")
        except SnapshotError:
            assert len(other) == 0
        except BaseException as error:
            raise AssertionError(f"round {round}: {bytes(changed)!r}") from error


@pytest.mark.parametrize("mark", list(b"isbDtlmef"))
@pytest.mark.parametrize("length", [1, 2**16, 2**31, 2**32 - 1])
def test_a_length_beyond_the_file_allocates_nothing(mark, length):
    with pytest.raises(SnapshotError):
        decode(sealed(bytes([mark]) + struct.pack("<I", length)))


@pytest.mark.parametrize("length", [0, 2**32, 2**63, 2**64 - 1])
def test_a_wrong_length_of_the_file_is_refused(length):
    with pytest.raises(SnapshotError):
        decode(MAGIC + struct.pack("<QI", length, 0) + b"N")


@pytest.mark.parametrize("mark", [b"l", b"t", b"m", b"e", b"f"])
def test_deep_nesting_is_refused(mark):
    one = mark + struct.pack("<I", 1) + (b"N" if mark == b"m" else b"")
    for depth in (101, 5000):
        with pytest.raises(SnapshotError):
            decode(sealed(one * depth + b"N"))
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(SnapshotError):
        encode(deep)


def test_deep_json_is_refused(tmp_path):
    path = tmp_path / "deep"
    path.write_text('{"saved_at": 1.0, "entries": ' + "[" * 200_000 + "]" * 200_000 + "}")
    with pytest.raises(SnapshotError):
        Cache(10).load(path, "json")


@pytest.mark.parametrize("group", [dict, set, frozenset])
def test_keys_of_one_hash_do_not_take_quadratic_time(group):
    # All of them have the hash 0, so each would be compared with all before it.
    keys = [(2**61 - 1) * number for number in range(20_000)]
    if group is dict:
        body = b"m" + struct.pack("<I", len(keys)) + b"".join(encode(key)[len(MAGIC) + HEAD.size :] + b"N" for key in keys)
    else:
        mark = b"e" if group is set else b"f"
        body = mark + struct.pack("<I", len(keys)) + b"".join(encode(key)[len(MAGIC) + HEAD.size :] for key in keys)
    with pytest.raises(SnapshotError, match="one hash"):
        decode(sealed(body))


def test_entries_of_one_hash_are_refused(tmp_path):
    path, cache = tmp_path / "cache", Cache(100_000)
    path.write_bytes(encode(content([[(2**61 - 1) * number, 1, None, []] for number in range(MAX_EQUAL_HASHES + 2)])))
    with pytest.raises(SnapshotError, match="one hash"):
        cache.load(path)
    path.write_bytes(encode(content([[(2**61 - 1) * number, 1, None, []] for number in range(MAX_EQUAL_HASHES)])))
    assert len(cache) == 0 and cache.load(path) == MAX_EQUAL_HASHES


@pytest.mark.parametrize("key", [[], {}, set(), (1, []), ((), {})])
def test_a_key_that_cannot_be_hashed_is_refused(key, tmp_path):
    path = tmp_path / "cache"
    path.write_bytes(encode(content([["good", 1, None, []], [key, 1, None, []]])))
    cache = Cache(10)
    with pytest.raises(SnapshotError):
        cache.load(path)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "left, is_loaded",
    [
        (10**400, True), (-(10**400), False), (float("inf"), True), (-1, False), (0, False), (1e-320, False),
        (2**63, True), (None, True), (5, True),
    ],
)
def test_lifetimes_of_all_sizes(left, is_loaded, tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    path.write_bytes(encode(content([["a", 1, left, []]])))
    assert cache.load(path) == int(is_loaded) and ("a" in cache) is is_loaded


@pytest.mark.parametrize("saved_at", [0.0, -1e300, float("-inf"), 1e300, float("inf")])
def test_times_of_saving_of_all_sizes(saved_at, tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    path.write_bytes(encode(content([["a", 1, 5, []], ["b", 2, None, []]], saved_at)))
    # Time that runs backward has not passed.
    assert cache.load(path) == (2 if saved_at > time.time() else 1)


@pytest.mark.parametrize(
    "entry",
    [
        ["a", 1, float("nan"), []], ["a", 1, "5", []], ["a", 1, True, []], ["a", 1, None, ["x"] * 5], ["a", 1, None, ["\ud800"]],
        ["a", 1, None, ["\0"]], ["a", 1, None, "tag"], ["a", 1, None, [b"x"]], ["a", 1, None], ["a", 1, None, [], 5], "abcd", None, 5, {},
    ],
)
def test_an_entry_of_another_shape_leaves_the_cache_as_it_was(entry, tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    cache["kept"] = 1
    path.write_bytes(encode(content([["good", 1, None, []], entry])))
    with pytest.raises(SnapshotError):
        cache.load(path)
    assert cache.items() == [("kept", 1)]


@pytest.mark.parametrize("body", [b"D" + struct.pack("<I", 4) + b"2020", b"W" + struct.pack("<qqq", 2**62, 0, 0), b"s" + struct.pack("<I", 2) + b"\xff\xff", b"Z"])
def test_wrong_values_are_refused(body):
    with pytest.raises(SnapshotError):
        decode(sealed(body))


def test_no_class_of_a_file_is_made(tmp_path):
    import pickle

    path = tmp_path / "pickle"
    path.write_bytes(pickle.dumps(content([["a", Exception("x"), None, []]])))
    for format in ("binary", "json"):
        with pytest.raises(SnapshotError):
            Cache(10).load(path, format)
    text = json.dumps({"saved_at": 1.0, "entries": [["a", {"__class__": "Exception"}, None, []]]})
    path.write_text(text)
    cache = larder.Cache(10)
    assert cache.load(path, "json") == 1 and cache["a"] == {"__class__": "Exception"}


def test_a_snapshot_of_another_version_says_so(tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    cache["a"] = 1
    cache.save(path)
    data = path.read_bytes()
    path.write_bytes(data[:7] + b"\x02" + data[8:])
    with pytest.raises(SnapshotError, match="version 2, and this release of larder reads version 1"):
        cache.load(path)


def test_a_snapshot_in_the_other_format_says_which(tmp_path):
    path, cache = tmp_path / "cache", Cache(10)
    cache["a"] = 1
    for written, read in (("binary", "json"), ("json", "binary")):
        cache.save(path, written)
        with pytest.raises(SnapshotError, match=f"format='{written}'"):
            cache.load(path, read)


@pytest.mark.parametrize("format", ["binary", "json"])
def test_a_value_that_cannot_be_written_is_named_by_its_key(format, tmp_path):
    cache = Cache(10)
    cache.update({"good": 1, "bad": {"deep": [object()]}, "fine": 2})
    with pytest.raises(SnapshotError, match="the entry of 'bad': .*object"):
        cache.save(tmp_path / "cache", format)


def test_an_error_of_the_file_system_names_the_file(tmp_path):
    cache = Cache(10)
    for path in (tmp_path / "missing" / "cache", tmp_path):
        with pytest.raises(OSError) as raised:
            cache.save(path)
        assert raised.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_a_path_may_be_bytes(tmp_path):
    cache, path = Cache(10), os.fsencode(tmp_path / "cache")
    cache["a"] = 1
    assert cache.save(path) == 1 == Cache(10).load(path)


def test_only_a_regular_file_is_replaced(tmp_path):
    cache = Cache(3)
    cache["a"] = 1
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = tmp_path / "link"
    link.symlink_to(fifo)
    for path in (fifo, link):
        with pytest.raises(OSError, match="no regular file"):
            cache.save(path)
        assert stat.S_ISFIFO(os.stat(path).st_mode)
    with pytest.raises(IsADirectoryError):
        cache.save(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link"]


def test_a_file_keeps_its_permissions_and_a_new_one_is_the_owners(tmp_path):
    cache, path = Cache(3), tmp_path / "snapshot"
    cache.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    cache.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
