"""The commands of the server through redis-py, in RESP2 and in RESP3, with values, types and errors.

usage: redis_py.py HOST:PORT, where nothing else uses the server
"""

import asyncio
import threading
import time
import unittest
import warnings

import redis
import redis.asyncio
from redis.exceptions import DataError, ResponseError, WatchError

import harness

HOST, PORT = harness.address()
# The older commands are part of what is tested.
warnings.filterwarnings("ignore", category=DeprecationWarning)


class Commands:
    """The scenarios; the two classes below run them once for each version of the protocol."""

    protocol = 0

    def connect(self, **options):
        options.setdefault("protocol", self.protocol)
        client = redis.Redis(host=HOST, port=PORT, **options)
        self.addCleanup(client.close)
        return client

    def setUp(self):
        self.r = self.connect()
        self.r.flushall()
        harness.wait_until(
            lambda: not self.r.pubsub_channels() and not self.r.pubsub_numpat(), "earlier subscribers are gone"
        )

    # ------------------------------------------------------------ connection

    def test_connection_commands(self):
        r = self.r
        self.assertTrue(r.ping())
        self.assertEqual(r.echo("hi \0 there"), b"hi \0 there")
        named = self.connect(client_name="tester", db=3)
        self.assertIn(named.client_getname(), ("tester", b"tester"))
        self.assertGreater(named.client_id(), 0)
        mine = named.client_info()
        self.assertEqual(str(mine["name"]), "tester")
        self.assertEqual(int(mine["db"]), 3)
        self.assertEqual(int(mine["resp"]), self.protocol)
        if harness.version(r) >= (7, 2):
            self.assertEqual((mine["lib-name"], mine["lib-ver"]), ("redis-py", redis.__version__))
        listed = [client for client in r.client_list() if client["name"] == "tester"]
        self.assertEqual(len(listed), 1)
        self.assertEqual(int(listed[0]["id"]), named.client_id())
        self.assertTrue(r.client_no_evict("on"))
        self.assertTrue(r.client_no_evict("off"))

    def test_hello_names_server_and_version(self):
        with self.connect(single_connection_client=True) as one:
            answer = one.execute_command("HELLO", self.protocol)
            if not isinstance(answer, dict):
                answer = dict(zip(answer[::2], answer[1::2]))
            answer = {key.decode() if isinstance(key, bytes) else key: value for key, value in answer.items()}
            self.assertEqual(set(answer), {"server", "version", "proto", "id", "mode", "role", "modules"})
            self.assertEqual(answer["proto"], self.protocol)
            self.assertEqual(answer["id"], one.client_id())
            self.assertEqual(answer["role"], b"master")
            with self.assertRaisesRegex(ResponseError, "NOPROTO|unsupported protocol"):
                one.execute_command("HELLO", 4)
            self.assertTrue(one.ping())

    def test_a_killed_client_is_disconnected_and_comes_back(self):
        victim = self.connect(single_connection_client=True)
        first = victim.client_id()
        self.assertEqual(self.r.client_kill_filter(_id=first), 1)
        harness.wait_until(
            lambda: first not in [int(client["id"]) for client in self.r.client_list()], "the client is gone"
        )
        victim.connection.disconnect()
        self.assertNotEqual(victim.client_id(), first)

    def test_databases_are_apart(self):
        other = self.connect(db=5)
        self.r.set("k", "zero")
        other.set("k", "five")
        self.assertEqual((self.r.get("k"), other.get("k")), (b"zero", b"five"))
        self.assertTrue(self.r.move("k", 6))
        self.assertEqual(self.r.exists("k"), 0)
        self.assertEqual(self.connect(db=6).get("k"), b"zero")
        other.flushdb()
        self.assertEqual((other.dbsize(), self.connect(db=6).dbsize()), (0, 1))
        self.r.set("left", 1)
        self.r.swapdb(0, 6)
        self.assertEqual((self.r.get("k"), self.r.get("left")), (b"zero", None))
        self.r.swapdb(0, 6)
        with self.assertRaisesRegex(ResponseError, "out of range"):
            self.connect(single_connection_client=True).select(100_000)

    def test_errors_are_typed_and_the_connection_lives_on(self):
        one = self.connect(single_connection_client=True)
        ident = one.client_id()
        with self.assertRaisesRegex(ResponseError, "unknown command"):
            one.execute_command("NOSUCHCOMMAND", "a")
        with self.assertRaisesRegex(ResponseError, "wrong number of arguments"):
            one.execute_command("GET")
        with self.assertRaisesRegex(ResponseError, "syntax error"):
            one.execute_command("SET", "a", "1", "BOGUS")
        self.assertEqual(one.execute_command("gEt", "a"), None)
        self.assertEqual(one.client_id(), ident)

    # ------------------------------------------------------------ strings

    def test_set_with_its_options(self):
        r = self.r
        self.assertIs(r.set("k", b"\x00\xff\r\n"), True)
        self.assertEqual(r.get("k"), b"\x00\xff\r\n")
        self.assertIsNone(r.set("k", "x", nx=True))
        self.assertIsNone(r.set("none", "x", xx=True))
        self.assertEqual(r.set("k", "new", get=True), b"\x00\xff\r\n")
        self.assertIsNone(r.set("fresh", "v", get=True))
        self.assertTrue(r.set("k", "v", ex=100))
        self.assertIn(r.ttl("k"), (99, 100))
        self.assertTrue(r.set("k", "w", keepttl=True))
        self.assertIn(r.ttl("k"), (99, 100))
        self.assertTrue(r.set("k", "x"))
        self.assertEqual(r.ttl("k"), -1)
        self.assertTrue(r.set("k", "x", px=50_000))
        self.assertTrue(49_000 < r.pttl("k") <= 50_000)
        at = int(time.time()) + 200
        r.set("k", "x", exat=at)
        self.assertEqual(r.expiretime("k"), at)
        r.set("k", "x", pxat=at * 1000 + 7)
        self.assertEqual(r.pexpiretime("k"), at * 1000 + 7)
        with self.assertRaisesRegex(ResponseError, "invalid expire"):
            r.set("k", "x", ex=0)
        with self.assertRaises((DataError, ResponseError)):
            r.set("k", "x", ex=1, px=1)
        self.assertEqual(r.get("k"), b"x")

    def test_older_ways_to_set_and_get(self):
        r = self.r
        self.assertTrue(r.setex("a", 60, "1"))
        self.assertTrue(r.psetex("b", 60_000, "2"))
        self.assertEqual((r.setnx("a", "x"), r.setnx("c", "3")), (0, 1))
        self.assertEqual(r.getset("c", "4"), b"3")
        self.assertEqual(r.getdel("c"), b"4")
        self.assertIsNone(r.getdel("c"))
        self.assertEqual(r.getex("a", persist=True), b"1")
        self.assertEqual(r.ttl("a"), -1)
        self.assertEqual(r.getex("a", ex=70), b"1")
        self.assertIn(r.ttl("a"), (69, 70))
        self.assertEqual(r.mget("a", "none", "b"), [b"1", None, b"2"])
        self.assertTrue(r.mset({"x": "1", "y": "2"}))
        self.assertEqual(r.msetnx({"y": "9", "z": "9"}), 0)
        self.assertEqual(r.msetnx({"z": "3", "w": "4"}), 1)
        self.assertEqual(r.mget("x", "y", "z", "w"), [b"1", b"2", b"3", b"4"])
        self.assertEqual(r.unlink("x", "y", "none"), 2)
        self.assertEqual(r.delete("z", "z"), 1)
        self.assertEqual(r.exists("a", "a", "none"), 2)
        self.assertEqual(r.touch("a", "none"), 1)

    def test_parts_of_strings(self):
        r = self.r
        self.assertEqual(r.append("k", "Hello "), 6)
        self.assertEqual(r.append("k", "World"), 11)
        self.assertEqual(r.strlen("k"), 11)
        self.assertEqual(r.getrange("k", 0, 4), b"Hello")
        self.assertEqual(r.substr("k", -5, -1), b"World")
        self.assertEqual(r.getrange("k", 5, 1), b"")
        self.assertEqual(r.setrange("k", 6, "Redis"), 11)
        self.assertEqual(r.get("k"), b"Hello Redis")
        self.assertEqual(r.setrange("pad", 3, "x"), 4)
        self.assertEqual(r.get("pad"), b"\0\0\0x")
        self.assertEqual(r.setbit("bits", 7, 1), 0)
        self.assertEqual((r.getbit("bits", 7), r.getbit("bits", 6), r.getbit("bits", 99)), (1, 0, 0))
        self.assertEqual(r.get("bits"), b"\x01")
        r.mset({"s1": "ohmytext", "s2": "mynewtext"})
        self.assertEqual(r.lcs("s1", "s2"), b"mytext")
        self.assertEqual(r.lcs("s1", "s2", len=True), 6)
        matches = r.lcs("s1", "s2", idx=True, withmatchlen=True)
        if not isinstance(matches, dict):
            matches = dict(zip(matches[::2], matches[1::2]))
        self.assertEqual(matches[b"len"], 6)
        self.assertEqual(matches[b"matches"], [[[4, 7], [5, 8], 4], [[2, 3], [0, 1], 2]])

    def test_counters(self):
        r = self.r
        self.assertEqual(r.incr("n"), 1)
        self.assertEqual(r.incrby("n", 41), 42)
        self.assertEqual(r.decr("n"), 41)
        self.assertEqual(r.decrby("n", 50), -9)
        self.assertEqual(r.get("n"), b"-9")
        self.assertAlmostEqual(r.incrbyfloat("f", "10.5"), 10.5)
        self.assertAlmostEqual(r.incrbyfloat("f", "-0.25"), 10.25)
        self.assertEqual(r.get("f"), b"10.25")
        r.expire("n", 100)
        r.incr("n")
        self.assertIn(r.ttl("n"), (99, 100))
        r.set("s", "text")
        with self.assertRaisesRegex(ResponseError, "not an integer"):
            r.incr("s")
        r.set("max", 2**63 - 1)
        with self.assertRaisesRegex(ResponseError, "overflow"):
            r.incr("max")
        self.assertEqual(r.get("max"), b"9223372036854775807")

    # ------------------------------------------------------------ keys and expiry

    def test_expiry(self):
        r = self.r
        r.set("k", 1)
        self.assertEqual((r.ttl("none"), r.ttl("k"), r.pttl("none")), (-2, -1, -2))
        self.assertEqual((r.expiretime("none"), r.expiretime("k")), (-2, -1))
        self.assertTrue(r.expire("k", 100))
        self.assertFalse(r.expire("none", 100))
        self.assertFalse(r.expire("k", 50, gt=True))
        self.assertTrue(r.expire("k", 50, lt=True))
        self.assertFalse(r.expire("k", 70, nx=True))
        self.assertTrue(r.expire("k", 70, xx=True))
        self.assertIn(r.ttl("k"), (69, 70))
        self.assertTrue(r.pexpire("k", 90_000))
        at = int(time.time()) + 300
        self.assertTrue(r.expireat("k", at))
        self.assertEqual(r.expiretime("k"), at)
        self.assertTrue(r.pexpireat("k", at * 1000 + 5))
        self.assertEqual(r.pexpiretime("k"), at * 1000 + 5)
        self.assertTrue(r.persist("k"))
        self.assertFalse(r.persist("k"))
        self.assertTrue(r.expire("k", -1))
        self.assertEqual(r.exists("k"), 0)

    def test_an_expired_key_is_gone(self):
        r = self.r
        r.set("short", "v", px=40)
        r.set("long", "v", px=60_000)
        harness.wait_until(lambda: r.get("short") is None, "the key expires")
        self.assertEqual((r.exists("short"), r.ttl("short")), (0, -2))
        # It may be counted until it is swept.
        harness.wait_until(lambda: r.dbsize() == 1, "the expired key is no longer counted")
        self.assertEqual(r.get("long"), b"v")

    def test_names_of_keys(self):
        r = self.r
        r.mset({f"key:{n}": n for n in range(300)})
        r.hset("hash", "f", "v")
        self.assertEqual(r.dbsize(), 301)
        self.assertEqual(sorted(r.keys("key:1?")), sorted(b"key:1%d" % n for n in range(10)))
        self.assertEqual(len(set(r.scan_iter())), 301)
        self.assertEqual(set(r.scan_iter(match="key:29*", count=7)), {b"key:29"} | {b"key:29%d" % n for n in range(10)})
        self.assertEqual(list(r.scan_iter(_type="hash")), [b"hash"])
        self.assertIn(r.randomkey(), [b"hash", *(b"key:%d" % n for n in range(300))])
        self.assertEqual((r.type("key:1"), r.type("hash"), r.type("none")), (b"string", b"hash", b"none"))

    def test_rename_and_copy(self):
        r = self.r
        r.set("a", "1", ex=100)
        self.assertTrue(r.rename("a", "b"))
        self.assertEqual((r.exists("a"), r.get("b")), (0, b"1"))
        self.assertIn(r.ttl("b"), (99, 100))
        r.set("c", "2")
        self.assertFalse(r.renamenx("b", "c"))
        self.assertTrue(r.renamenx("b", "d"))
        self.assertTrue(r.copy("d", "e"))
        self.assertIn(r.ttl("e"), (99, 100))
        self.assertFalse(r.copy("c", "e"))
        self.assertTrue(r.copy("c", "e", replace=True))
        self.assertEqual((r.get("e"), r.ttl("e")), (b"2", -1))
        self.assertTrue(r.copy("c", "c", destination_db=9))
        self.assertEqual(self.connect(db=9).get("c"), b"2")
        with self.assertRaisesRegex(ResponseError, "no such key"):
            r.rename("none", "x")

    def test_what_the_server_knows_of_a_key(self):
        r = self.r
        r.set("n", 12)
        r.set("s", "x" * 100)
        self.assertEqual((r.object("encoding", "n"), r.object("encoding", "s")), (b"int", b"raw"))
        self.assertGreaterEqual(r.object("idletime", "s"), 0)
        self.assertIsNone(r.object("encoding", "none"))
        self.assertGreater(r.memory_usage("s"), 100)
        self.assertIsNone(r.memory_usage("none"))

    # ------------------------------------------------------------ hashes

    def test_hashes(self):
        r = self.r
        self.assertEqual(r.hset("h", mapping={"a": "1", "b": "2"}), 2)
        self.assertEqual(r.hset("h", "a", "3"), 0)
        self.assertEqual((r.hget("h", "a"), r.hget("h", "x"), r.hget("none", "a")), (b"3", None, None))
        self.assertEqual(r.hmget("h", "b", "x", "a"), [b"2", None, b"3"])
        self.assertEqual(r.hgetall("h"), {b"a": b"3", b"b": b"2"})
        self.assertEqual(r.hgetall("none"), {})
        self.assertEqual((r.hexists("h", "a"), r.hexists("h", "x"), r.hlen("h")), (True, False, 2))
        r.expire("h", 100)
        self.assertEqual(r.hset("h", "c", "4"), 1)
        self.assertIn(r.ttl("h"), (99, 100))
        self.assertEqual(r.hdel("h", "a", "x"), 1)
        self.assertEqual(r.hdel("h", "b", "c"), 2)
        self.assertEqual(r.exists("h"), 0)
        r.set("s", "v")
        r.hset("h", "f", "v")
        for wrong in (lambda: r.hget("s", "f"), lambda: r.hset("s", "f", 1), lambda: r.get("h"), lambda: r.incr("h")):
            with self.assertRaisesRegex(ResponseError, "WRONGTYPE|wrong kind"):
                wrong()
        self.assertEqual(r.mget("h", "s"), [None, b"v"])

    # ------------------------------------------------------------ pipelines and transactions

    def test_pipelines_keep_their_order(self):
        pipe = self.r.pipeline(transaction=False)
        for n in range(2_000):
            pipe.set(f"p{n}", n)
            pipe.get(f"p{n}")
        answers = pipe.execute()
        self.assertEqual(answers[0::2], [True] * 2_000)
        self.assertEqual(answers[1::2], [b"%d" % n for n in range(2_000)])

    def test_large_values_and_pipelines_of_them(self):
        blob = bytes(range(256)) * 4096
        pipe = self.r.pipeline(transaction=False)
        for n in range(8):
            pipe.set(f"blob{n}", blob + b"%d" % n).get(f"blob{n}").strlen(f"blob{n}")
        answers = pipe.execute()
        self.assertEqual(answers[2::3], [len(blob) + 1] * 8)
        self.assertEqual(answers[1::3], [blob + b"%d" % n for n in range(8)])

    def test_transactions(self):
        r = self.r
        with r.pipeline(transaction=True) as pipe:
            pipe.set("a", 1).incr("a").get("a").hset("h", "f", "v").hgetall("h")
            self.assertEqual(pipe.execute(), [True, 2, b"2", 1, {b"f": b"v"}])
        with r.pipeline(transaction=True) as pipe:
            pipe.set("s", "text").incr("s").set("after", 1)
            answers = pipe.execute(raise_on_error=False)
            self.assertIs(answers[0], True)
            self.assertIsInstance(answers[1], ResponseError)
            self.assertIs(answers[2], True)
        with r.pipeline(transaction=True) as pipe:
            pipe.set("never", 1).execute_command("GET")
            with self.assertRaisesRegex(ResponseError, "EXECABORT|wrong number"):
                pipe.execute()
        self.assertEqual(r.exists("never"), 0)

    def test_watch_refuses_what_another_client_changed(self):
        r, other = self.r, self.connect()
        changes = {
            "set": lambda: other.set("w", 2),
            "delete": lambda: other.delete("w"),
            "expire": lambda: other.expire("w", 100),
            "flushall": other.flushall,
            "same value": lambda: other.set("w", 1),
        }
        for name, change in changes.items():
            with self.subTest(name), r.pipeline() as pipe:
                r.set("w", 1)
                pipe.watch("w")
                self.assertEqual(pipe.get("w"), b"1")
                change()
                pipe.multi()
                pipe.set("done", name)
                with self.assertRaises(WatchError):
                    pipe.execute()
                self.assertEqual(r.exists("done"), 0)
        with r.pipeline() as pipe:
            pipe.watch("w")
            other.set("unrelated", 1)
            other.get("w")
            pipe.multi()
            pipe.set("done", 1)
            self.assertEqual(pipe.execute(), [True])
        with r.pipeline() as pipe:
            pipe.watch("w")
            other.set("w", 3)
            pipe.unwatch()
            pipe.multi()
            pipe.get("w")
            self.assertEqual(pipe.execute(), [b"3"])

    def test_watched_counters_lose_no_increment(self):
        def increment(pipe):
            value = int(pipe.get("n") or 0)
            pipe.multi()
            pipe.set("n", value + 1)

        def work():
            client = self.connect()
            for _ in range(50):
                client.transaction(increment, "n")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.r.get("n"), b"200")

    # ------------------------------------------------------------ publish and subscribe

    def received(self, pubsub):
        return harness.wait_until(lambda: pubsub.get_message(timeout=1), "a message")

    def test_publish_and_subscribe(self):
        r = self.r
        pubsub = self.connect().pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe("news")
        pubsub.psubscribe("n?ws*")
        self.assertEqual(
            [self.received(pubsub) for _ in range(2)],
            [
                {"type": "subscribe", "pattern": None, "channel": b"news", "data": 1},
                {"type": "psubscribe", "pattern": None, "channel": b"n?ws*", "data": 2},
            ],
        )
        self.assertEqual(r.publish("news", b"a\0b"), 2)
        self.assertEqual(r.publish("nobody", "x"), 0)
        self.assertEqual(
            sorted((self.received(pubsub) for _ in range(2)), key=lambda message: message["type"]),
            [
                {"type": "message", "pattern": None, "channel": b"news", "data": b"a\0b"},
                {"type": "pmessage", "pattern": b"n?ws*", "channel": b"news", "data": b"a\0b"},
            ],
        )
        self.assertEqual(r.pubsub_channels(), [b"news"])
        self.assertEqual(r.pubsub_numsub("news", "none"), [(b"news", 1), (b"none", 0)])
        self.assertEqual(r.pubsub_numpat(), 1)
        pubsub.ping("alive")
        self.assertEqual(self.received(pubsub)["type"], "pong")
        pubsub.unsubscribe()
        pubsub.punsubscribe()
        self.assertEqual([self.received(pubsub)["data"] for _ in range(2)], [1, 0])
        self.assertEqual(r.publish("news", "x"), 0)

    def test_messages_arrive_in_their_order(self):
        pubsub = self.connect().pubsub(ignore_subscribe_messages=True)
        self.addCleanup(pubsub.close)
        pubsub.subscribe("numbers")
        harness.wait_until(lambda: self.r.pubsub_numsub("numbers")[0][1] == 1 or pubsub.get_message(), "subscribed")
        pipe = self.r.pipeline(transaction=False)
        for n in range(1_000):
            pipe.publish("numbers", n)
        self.assertEqual(pipe.execute(), [1] * 1_000)
        self.assertEqual([int(self.received(pubsub)["data"]) for _ in range(1_000)], list(range(1_000)))

    def test_keyspace_events(self):
        r = self.r
        before = r.config_get("notify-keyspace-events")["notify-keyspace-events"]
        r.config_set("notify-keyspace-events", "KEA")
        self.addCleanup(r.config_set, "notify-keyspace-events", before)
        pubsub = self.connect().pubsub(ignore_subscribe_messages=True)
        self.addCleanup(pubsub.close)
        pubsub.psubscribe("__key*@0__:*")
        harness.wait_until(lambda: r.pubsub_numpat() == 1 or pubsub.get_message(), "subscribed")
        r.set("k", 1)
        r.expire("k", 100)
        r.delete("k")
        r.set("gone", 1, px=20)
        seen = []
        while (b"__keyevent@0__:expired", b"gone") not in seen:
            message = self.received(pubsub)
            seen.append((message["channel"], message["data"]))
            r.exists("gone")
        for event in (b"set", b"expire", b"del"):
            self.assertIn((b"__keyevent@0__:" + event, b"k"), seen)
            self.assertIn((b"__keyspace@0__:k", event), seen)
        self.assertIn((b"__keyspace@0__:gone", b"expired"), seen)

    # ------------------------------------------------------------ server and scripts

    def test_server_commands(self):
        r = self.r
        r.set("k", 1)
        info = r.info()
        self.assertGreaterEqual(info["connected_clients"], 1)
        self.assertGreater(info["used_memory"], 0)
        self.assertEqual(info["db0"]["keys"], 1)
        self.assertRegex(str(info["redis_version"]), r"^\d+\.\d+")
        self.assertEqual(info["role"], "master")
        self.assertEqual(info["loading"], 0)
        self.assertIn("keyspace_hits", r.info("stats"))
        self.assertNotIn("keyspace_hits", r.info("memory"))
        seconds, micros = r.time()
        self.assertLess(abs(seconds - time.time()), 5)
        self.assertTrue(0 <= micros < 1_000_000)
        r.get("k"), r.get("none")
        stats = r.info("stats")
        self.assertGreaterEqual(stats["keyspace_hits"], 1)
        self.assertGreaterEqual(stats["keyspace_misses"], 1)
        self.assertTrue(r.config_resetstat())
        self.assertEqual(r.info("stats")["keyspace_hits"], 0)
        self.assertIn("maxmemory", r.config_get("maxmem*"))
        self.assertEqual(r.config_get("no-such-parameter"), {})
        with self.assertRaises(ResponseError):
            r.config_set("no-such-parameter", "1")
        self.assertGreater(r.command_count(), 80)
        known = r.execute_command("COMMAND", "INFO", "get", "mset")
        places = ("arity", "first_key_pos", "last_key_pos", "step_count")
        self.assertEqual([known["get"][place] for place in places], [2, 1, 1, 1])
        self.assertEqual([known["mset"][place] for place in places], [-3, 1, -1, 2])
        self.assertTrue(r.flushall())
        self.assertEqual(r.dbsize(), 0)

    def test_scripts_are_kept_by_their_digest(self):
        source = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
        r = self.r
        digest = r.script_load(source)
        self.assertEqual(len(digest), 40)
        self.assertEqual(r.script_exists(digest, "0" * 40), [True, False])
        r.set("lock", "mine")
        self.assertEqual(r.evalsha(digest, 1, "lock", "theirs"), 0)
        self.assertEqual(r.evalsha(digest, 1, "lock", "mine"), 1)
        self.assertEqual(r.exists("lock"), 0)
        self.assertTrue(r.script_flush())
        self.assertEqual(r.script_exists(digest), [False])
        with self.assertRaisesRegex(ResponseError, "NOSCRIPT|No matching script"):
            r.evalsha(digest, 1, "lock", "mine")
        self.assertEqual(r.eval(source, 1, "lock", "mine"), 0)

    # ------------------------------------------------------------ asyncio

    def test_asyncio(self):
        async def scenario():
            client = redis.asyncio.Redis(host=HOST, port=PORT, protocol=self.protocol)
            try:
                await client.set("a", 1)
                answers = await asyncio.gather(*(client.incr("a") for _ in range(100)))
                self.assertEqual(sorted(answers), list(range(2, 102)))
                async with client.pipeline(transaction=True) as pipe:
                    self.assertEqual(await pipe.get("a").delete("a").execute(), [b"101", 1])
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe("c")
                    self.assertEqual((await pubsub.get_message(timeout=5))["type"], "subscribe")
                    self.assertEqual(await client.publish("c", "x"), 1)
                    self.assertEqual((await pubsub.get_message(timeout=5))["data"], b"x")
            finally:
                await client.aclose()

        asyncio.run(scenario())


class Resp2(Commands, unittest.TestCase):
    protocol = 2


class Resp3(Commands, unittest.TestCase):
    protocol = 3

    def test_types_of_their_own(self):
        one = self.connect(single_connection_client=True)
        one.hset("h", "f", "v")
        self.assertEqual(one.execute_command("HGETALL", "h"), {b"f": b"v"})
        answer = one.execute_command("HELLO", 3)
        self.assertIsInstance(answer, dict)


if __name__ == "__main__":
    harness.main()
