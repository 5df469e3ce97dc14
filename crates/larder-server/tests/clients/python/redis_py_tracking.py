"""CLIENT TRACKING in all its modes, on single connections of redis-py, push by push.

usage: redis_py_tracking.py HOST:PORT, where nothing else uses the server
"""

import unittest

import redis
from redis.exceptions import ResponseError

import harness

HOST, PORT = harness.address()
ROUNDS = 2_000


class Wire:
    """One connection, whose pushes are kept apart from its replies."""

    def __init__(self, protocol):
        self.connection = redis.Connection(
            host=HOST, port=PORT, protocol=protocol, socket_timeout=harness.PATIENCE_S
        )
        self.connection.connect()
        self.pushes = []
        if protocol == 3:
            parser = self.connection._get_parser()
            parser.set_invalidation_push_handler(self.pushes.append)
            parser.set_pubsub_push_handler(self.pushes.append)

    def ask(self, *command):
        self.connection.send_command(*command)
        return self.connection.read_response()

    def push(self):
        """The next push, waiting for it; fails when none arrives."""
        while not self.pushes:
            self.connection.read_response(push_request=True)
        return self.pushes.pop(0)

    def no_push(self):
        """Whether no push arrived before the answer to a question asked now."""
        self.ask("PING")
        return not self.pushes

    def close(self):
        self.connection.disconnect()


def flags_of(info):
    """The flags and the other fields of CLIENT TRACKINGINFO, in either protocol."""
    fields = info if isinstance(info, dict) else dict(zip(info[::2], info[1::2]))
    return {flag.decode() for flag in fields[b"flags"]}, fields


class Tracking(unittest.TestCase):
    def setUp(self):
        self.writer = self.wire(3)
        self.writer.ask("FLUSHALL")
        self.reader = self.wire(3)

    def wire(self, protocol):
        wire = Wire(protocol)
        self.addCleanup(wire.close)
        return wire

    def track(self, *options):
        self.assertEqual(self.reader.ask("CLIENT", "TRACKING", "ON", *options), b"OK")

    def rounds(self, read):
        """Reads on one client and writes on another: each invalidation arrives, with its key, once."""
        for n in range(ROUNDS):
            key = b"k%d" % (n % 89)
            read(key)
            self.assertEqual(self.writer.ask("SET", key, n), b"OK")
            self.assertEqual(self.reader.push(), [b"invalidate", [key]])
        self.assertTrue(self.reader.no_push())

    def test_default_mode_tells_of_keys_that_were_read(self):
        self.track()
        self.rounds(lambda key: self.reader.ask("GET", key))
        self.writer.ask("SET", "never-read", 1)
        self.assertTrue(self.reader.no_push())

    def test_a_key_is_told_once_until_it_is_read_again(self):
        self.track()
        self.reader.ask("GET", "k")
        for n in range(5):
            self.writer.ask("SET", "k", n)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"k"]])
        self.assertTrue(self.reader.no_push())
        self.assertEqual(self.reader.ask("GET", "k"), b"4")
        self.writer.ask("DEL", "k")
        self.assertEqual(self.reader.push(), [b"invalidate", [b"k"]])

    def test_broadcast_tells_of_prefixes(self):
        self.track("BCAST", "PREFIX", "k", "PREFIX", "user:")
        self.rounds(lambda key: None)
        self.writer.ask("MSET", "user:1", 1, "other", 2)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"user:1"]])
        self.assertTrue(self.reader.no_push())
        # Prefixes may not contain each other.
        with self.assertRaises(ResponseError):
            raise self.wire(3).ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "a", "PREFIX", "ab")

    def test_broadcast_without_a_prefix_tells_of_all(self):
        self.track("BCAST")
        for key in (b"a", b"\x00binary\r\n", b"c" * 300):
            self.writer.ask("SET", key, 1)
            self.assertEqual(self.reader.push(), [b"invalidate", [key]])

    def test_opt_in_tracks_only_after_caching_yes(self):
        self.track("OPTIN")
        self.reader.ask("GET", "k0")
        self.writer.ask("SET", "k0", 1)
        self.assertTrue(self.reader.no_push())

        def read(key):
            self.assertEqual(self.reader.ask("CLIENT", "CACHING", "YES"), b"OK")
            self.reader.ask("GET", key)
            self.reader.ask("GET", b"not-" + key)

        self.rounds(read)
        self.writer.ask("SET", "not-k1", 1)
        self.assertTrue(self.reader.no_push())

    def test_opt_out_tracks_unless_caching_no(self):
        self.track("OPTOUT")
        self.rounds(lambda key: self.reader.ask("GET", key))
        self.assertEqual(self.reader.ask("CLIENT", "CACHING", "NO"), b"OK")
        self.reader.ask("GET", "quiet")
        self.writer.ask("SET", "quiet", 1)
        self.assertTrue(self.reader.no_push())

    def test_opt_in_covers_a_whole_transaction(self):
        self.track("OPTIN")
        self.reader.ask("CLIENT", "CACHING", "YES")
        for command in (("MULTI",), ("GET", "a"), ("GET", "b"), ("EXEC",)):
            self.reader.ask(*command)
        self.writer.ask("SET", "a", 1)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"a"]])
        self.writer.ask("SET", "b", 1)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"b"]])

    def test_own_writes_are_told_unless_noloop(self):
        self.track()
        self.reader.ask("GET", "k")
        self.reader.ask("SET", "k", 1)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"k"]])
        self.reader.ask("CLIENT", "TRACKING", "OFF")
        self.track("NOLOOP")
        self.reader.ask("GET", "k")
        self.reader.ask("SET", "k", 2)
        self.assertTrue(self.reader.no_push())
        self.reader.ask("GET", "k")
        self.writer.ask("SET", "k", 3)
        self.assertEqual(self.reader.push(), [b"invalidate", [b"k"]])

    def test_redirect_tells_a_resp2_subscriber(self):
        target, reader = self.wire(2), self.wire(2)
        ident = target.ask("CLIENT", "ID")
        self.assertEqual(target.ask("SUBSCRIBE", "__redis__:invalidate"), [b"subscribe", b"__redis__:invalidate", 1])
        self.assertEqual(reader.ask("CLIENT", "TRACKING", "ON", "REDIRECT", ident), b"OK")
        self.assertEqual(reader.ask("CLIENT", "GETREDIR"), ident)
        for n in range(ROUNDS):
            key = b"k%d" % (n % 89)
            reader.ask("GET", key)
            self.writer.ask("SET", key, n)
            message = target.connection.read_response()
            self.assertEqual(message, [b"message", b"__redis__:invalidate", [key]])
        reader.ask("GET", "k0")
        self.writer.ask("FLUSHALL")
        self.assertEqual(target.connection.read_response(), [b"message", b"__redis__:invalidate", None])

    def test_redirect_that_is_gone_is_told(self):
        target = self.wire(3)
        self.assertEqual(self.reader.ask("CLIENT", "TRACKING", "ON", "REDIRECT", target.ask("CLIENT", "ID")), b"OK")
        self.reader.ask("GET", "k")
        target.close()
        harness.wait_until(
            lambda: b" redir=" in self.writer.ask("CLIENT", "LIST")
            and self.writer.ask("CLIENT", "LIST").count(b"id=") == 2,
            "the target is gone",
        )
        self.writer.ask("SET", "k", 1)
        self.assertEqual(self.reader.push()[0], b"tracking-redir-broken")
        with self.assertRaisesRegex(ResponseError, "does not exist"):
            raise self.wire(3).ask("CLIENT", "TRACKING", "ON", "REDIRECT", 123_456_789)

    def test_flushes_are_told_with_null(self):
        self.track()
        for flush in ("FLUSHALL", "FLUSHDB"):
            self.reader.ask("GET", "k")
            self.writer.ask(flush)
            self.assertEqual(self.reader.push(), [b"invalidate", None])

    def test_expiry_is_told(self):
        self.track()
        self.writer.ask("SET", "k", 1, "PX", 300)
        self.assertEqual(self.reader.ask("GET", "k"), b"1")
        # Only the clock ends the key here: whether by a look at it or by the server's own sweep.
        harness.wait_until(lambda: self.writer.ask("EXISTS", "k") == 0, "the key expires")
        self.assertEqual(self.reader.push(), [b"invalidate", [b"k"]])

    def test_changes_of_every_kind_are_told(self):
        self.track()
        self.writer.ask("SET", "n", 1)
        changes = [
            ("APPEND", "n", "0"), ("INCR", "n"), ("INCRBYFLOAT", "n", "0.5"), ("SETRANGE", "n", 0, "9"),
            ("SETBIT", "n", 1, 1), ("EXPIRE", "n", 100), ("PERSIST", "n"), ("GETEX", "n", "EX", 100),
            ("GETSET", "n", 1), ("RENAME", "n", "m"), ("RENAME", "m", "n"), ("COPY", "n", "c"), ("DEL", "n"),
            ("MSET", "n", 1), ("MOVE", "n", 3), ("HSET", "n", "f", "v"), ("HDEL", "n", "f"),
        ]
        for change in changes:
            with self.subTest(change=change):
                key = b"c" if change[0] == "COPY" else b"n"
                self.reader.ask("EXISTS", key)
                self.reader.ask("TTL", key)
                answer = self.writer.ask(*change)
                self.assertNotIsInstance(answer, Exception)
                self.assertEqual(self.reader.push(), [b"invalidate", [key]])

    def test_what_is_tracked_can_be_asked(self):
        flags, fields = flags_of(self.reader.ask("CLIENT", "TRACKINGINFO"))
        self.assertEqual((flags, fields[b"redirect"], fields[b"prefixes"]), ({"off"}, -1, []))
        self.assertEqual(self.reader.ask("CLIENT", "GETREDIR"), -1)
        self.track("OPTIN", "NOLOOP")
        flags, fields = flags_of(self.reader.ask("CLIENT", "TRACKINGINFO"))
        self.assertEqual((flags, fields[b"redirect"]), ({"on", "optin", "noloop"}, 0))
        self.assertEqual(self.reader.ask("CLIENT", "GETREDIR"), 0)
        self.reader.ask("CLIENT", "CACHING", "YES")
        self.assertIn("caching-yes", flags_of(self.reader.ask("CLIENT", "TRACKINGINFO"))[0])
        self.reader.ask("CLIENT", "TRACKING", "OFF")
        self.track("BCAST", "PREFIX", "a", "PREFIX", "b")
        flags, fields = flags_of(self.reader.ask("CLIENT", "TRACKINGINFO"))
        self.assertEqual((flags, sorted(fields[b"prefixes"])), ({"on", "bcast"}, [b"a", b"b"]))

    def test_wrong_options_are_refused(self):
        self.track("OPTIN")
        for wrong in (
            ("CLIENT", "TRACKING", "ON", "OPTOUT"), ("CLIENT", "TRACKING", "ON", "BCAST"),
            ("CLIENT", "CACHING", "NO"), ("CLIENT", "TRACKING", "MAYBE"),
            ("CLIENT", "TRACKING", "ON", "OPTIN", "OPTOUT"), ("CLIENT", "TRACKING", "ON", "PREFIX", "a"),
        ):
            with self.subTest(wrong=wrong), self.assertRaises(ResponseError):
                raise self.reader.ask(*wrong)
        self.assertEqual(flags_of(self.reader.ask("CLIENT", "TRACKINGINFO"))[0], {"on", "optin"})

    def test_tracking_ends_when_switched_off(self):
        self.track()
        self.reader.ask("GET", "k")
        self.assertEqual(self.reader.ask("CLIENT", "TRACKING", "OFF"), b"OK")
        self.writer.ask("SET", "k", 1)
        self.assertTrue(self.reader.no_push())
        self.track()
        self.reader.ask("GET", "k")
        self.assertEqual(self.reader.ask("RESET"), b"RESET")


if __name__ == "__main__":
    harness.main()
