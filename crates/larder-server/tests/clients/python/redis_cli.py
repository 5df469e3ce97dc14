"""redis-cli as people use it: one command, a pipe, an interactive session, scans, subscriptions, in RESP2 and RESP3.

usage: redis_cli.py HOST:PORT, where nothing else uses the server; redis-cli is on the PATH
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unittest

import harness

HOST, PORT = harness.address()
CLI = ["redis-cli", "-h", HOST, "-p", str(PORT)]


def cli(*arguments, given=None, check=True):
    """What redis-cli prints, without the last newline; fails when it fails, unless it may."""
    done = subprocess.run(
        [*CLI, *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=check
    )
    return done.stdout.decode(errors="replace").rstrip("\n")


class Terminal:
    """An interactive session in a terminal of its own."""

    def __init__(self, *arguments):
        self.parent, child = pty.openpty()
        # Without a width, the line editor asks the terminal for it and waits for the answer.
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        environment = os.environ | {"TERM": "xterm", "HOME": "/nonexistent", "REDISCLI_HISTFILE": "/dev/null"}
        self.process = subprocess.Popen(
            [*CLI, *arguments], stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True
        )
        os.close(child)
        self.seen = ""

    def expect(self, pattern):
        """Waits for the pattern in what the terminal shows, and forgets everything up to it."""
        end = time.monotonic() + harness.PATIENCE_S
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found[0]
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} is not in {self.seen!r}")
            if select.select([self.parent], [], [], 0.1)[0]:
                self.read()

    def read(self):
        """Takes what the terminal shows next, without colours and moves of the cursor."""
        text = self.seen + os.read(self.parent, 65536).decode(errors="replace")
        self.seen = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)

    def type(self, text):
        os.write(self.parent, text.encode())

    def answer(self, text, end="\r"):
        """Waits for the prompt, before which what is typed gets lost, and types."""
        self.expect(r"\d+(\[\d+\])?(\(TX\))?> ")
        self.type(text + end)

    def kill(self):
        self.process.kill()
        self.process.wait()
        os.close(self.parent)

    def close(self):
        """Leaves by `quit`; gives the exit code."""
        self.answer("quit")
        try:
            while True:
                self.read()
        except OSError:  # the program has ended and closed its side
            os.close(self.parent)
        return self.process.wait(timeout=harness.PATIENCE_S)


class Cli(unittest.TestCase):
    def setUp(self):
        self.assertEqual(cli("FLUSHALL"), "OK")

    def test_single_commands(self):
        self.assertEqual(cli("PING"), "PONG")
        self.assertEqual(cli("set", "k", "v", "EX", "100"), "OK")
        self.assertEqual(cli("get", "k"), "v")
        self.assertIn(cli("ttl", "k"), ("99", "100"))
        self.assertEqual(cli("get", "none"), "")
        self.assertEqual(cli("--no-raw", "get", "none"), "(nil)")
        self.assertEqual(cli("--no-raw", "incr", "n"), "(integer) 1")
        self.assertEqual(cli("--no-raw", "mget", "k", "none"), '1) "v"\n2) (nil)')
        self.assertRegex(cli("--no-raw", "get"), r"^\(error\) ERR wrong number of arguments for 'get' command")
        self.assertEqual(cli("-n", "4", "set", "k", "four"), "OK")
        self.assertEqual((cli("get", "k"), cli("-n", "4", "get", "k")), ("v", "four"))
        self.assertEqual(cli("-x", "set", "piped", given=b"a\0b"), "OK")
        self.assertEqual(cli("strlen", "piped"), "3")

    def test_resp3(self):
        cli("hset", "h", "f", "v")
        self.assertEqual(cli("-3", "--no-raw", "hgetall", "h"), '1# "f" => "v"')
        self.assertEqual(cli("-2", "--no-raw", "hgetall", "h"), '1) "f"\n2) "v"')
        self.assertEqual(cli("-3", "--no-raw", "get", "none"), "(nil)")
        self.assertIn('"proto" => (integer) 3', cli("-3", "--no-raw", "hello"))
        self.assertIn('"k" => ', cli("-3", "--no-raw", "config", "get", "maxmemory").replace("maxmemory", "k"))

    def test_commands_from_a_pipe(self):
        lines = "".join(f"set k{n} {n}\nget k{n}\n" for n in range(500))
        said = cli(given=lines.encode()).split()
        self.assertEqual(said[0::2], ["OK"] * 500)
        self.assertEqual(said[1::2], [str(n) for n in range(500)])

    def test_mass_insertion(self):
        def encode(*words):
            return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

        commands = b"".join(encode(b"SET", b"bulk:%d" % n, b"%d" % n) for n in range(20_000))
        # The last command is wrong, which the program counts and ends with a code of its own.
        said = cli("--pipe", given=commands + encode(b"GET"), check=False)
        self.assertIn("errors: 1, replies: 20001", said)
        self.assertEqual(cli("dbsize"), "20000")
        self.assertEqual(cli("get", "bulk:19999"), "19999")

    def test_scans(self):
        cli("mset", *(word for n in range(1_000) for word in (f"key:{n}", str(n))))
        cli("hset", "hash", "f", "v")
        self.assertEqual(sorted(cli("--scan").split()), sorted(["hash", *(f"key:{n}" for n in range(1_000))]))
        self.assertEqual(sorted(cli("--scan", "--pattern", "key:99?").split()), [f"key:99{n}" for n in range(10)])
        self.assertEqual(cli("--scan", "--pattern", "none*"), "")

    def test_big_keys(self):
        cli("mset", "small", "x", "big", "y" * 5_000)
        cli("hset", "hash", "a", "1", "b", "2")
        said = cli("--bigkeys")
        self.assertRegex(said, r'Biggest string found [\'"]+big[\'"]+ has 5000 bytes')
        self.assertRegex(said, r'Biggest +hash found [\'"]+hash[\'"]+ has 2 fields')
        self.assertIn("Sampled 3 keys in the keyspace", said)
        said = cli("--memkeys")
        self.assertRegex(said, r'Biggest string found [\'"]+big[\'"]+ has \d{4,} bytes')

    def test_latency_and_statistics(self):
        self.assertRegex(cli("--raw", "-r", "3", "-i", "0.01", "ping"), r"^PONG\nPONG\nPONG$")
        said = cli("--latency", "--raw", "-i", "0.3")
        self.assertRegex(said, r"^\d+ \d+ \d+\.\d+ \d+")
        terminal = Terminal("--stat", "-i", "0.1")
        terminal.expect(r"keys +mem +clients +blocked +requests +connections")
        for _ in range(3):
            terminal.expect(r"\n\d+ +[\d.]+[BKMG] +\d+ +0 +\d+ \(\+\d+\)")
        terminal.kill()

    def test_info_has_the_sections_that_people_look_for(self):
        said = cli("info")
        for section in ("Server", "Clients", "Memory", "Stats", "Keyspace"):
            self.assertIn(f"# {section}", said)
        self.assertNotIn("# Server", cli("info", "memory"))

    def test_interactive_session(self):
        terminal = Terminal()
        # Hints come from COMMAND DOCS: the arguments of a command show as soon as its name is there.
        terminal.answer("set ", end="")
        terminal.expect(r"key.* value")
        terminal.type("k 'two words'\r")
        terminal.expect(r"OK")
        terminal.answer("get k")
        terminal.expect(r'"two words"')
        terminal.answer("select 3")
        terminal.expect(rf"{PORT}\[3\]> ")
        terminal.type("multi\r")
        terminal.expect(rf"{PORT}\[3\]\(TX\)> ")
        terminal.type("incr n\r")
        terminal.expect(r"QUEUED")
        terminal.answer("exec")
        terminal.expect(r"1\) \(integer\) 1")
        terminal.answer("help get")
        terminal.expect(r"GET key\s")
        terminal.expect(r"summary: \w")
        terminal.answer("nosuch")
        terminal.expect(r"\(error\) ERR unknown command")
        self.assertEqual(terminal.close(), 0)

    def test_interactive_resp3_shows_pushes(self):
        terminal = Terminal("-3")
        terminal.answer("client tracking on")
        terminal.expect(r"OK")
        terminal.answer("get k")
        terminal.expect(r"\(nil\)")
        cli("set", "k", "1")
        # The push is shown with the next reply after it arrives.
        for _ in range(1_000):
            terminal.answer("ping")
            if "invalidate" in terminal.expect(r"(?s).*PONG"):
                break
        else:
            self.fail("no push is shown")
        self.assertEqual(terminal.close(), 0)

    def test_interactive_subscription(self):
        terminal = Terminal()
        terminal.answer("subscribe news")
        terminal.expect(r'"subscribe"')
        harness.wait_until(lambda: cli("publish", "news", "hello") == "1", "there is a subscriber")
        terminal.expect(r'"message"\s+2\) "news"\s+3\) "hello"')
        terminal.kill()
        harness.wait_until(lambda: cli("publish", "news", "hello") == "0", "the subscriber is gone")

    def test_scripts(self):
        source = "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
        cli("set", "lock", "token")
        self.assertEqual(cli("eval", source, "1", "lock", "other"), "0")
        self.assertEqual(cli("eval", source, "1", "lock", "token"), "1")


if __name__ == "__main__":
    harness.main()
