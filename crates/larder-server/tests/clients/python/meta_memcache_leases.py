"""memcached's meta protocol through meta-memcache: flags, leases, early refills and stale values.

usage: meta_memcache_leases.py MEMCACHED_HOST:PORT, where nothing else uses the server
"""

import socket
import threading
import unittest

from meta_memcache import CacheClient, Key, ServerAddress, connection_pool_factory_builder
from meta_memcache.configuration import LeasePolicy, RecachePolicy, StalePolicy
from meta_memcache.protocol import (
    MA_MODE_DEC,
    Conflict,
    Miss,
    NotStored,
    RequestFlags,
    SetMode,
    Success,
    Value,
)

import harness

HOST, PORT = harness.address()


class Meta(unittest.TestCase):
    def setUp(self):
        with socket.create_connection((HOST, PORT)) as raw:
            raw.sendall(b"flush_all\r\n")
            self.assertEqual(raw.recv(100), b"OK\r\n")
        self.c = CacheClient.cache_client_from_servers(
            servers=[ServerAddress(host=HOST, port=PORT)],
            connection_pool_factory_fn=connection_pool_factory_builder(recv_timeout=harness.PATIENCE_S),
        )

    # ------------------------------------------------------------ the plain commands

    def test_set_get_delete(self):
        c = self.c
        self.assertTrue(c.set("k", {"a": [1, "b"]}, ttl=100))
        self.assertEqual(c.get("k"), {"a": [1, "b"]})
        self.assertTrue(c.set("n", 12, ttl=100))
        self.assertEqual(c.get("n"), 12)
        self.assertIsNone(c.get("none"))
        values = c.multi_get(["k", "none", "n"])
        self.assertEqual({key.key: value for key, value in values.items()}, {"k": {"a": [1, "b"]}, "none": None, "n": 12})
        self.assertTrue(c.delete("k"))
        self.assertFalse(c.delete("k"))
        self.assertTrue(c.invalidate("k"))
        self.assertIsNone(c.get("k"))

    def test_modes_of_set(self):
        c = self.c
        self.assertFalse(c.set("k", b"x", ttl=100, set_mode=SetMode.REPLACE))
        self.assertFalse(c.set("k", b"x", ttl=100, set_mode=SetMode.APPEND))
        self.assertTrue(c.refill("k", b"b", ttl=100))
        self.assertFalse(c.refill("k", b"z", ttl=100))
        self.assertTrue(c.set("k", b"c", ttl=100, set_mode=SetMode.APPEND))
        self.assertTrue(c.set("k", b"a", ttl=100, set_mode=SetMode.PREPEND))
        self.assertEqual(c.get("k"), b"abc")
        self.assertTrue(c.set("k", b"r", ttl=100, set_mode=SetMode.REPLACE))
        self.assertEqual(c.get("k"), b"r")

    def test_tokens_compare_and_swap(self):
        c = self.c
        c.set("k", 1, ttl=100)
        value, token = c.get_cas("k")
        self.assertEqual(value, 1)
        self.assertTrue(c.set("k", 2, ttl=100, cas_token=token))
        self.assertFalse(c.set("k", 3, ttl=100, cas_token=token))
        self.assertEqual(c.get("k"), 2)
        self.assertFalse(c.delete("k", cas_token=token))
        returned = c.set_cas("k", 4, ttl=100)
        self.assertEqual(c.get_cas("k"), (4, returned))
        self.assertTrue(c.delete("k", cas_token=returned))

    def test_counters(self):
        c = self.c
        self.assertIsNone(c.delta_and_get("n", 1))
        self.assertEqual(c.delta_initialize_and_get("n", 5, initial_value=10, initial_ttl=100), 10)
        self.assertEqual(c.delta_initialize_and_get("n", 5, initial_value=10, initial_ttl=100), 15)
        self.assertEqual(c.delta_and_get("n", -7), 8)
        self.assertTrue(c.delta("n", 2))
        self.assertEqual(c.get("n"), "10")
        result = c.meta_arithmetic(Key("n"), RequestFlags(mode=MA_MODE_DEC, ma_delta_value=100, return_value=True))
        self.assertIsInstance(result, Value)
        self.assertEqual(int(result.value), 0)

    def test_flags_return_what_is_asked(self):
        c = self.c
        key = Key("k")
        # The client has flags of its own for the type of a value.
        c.meta_set(key, b"value", RequestFlags(cache_ttl=100))
        found = c.meta_get(key, RequestFlags(
            return_ttl=True, return_size=True, return_last_access=True, return_fetched=True,
            return_client_flag=True, return_cas_token=True,
        ))
        self.assertIsInstance(found, Success)
        flags = found.flags
        self.assertIn(flags.ttl, (99, 100))
        self.assertEqual((flags.size, flags.client_flag, flags.fetched), (5, 16, False))
        self.assertIn(flags.last_access, (0, 1))
        self.assertGreater(flags.cas_token, 0)
        found = c.meta_get(key, RequestFlags(return_fetched=True, return_value=True, cache_ttl=500))
        self.assertEqual((found.value, found.flags.fetched), ("value", True))
        self.assertIn(c.meta_get(key, RequestFlags(return_ttl=True)).flags.ttl, (499, 500))
        c.meta_set(key, b"v", RequestFlags())
        self.assertEqual(c.meta_get(key, RequestFlags(return_ttl=True)).flags.ttl, -1)
        self.assertTrue(c.touch("k", 60))
        self.assertIn(c.meta_get(key, RequestFlags(return_ttl=True)).flags.ttl, (59, 60))

    def test_binary_and_long_keys(self):
        c = self.c
        for key in ("🍺 with blanks", "long" * 100):
            self.assertTrue(c.set(Key(key), b"v", ttl=100))
            self.assertEqual(c.get(Key(key)), b"v")
            self.assertTrue(c.delete(Key(key)))
            self.assertIsNone(c.get(Key(key)))

    def test_many_keys_in_one_batch(self):
        c = self.c
        for n in range(500):
            c.set(f"k{n}", n, ttl=100, no_reply=True)
        values = c.multi_get([f"k{n}" for n in range(600)])
        self.assertEqual({key.key: value for key, value in values.items()},
                         {f"k{n}": n if n < 500 else None for n in range(600)})

    # ------------------------------------------------------------ leases

    def test_a_miss_is_leased_to_one_client(self):
        c = self.c
        policy = LeasePolicy(ttl=30, miss_retries=200, miss_retry_wait=0.01, wait_backoff_factor=1.0)
        # The first to miss wins; the others wait for it to fill.
        value, token = c.get_or_lease_cas("k", lease_policy=policy)
        self.assertIsNone(value)
        found = c.meta_get(Key("k"), RequestFlags(return_value=True, vivify_on_miss_ttl=30, return_cas_token=True))
        self.assertIsInstance(found, Value)
        self.assertEqual((found.size, found.flags.win), (0, False))
        got = []
        waiters = [threading.Thread(target=lambda: got.append(c.get_or_lease("k", lease_policy=policy))) for _ in range(4)]
        for waiter in waiters:
            waiter.start()
        self.assertTrue(c.set("k", "filled", ttl=100, cas_token=token))
        for waiter in waiters:
            waiter.join()
        self.assertEqual(got, ["filled"] * 4)

    def test_exactly_one_of_many_wins(self):
        flags = RequestFlags(return_value=True, vivify_on_miss_ttl=30, return_cas_token=True)
        for number in range(50):
            barrier, wins = threading.Barrier(4), []

            def ask():
                barrier.wait()
                wins.append(self.c.meta_get(Key(f"k{number}"), flags).flags.win)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(map(str, wins)), ["False", "False", "False", "True"])

    def test_a_lease_ends(self):
        flags = RequestFlags(return_value=True, vivify_on_miss_ttl=1)
        self.assertTrue(self.c.meta_get(Key("k"), flags).flags.win)
        self.assertFalse(self.c.meta_get(Key("k"), flags).flags.win)
        harness.wait_until(lambda: self.c.meta_get(Key("k"), flags).flags.win, "the lease is given again")

    def test_one_client_refills_early(self):
        c = self.c
        c.set("k", "old", ttl=50)
        self.assertEqual(c.get("k", recache_policy=RecachePolicy(ttl=30)), "old")
        # The remaining time is below the limit now: one client misses, the others go on with the value.
        early = RecachePolicy(ttl=60)
        self.assertIsNone(c.get("k", recache_policy=early))
        for _ in range(3):
            self.assertEqual(c.get("k", recache_policy=early), "old")
        c.set("k", "new", ttl=500)
        self.assertEqual(c.get("k", recache_policy=early), "new")

    def test_invalid_values_are_served_while_one_client_refills(self):
        c = self.c
        policy = StalePolicy(mark_stale_on_deletion_ttl=30)
        c.set("k", "old", ttl=100)
        self.assertTrue(c.delete("k", stale_policy=policy))
        flags = RequestFlags(return_value=True, return_cas_token=True, return_ttl=True)
        first = c.meta_get(Key("k"), flags)
        self.assertEqual((first.value, first.flags.stale, first.flags.win), ("old", True, True))
        self.assertIn(first.flags.ttl, (29, 30))
        for _ in range(3):
            other = c.meta_get(Key("k"), flags)
            self.assertEqual((other.value, other.flags.stale, other.flags.win), ("old", True, False))
        self.assertTrue(c.set("k", "new", ttl=100, cas_token=first.flags.cas_token))
        last = c.meta_get(Key("k"), flags)
        self.assertEqual((last.value, last.flags.stale, last.flags.win), ("new", False, None))

    def test_a_refill_that_lost_its_race_is_stored_as_stale(self):
        c = self.c
        policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
        c.set("k", "old", ttl=100)
        c.delete("k", stale_policy=policy)
        token = c.meta_get(Key("k"), RequestFlags(return_value=True, return_cas_token=True)).flags.cas_token
        c.delete("k", stale_policy=policy)
        self.assertTrue(c.set("k", "between", ttl=100, cas_token=token, stale_policy=policy))
        found = c.meta_get(Key("k"), RequestFlags(return_value=True))
        self.assertEqual((found.value, found.flags.stale, found.flags.win), ("between", True, True))

    def test_results_have_their_types(self):
        c = self.c
        self.assertIsInstance(c.meta_get(Key("k"), RequestFlags(return_value=True)), Miss)
        self.assertIsInstance(c.meta_delete(Key("k")), Miss)
        self.assertIsInstance(c.meta_set(Key("k"), b"v", RequestFlags(return_cas_token=True)), Success)
        self.assertIsInstance(c.meta_set(Key("k"), b"v", RequestFlags(mode=SetMode.ADD.value)), NotStored)
        self.assertIsInstance(c.meta_set(Key("k"), b"v", RequestFlags(cas_token=1)), Conflict)
        self.assertIsInstance(c.meta_set(Key("none"), b"v", RequestFlags(cas_token=1)), Miss)

    # ------------------------------------------------------------ what the client has no words for

    def ask(self, request, end):
        with socket.create_connection((HOST, PORT), timeout=harness.PATIENCE_S) as raw:
            raw.sendall(request)
            said = b""
            while not said.endswith(end):
                chunk = raw.recv(4096)
                self.assertTrue(chunk, f"the server closed the connection after {said!r}")
                said += chunk
            return said

    def test_quiet_commands_and_no_op(self):
        request = b"ms a 1 q F77\r\n1\r\nmg none v q\r\nmg a v q k f O77\r\nma a q\r\nmd a q\r\nmg a v\r\nmn\r\n"
        self.assertEqual(self.ask(request, b"MN\r\n"), b"VA 1 ka f77 O77\r\n1\r\nEN\r\nMN\r\n")

    def test_debugging_a_key(self):
        said = self.ask(b"ms a 3 T100\r\nabc\r\nme a\r\nme none\r\n", b"EN\r\n")
        self.assertTrue(said.startswith(b"HD\r\nME a "), said)
        fields = dict(part.split(b"=") for part in said.split(b"\r\n")[1].split()[2:])
        # Some versions of memcached print the seconds left with a minus.
        self.assertIn(abs(int(fields[b"exp"])), (99, 100))
        self.assertIn(b"la", fields)
        self.assertIn(b"cas", fields)
        self.assertEqual(fields[b"fetch"], b"no")
        self.assertGreaterEqual(int(fields[b"size"]), 3)

    def test_wrong_requests_are_refused_and_leave_the_stream_in_step(self):
        said = self.ask(
            b"mg\r\nmg " + b"k" * 251 + b" v\r\nms k abc\r\nma k Dx\r\nms k 2 MQ\r\nab\r\nmn\r\n", b"MN\r\n"
        )
        lines = said.split(b"\r\n")
        self.assertEqual(lines[-2:], [b"MN", b""])
        self.assertEqual(len(lines), 7, said)
        for line in lines[:5]:
            self.assertRegex(line, rb"^(CLIENT_)?ERROR")


if __name__ == "__main__":
    harness.main()
