"""memcached's text protocol through pymemcache.

usage: pymemcache_text.py MEMCACHED_HOST:PORT, where nothing else uses the server
"""

import threading
import unittest

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheIllegalInputError,
    MemcacheServerError,
    MemcacheUnknownCommandError,
)
from pymemcache.serde import pickle_serde

import harness

ADDRESS = harness.address()


class Text(unittest.TestCase):
    def setUp(self):
        self.c = self.client()
        self.c.flush_all()

    def client(self, kind=Client, **options):
        options.setdefault("default_noreply", False)
        client = kind(ADDRESS, timeout=harness.PATIENCE_S, **options)
        self.addCleanup(client.close)
        return client

    def test_set_and_get(self):
        c = self.c
        self.assertIs(c.set("k", b"a\r\nEND\r\n\0b"), True)
        self.assertEqual(c.get("k"), b"a\r\nEND\r\n\0b")
        self.assertIsNone(c.get("none"))
        self.assertEqual(c.get("none", b"default"), b"default")
        self.assertIs(c.set("empty", b""), True)
        self.assertEqual(c.get("empty"), b"")
        self.assertEqual(c.set_many({"a": "1", "b": "2"}), [])
        self.assertEqual(c.get_many(["a", "none", "b"]), {"a": b"1", "b": b"2"})
        self.assertIs(c.delete("a"), True)
        self.assertIs(c.delete("a"), False)
        self.assertEqual(c.get_many(["a", "b"]), {"b": b"2"})

    def test_add_replace_append_prepend(self):
        c = self.c
        self.assertIs(c.replace("k", "x"), False)
        self.assertIs(c.append("k", "x"), False)
        self.assertIs(c.prepend("k", "x"), False)
        self.assertIs(c.add("k", "b"), True)
        self.assertIs(c.add("k", "z"), False)
        self.assertIs(c.append("k", "c"), True)
        self.assertIs(c.prepend("k", "a"), True)
        self.assertEqual(c.get("k"), b"abc")
        self.assertIs(c.replace("k", "r"), True)
        self.assertEqual(c.get("k"), b"r")

    def test_compare_and_swap(self):
        c = self.c
        c.set("k", "1")
        value, token = c.gets("k")
        self.assertEqual(value, b"1")
        self.assertIs(c.cas("k", "2", token), True)
        self.assertIs(c.cas("k", "3", token), False)
        self.assertEqual(c.get("k"), b"2")
        self.assertIsNone(c.cas("none", "3", token))
        again = c.gets("k")[1]
        self.assertNotEqual(again, token)
        self.assertEqual(c.gets_many(["k", "none"]), {"k": (b"2", again)})
        c.touch("k", 100)
        c.delete("k")
        self.assertIsNone(c.cas("k", "4", again))

    def test_compare_and_swap_loses_no_change(self):
        self.c.set("n", "0")

        def work():
            client = self.client()
            done = 0
            while done < 50:
                value, token = client.gets("n")
                done += client.cas("n", str(int(value) + 1), token) is True

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.c.get("n"), b"200")

    def test_counters(self):
        c = self.c
        self.assertIsNone(c.incr("n", 1))
        c.set("n", "9")
        self.assertEqual(c.incr("n", 1), 10)
        self.assertEqual(c.incr("n", 5), 15)
        self.assertEqual(c.decr("n", 6), 9)
        self.assertEqual(c.decr("n", 100), 0)
        c.set("n", str(2**64 - 1))
        self.assertEqual(c.incr("n", 2), 1)
        c.set("s", "text")
        with self.assertRaisesRegex(MemcacheClientError, "non-numeric"):
            c.incr("s", 1)
        self.assertEqual(c.get("s"), b"text")

    def test_lifetimes(self):
        c = self.c
        c.set("past", "v", expire=-1)
        self.assertIsNone(c.get("past"))
        c.set("short", "v", expire=3)
        self.assertIs(c.touch("short", 100), True)
        c.set("shorter", "v", expire=3)
        self.assertIs(c.touch("none", 100), False)
        harness.wait_until(lambda: c.get("shorter") is None, "the key expires")
        self.assertEqual(c.get("short"), b"v")
        # More than thirty days is a date; this one is long past.
        c.set("date", "v", expire=60 * 60 * 24 * 31)
        self.assertIsNone(c.get("date"))

    def test_gat_touches_as_it_gets(self):
        c = self.c
        c.set("k", "v", expire=60)
        self.assertEqual(c.raw_command("gat 100 k none", end_tokens=b"END\r\n"), b"VALUE k 0 1\r\nv\r\n")
        raw = c.raw_command("gats 100 k", end_tokens=b"END\r\n")
        self.assertRegex(raw, rb"^VALUE k 0 1 \d+\r\nv\r\n$")
        self.assertEqual(c.gets("k")[1], raw.split()[4])
        self.assertEqual(c.raw_command("gat 100 none", end_tokens=b"END\r\n"), b"")
        c.raw_command("gat -1 k", end_tokens=b"END\r\n")
        self.assertIsNone(c.get("k"))

    def test_flags_are_kept(self):
        typed = self.client(serde=pickle_serde)
        values = {"i": 42, "s": "text", "b": b"bytes", "o": {"a": [1, None]}, "l": 2**70}
        self.assertEqual(typed.set_many(values), [])
        self.assertEqual(typed.get_many(list(values)), values)
        self.assertIs(self.c.set("f", "v", flags=2**32 - 1), True)
        self.assertEqual(self.c.raw_command("get f", end_tokens=b"END\r\n"), b"VALUE f 4294967295 1\r\nv\r\n")

    def test_no_reply_keeps_the_order(self):
        c = self.client(default_noreply=True)
        for n in range(1_000):
            c.set(f"k{n % 10}", str(n))
        self.assertEqual(c.get_many([f"k{n}" for n in range(10)]), {f"k{n}": b"%d" % (990 + n) for n in range(10)})
        c.set("n", "1")
        c.incr("n", 5, noreply=True)
        c.decr("n", 1, noreply=True)
        c.append("n", "0", noreply=True)
        c.delete("k0", noreply=True)
        c.touch("k1", -1, noreply=True)
        self.assertEqual(c.get_many(["n", "k0", "k1"]), {"n": b"50"})
        c.flush_all(noreply=True)
        self.assertEqual(c.get("n"), None)

    def test_flush_all(self):
        c = self.c
        c.set("k", "v")
        self.assertIs(c.flush_all(), True)
        self.assertIsNone(c.get("k"))
        c.set("k", "w")
        self.assertEqual(c.get("k"), b"w")
        # Nothing may be gone before the delay is over.
        self.assertIs(c.flush_all(delay=2), True)
        self.assertEqual(c.get("k"), b"w")
        harness.wait_until(lambda: c.get("k") is None, "the delayed flush")

    def test_large_and_many(self):
        blob = bytes(range(256)) * 3_500
        c = self.c
        self.assertIs(c.set("blob", blob), True)
        self.assertEqual(c.get("blob"), blob)
        many = {f"key:{n}": b"%d" % n * 20 for n in range(2_000)}
        self.assertEqual(c.set_many(many), [])
        self.assertEqual(c.get_many(list(many)), many)

    def test_errors_leave_the_connection_in_step(self):
        c = self.c
        with self.assertRaises(MemcacheIllegalInputError):
            c.set("a b", "v")
        with self.assertRaises(MemcacheUnknownCommandError):
            c.raw_command("bogus")
        for wrong in (b"incr k notanumber", b"get " + b"k" * 251):
            with self.assertRaises(MemcacheClientError):
                c.raw_command(wrong)
        self.assertIs(c.set("k", "v"), True)
        self.assertEqual(c.get("k"), b"v")
        # The data block of a refused `set` is no command.
        with self.assertRaises((MemcacheServerError, MemcacheClientError)):
            c.set("big", b"get k\r\n" * 10_000_000)
        fresh = self.client()
        self.assertIs(fresh.set("k", "v"), True)
        self.assertEqual(fresh.get("k"), b"v")

    def test_statistics_and_version(self):
        c = self.c
        before = c.stats()
        c.set("k", "v")
        c.get("k")
        c.get("none")
        after = c.stats()
        for name in (b"cmd_get", b"cmd_set", b"get_hits", b"get_misses", b"curr_items", b"uptime", b"limit_maxbytes"):
            self.assertIn(name, after)
        self.assertEqual(int(after[b"get_hits"]) - int(before[b"get_hits"]), 1)
        self.assertEqual(int(after[b"get_misses"]) - int(before[b"get_misses"]), 1)
        self.assertEqual(int(after[b"cmd_set"]) - int(before[b"cmd_set"]), 1)
        self.assertGreaterEqual(int(after[b"curr_items"]), 1)
        self.assertRegex(c.version(), rb"^\d+\.\d+")
        self.assertEqual(c.raw_command("verbosity 1"), b"OK")

    def test_pools_and_rings(self):
        pooled = self.client(PooledClient, max_pool_size=4)
        results = []

        def work(number):
            for n in range(100):
                pooled.set(f"{number}:{n}", str(n))
                results.append(pooled.get(f"{number}:{n}") == b"%d" % n)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [True] * 400)
        ring = HashClient([ADDRESS], default_noreply=False)
        self.addCleanup(ring.close)
        self.assertIs(ring.set("r", "v"), True)
        self.assertEqual(ring.get_many(["r", "0:99"]), {"r": b"v", "0:99": b"99"})


if __name__ == "__main__":
    harness.main()
