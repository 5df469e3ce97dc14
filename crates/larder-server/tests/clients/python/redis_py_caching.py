"""Client-side caching of redis-py: hits stay local, and every change reaches the cached copy.

usage: redis_py_caching.py HOST:PORT, where nothing else uses the server

redis-py caches only with a server that calls itself `redis`, 7.4 or later. With LARDER_PEER=redis the
program lowers that, to be tried against an older Redis.
"""

import os
import random
import threading
import unittest

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

import harness

HOST, PORT = harness.address()
ROUNDS = 2_000

if os.environ.get("LARDER_PEER") == "redis":
    CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"


class Caching(unittest.TestCase):
    def setUp(self):
        self.writer = redis.Redis(host=HOST, port=PORT)
        self.addCleanup(self.writer.close)
        self.writer.flushall()
        self.reader = self.cached()

    def cached(self, max_size=10_000):
        client = redis.Redis(host=HOST, port=PORT, protocol=3, cache_config=CacheConfig(max_size=max_size))
        self.addCleanup(client.close)
        return client

    def lookups(self):
        stats = self.writer.info("stats")
        return stats["keyspace_hits"] + stats["keyspace_misses"]

    def asks_nothing(self, read, expected):
        """Whether `read`, which has to give `expected`, asks nothing of the server."""
        before = self.lookups()
        for _ in range(10):
            self.assertEqual(read(), expected)
        return self.lookups() == before

    def assert_local(self, read, expected):
        """`read` gives `expected` and soon asks nothing of the server.

        A server with several threads may send an invalidation twice, which costs a lookup.
        """
        harness.wait_until(lambda: self.asks_nothing(read, expected), f"{expected} is read locally")

    def test_a_hit_stays_local(self):
        self.writer.set("k", "v")
        self.assertEqual(self.reader.get("k"), b"v")
        self.assertEqual(self.reader.get_cache().size, 1)
        self.assertTrue(self.asks_nothing(lambda: self.reader.get("k"), b"v"))

    def test_every_way_to_change_a_key_invalidates(self):
        writer = self.writer
        changes = [
            (lambda: writer.set("k", "2"), b"2"),
            (lambda: writer.append("k", "0"), b"20"),
            (lambda: writer.incr("k"), b"21"),
            (lambda: writer.setrange("k", 0, "3"), b"31"),
            (lambda: writer.mset({"k": "4", "other": "5"}), b"4"),
            (lambda: writer.rename("other", "k"), b"5"),
            (lambda: writer.getset("k", "6"), b"6"),
            (lambda: writer.copy("source", "k", replace=True), b"7"),
            (lambda: writer.pipeline(transaction=True).set("k", "8").execute(), b"8"),
            (lambda: writer.delete("k"), None),
            (lambda: writer.set("k", "9"), b"9"),
            (lambda: writer.getdel("k"), None),
            (lambda: writer.set("k", "10"), b"10"),
            (lambda: writer.flushdb(), None),
            (lambda: writer.set("k", "11"), b"11"),
            (lambda: writer.expire("k", -1), None),
            (lambda: writer.set("k", "12"), b"12"),
            (lambda: writer.move("k", 4), None),
        ]
        writer.mset({"k": "1", "source": "7"})
        self.assertEqual(self.reader.get("k"), b"1")
        for number, (change, after) in enumerate(changes):
            change()
            harness.wait_until(lambda: self.reader.get("k") == after, f"change {number} is seen")
            if after is not None:
                self.assert_local(lambda: self.reader.get("k"), after)

    def test_a_copy_goes_when_its_key_expires(self):
        self.reader.ping()
        self.writer.set("k", "v", px=500)
        self.assertEqual(self.reader.get("k"), b"v")
        harness.wait_until(lambda: self.reader.get("k") is None, "the expired copy goes")

    def test_hashes_and_many_keys(self):
        self.writer.hset("h", mapping={"a": "1", "b": "2"})
        self.writer.mset({"x": "1", "y": "2"})
        self.assertEqual(self.reader.hget("h", "a"), b"1")
        self.assertEqual(self.reader.hgetall("h"), {b"a": b"1", b"b": b"2"})
        self.assertEqual(self.reader.mget("x", "y"), [b"1", b"2"])
        self.assert_local(lambda: self.reader.hget("h", "a"), b"1")
        self.assert_local(lambda: self.reader.mget("x", "y"), [b"1", b"2"])
        self.writer.hset("h", "a", "3")
        self.writer.set("y", "4")
        harness.wait_until(lambda: self.reader.hget("h", "a") == b"3", "the field changes")
        self.assertEqual(self.reader.hgetall("h"), {b"a": b"3", b"b": b"2"})
        harness.wait_until(lambda: self.reader.mget("x", "y") == [b"1", b"4"], "one of the keys changes")

    def test_flushall_empties_the_cache(self):
        for n in range(50):
            self.writer.set(f"k{n}", n)
            self.reader.get(f"k{n}")
        self.assertEqual(self.reader.get_cache().size, 50)
        self.writer.flushall()
        harness.wait_until(lambda: self.reader.ping() and self.reader.get_cache().size == 0, "the cache is empty")

    def test_a_lost_connection_empties_the_cache(self):
        self.writer.set("k", "old")
        self.assertEqual(self.reader.get("k"), b"old")
        self.assertEqual(self.writer.client_kill_filter(_id=self.reader.client_id()), 1)
        self.writer.set("k", "new")
        harness.wait_until(lambda: self.reader.get("k") == b"new", "the new value after a reconnect")
        self.writer.set("k", "newer")
        harness.wait_until(lambda: self.reader.get("k") == b"newer", "tracking is on again")

    def test_every_invalidation_arrives(self):
        for n in range(ROUNDS):
            key = f"k{n % 97}"
            self.writer.set(key, n)
            wanted = b"%d" % n
            harness.wait_until(lambda: self.reader.get(key) == wanted, f"round {n}")
            self.assertEqual(self.reader.get(key), wanted)

    def test_nothing_is_stale_after_a_quiet_period(self):
        keys = [f"key:{n}" for n in range(200)]
        self.writer.mset({key: "0" for key in keys})
        clients = [self.cached() for _ in range(2)]
        done = threading.Event()
        failures = []
        seed = random.randrange(2**32)

        def read(client):
            rng = random.Random(seed)
            try:
                while not done.is_set():
                    client.get(rng.choice(keys))
            except Exception as error:  # shown by the assertion below
                failures.append(error)

        def write(number):
            client = redis.Redis(host=HOST, port=PORT)
            rng = random.Random(seed + number)
            for n in range(3_000):
                client.set(rng.choice(keys), f"{number}:{n}")
            client.close()

        readers = [threading.Thread(target=read, args=(client,)) for client in clients]
        writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in readers + writers:
            thread.start()
        kills = 0
        while any(thread.is_alive() for thread in writers):
            for client in self.writer.client_list():
                if client["cmd"] == "get":
                    kills += self.writer.client_kill_filter(_id=int(client["id"]))
            writers[0].join(0.05)
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(kills, 0)
        truth = dict(zip(keys, self.writer.mget(keys)))
        for client in clients:
            client.ping()
            harness.wait_until(
                lambda: all(client.get(key) == truth[key] for key in keys), f"no stale copy (seed {seed})"
            )


if __name__ == "__main__":
    harness.main()
