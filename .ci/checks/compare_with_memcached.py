#!/usr/bin/env python3
"""Sends random requests to larder and to memcached and compares what they answer, byte by byte.

    python3 .ci/checks/compare_with_memcached.py --larder target/debug/larder [--seconds 60] [--seed 1]

Both servers are started here, on free ports of this machine, unless --larder-port and --peer-port name ones
that run. Each round begins with an empty cache and one seed, and sends some dozens of requests of the text and the
meta protocol, right and wrong ones, alone or several at once. Versions (`cas`) are compared by where they came up
first. Without memcached the check says that it was skipped. Only memcached 1.6 is compared with.
"""

import base64
import random
import re
import socket
import sys
import time

from comparison import Peer, free_port, run

KEYS = ["a", "b", "c", "n", "foo"]
BAD_KEYS = ["k" * 250, "k" * 251, "k" * 300, "\x80\xff"]
# No numbers that get shorter by counting, to which memcached adds spaces, and no ends of lines alone, after which it
# reads on when it looks for a number.
VALUES = [b"", b"x", b"hello", b"10", b"1", b"-3", b"18446744073709551616",
          b"9" * 20, b"9" * 21, b"END\r\n", b"a\x00b", b"x" * 300]
NUMBERS = ["0", "1", "5", "10", "99", "-1", "01", "x", "1x", "", "4294967295", "4294967296", "2147483648",
           "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "1.5"]
TIMES = ["0", "0", "0", "100", "1000", "2592000", "-1", "-100", "x", "", "1x", "2592001", "99999999999999999999"]
# What ends the reading of the replies, whatever the requests before it.
SENTINEL = b"\r\nmn\r\n"


class Generator:
    """Makes requests at random, in which `{c}` stands for a version that the server itself named."""

    def __init__(self, rng):
        self.rng = rng
        # A number that is counted from a stale one is stale to memcached only if it is not longer, so a round has
        # either.
        self.counts = rng.random() < 0.5

    def key(self):
        return self.rng.choice(KEYS if self.rng.random() < 0.97 else BAD_KEYS)

    def number(self):
        return self.rng.choice(NUMBERS[:5] if self.rng.random() < 0.7 else NUMBERS)

    def time(self):
        rng = self.rng
        if rng.random() < 0.1:
            return str(int(time.time()) + rng.choice([1000, -1000, 5000000]))
        return rng.choice(TIMES[:6] if rng.random() < 0.8 else TIMES)

    def client_flags(self):
        return self.rng.choice(["0", "0", "5", "4294967295"] if self.rng.random() < 0.9 else ["x", "1x", "-1", ""])

    def version(self):
        # 0 is no version to memcached.
        return "{c}" if self.rng.random() < 0.7 else self.rng.choice(["1", "x"])

    def noreply(self):
        return ["noreply"] if self.rng.random() < 0.12 else []

    def line(self, words, is_right=False, data=None):
        rng = self.rng
        if rng.random() < 0.06 and not is_right:
            if words[0][:1] != "m":
                del words[rng.randrange(1, len(words) + 1):]
            else:
                # Without a key, versions of memcached say different things.
                place = rng.randrange(2, len(words) + 1)
                words.insert(place, rng.choice(["1", "v", "k", "noreply", "Ox", ""]))
        if data is None:
            return " ".join(words).encode("latin-1") + rng.choice([b"\r\n"] * 15 + [b"\n"])
        if rng.random() < 0.03:
            # With what is right otherwise, so that both take the same for data.
            length = rng.choice([len(data) + 1, max(0, len(data) - 1), -1, "x", ""])
            end = rng.choice([b"", b"y\r\n", b"\n", b"\r", b"\n\r\n", b"\r\n"])
            return rng.choice([b"ms a %s\r\n", b"set a 0 0 %s\r\n"]) % str(length).encode() + data + end
        end = b"\r\n"
        return " ".join(words).encode("latin-1") + b"\r\n" + data + end

    def text(self):
        rng = self.rng
        name = rng.choice(["get", "gets", "gat", "gats", "set", "set", "add", "replace", "append", "prepend", "cas",
                           *(["incr", "decr"] if self.counts else []), "touch", "delete", "flush_all", "verbosity", "nosuch"])
        if name in ("get", "gets"):
            # memcached forgets an answer before a request with a key that is too long, so not here.
            return self.line([name] + [rng.choice(KEYS) for _ in range(rng.randint(1, 3))])
        if name in ("gat", "gats"):
            return self.line([name, self.time()] + [rng.choice(KEYS) for _ in range(rng.randint(1, 3))], True)
        if name in ("set", "add", "replace", "append", "prepend", "cas"):
            data = rng.choice(VALUES)
            words = [name, self.key(), self.client_flags(), self.time(), str(len(data))]
            return self.line(words + ([self.version()] if name == "cas" else []) + self.noreply(), data=data)
        if name in ("incr", "decr"):
            return self.line([name, self.key(), self.number() if name == "incr" else "0"] + self.noreply())
        if name == "touch":
            return self.line([name, self.key(), self.time()] + self.noreply())
        if name == "delete":
            return self.line([name, self.key()] + ([self.number()] if rng.random() < 0.1 else []) + self.noreply())
        if name == "flush_all":
            args = [rng.choice(["0", "-1", "x"])] if rng.random() < 0.4 else []
            return self.line([name] + args + self.noreply())
        if name == "verbosity":
            return self.line([name, rng.choice(["0", "1", "x"])] + self.noreply())
        return self.line([name] + ([self.key()] if rng.random() < 0.5 else []))

    def flags(self, letters, key_is_base64):
        """Some of the letters, with the tokens that they want."""
        rng = self.rng
        # Of memcached's, those that change an entry count for what stands behind them, and those of larder for all.
        if self.counts:
            letters = letters.replace("I", "")
        chosen = sorted(rng.sample(letters, rng.randint(0, min(5, len(letters)))), key=lambda it: it not in "NT")
        if "N" in chosen and "T" in chosen:
            chosen.remove("N")
        if key_is_base64:
            chosen.append("b")
        if rng.random() < 0.03:
            chosen.append(rng.choice(letters + "!zZbPL"))
        # When an entry expired that has, memcached says as a number without sign.
        ttl = (lambda: rng.choice(TIMES[:6])) if "t" in chosen else self.time
        make = {"O": lambda: rng.choice(["", "x", "123", "o" * 31]), "N": self.time, "R": self.time,
                "T": ttl, "E": self.number, "C": self.version, "D": self.number, "J": self.number,
                "F": self.client_flags}
        return [letter + (make[letter]() if letter in make else "") for letter in chosen]

    def meta_key(self):
        if self.rng.random() < 0.1:
            # No other keys: memcached remembers in which form a key was given.
            right = base64.b64encode(self.rng.choice(["a b", "\x00\xff", "ü"]).encode()).decode()
            return self.rng.choice([right] * 8 + ["Zm9v=", "!!", "Zg"]), True
        return self.key(), False

    def meta(self):
        rng = self.rng
        name = rng.choice(["mg", "mg", "ms", "ms", "md", "me", "mx"] + (["ma"] if self.counts else []))
        key, is_base64 = self.meta_key()
        if name == "mg":
            return self.line([name, key] + self.flags("cfkOqstvT", is_base64))
        if name == "ms":
            data = rng.choice(VALUES)
            mode = ["M" + rng.choice("EAPRSx")] if rng.random() < 0.4 else []
            # Whether a version is older than another only memcached knows, which counts them.
            flags = self.flags(rng.choice(["cCFkOqT", "cFIkOqT"]), is_base64)
            return self.line([name, key, str(len(data))] + flags + mode, data=data)
        if name == "md":
            return self.line([name, key] + self.flags("CkOqIT", is_base64))
        if name == "ma":
            mode = ["M" + rng.choice("ID+-x")] if rng.random() < 0.4 else []
            # Without `C`, which memcached compares after it has looked for a number, and `T`, which it may give to
            # the entry that it has replaced.
            flags = self.flags("NJDqtcvkO", is_base64)
            if any(flag[0] == "N" for flag in flags):
                # memcached 1.6.18 says that it has made an entry although it is asked not to, and of one that has
                # expired with it how long it lives.
                flags = [flag for flag in flags if flag not in ("q", "t")]
            if mode in (["MD"], ["M-"]):
                flags = [flag for flag in flags if flag[0] != "D"] + ["D0"]
            return self.line([name, key] + flags + mode)
        if name == "mx":
            return self.line([name, key])
        return self.line(["mg", key, "v", "k"])

    def request(self):
        return self.text() if self.rng.random() < 0.45 else self.meta()


class Side:
    """One of the servers."""

    def __init__(self, port):
        self.port = port
        self.socket = None
        self.versions = {}
        self.connect()

    def connect(self):
        if self.socket:
            self.socket.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, request):
        """All that is answered to a request, and whether the connection was closed."""
        self.socket.sendall(request + SENTINEL)
        answer, is_closed, waits = b"", False, 0
        self.socket.settimeout(1)
        while not answer.endswith(b"MN\r\n"):
            try:
                part = self.socket.recv(1 << 20)
                if not part:
                    is_closed = True
                    break
                answer += part
            except ConnectionError:
                is_closed = True
                break
            except TimeoutError:
                # It waits for the rest of some data.
                if waits == 2:
                    is_closed = True
                    break
                waits += 1
                self.socket.sendall(SENTINEL)
        if is_closed:
            self.connect()
        return answer, is_closed


VERSION = re.compile(rb"(?<= c)\d+|(?<=^VALUE )(\S+ \d+ \d+) (\d+)(?=\r$)", re.M)
# What is there after each request.
LOOK = b"".join(b"mg %s v f t u\r\n" % key.encode() for key in KEYS)


def normalized(side, answer):
    """The answer with each version replaced by its number in the order of appearance."""
    def name(found):
        number = found.group(2) or found.group(0)
        if number == b"0":
            return number
        side.versions.setdefault(number, b"#%d" % len(side.versions))
        return (found.group(1) + b" " if found.group(2) else b"") + side.versions[number]
    return VERSION.sub(name, answer)


def is_same(ours, theirs):
    if ours == theirs:
        return True
    # The order of flags.
    theirs = theirs.replace(b" X W", b" W X").replace(b" Z X", b" X Z")
    # memcached takes the data after a wrong line for requests.
    ours, theirs = (re.sub(rb"CLIENT_ERROR.*\r\n", b"CLIENT_ERROR\r\n", it) for it in (ours, theirs))
    ours, theirs = (re.sub(rb"^ERROR\r\n", b"", it, flags=re.M) for it in (ours, theirs))
    if ours == theirs:
        return True
    # Seconds that are left may differ by what a round takes.
    parts = re.split(rb"( t\d+)", ours), re.split(rb"( t\d+)", theirs)
    if len(parts[0]) != len(parts[1]):
        return False
    for a, b in zip(*parts):
        if a != b and not (a[:2] == b[:2] == b" t" and abs(int(a[2:]) - int(b[2:])) <= 5):
            return False
    return True


def run_round(seed, ports, report):
    rng = random.Random(seed)
    generator = Generator(rng)
    sides = [Side(port) for port in ports]
    history = []
    for side in sides:
        side.call(b"flush_all\r\n")
    for _ in range(60):
        requests = [generator.request() for _ in range(1 if rng.random() < 0.8 else rng.randint(2, 6))]
        history.append(requests)
        # Which of the versions that were named so far.
        known = min(len(side.versions) for side in sides)
        index = rng.randrange(known) if known else None
        answers = []
        for side in sides:
            version = list(side.versions)[index] if index is not None else b"1"
            answer, is_closed = side.call(b"".join(requests).replace(b"{c}", version))
            answers.append((normalized(side, answer + side.call(LOOK)[0]), is_closed))
        if not (is_same(answers[0][0], answers[1][0]) and answers[0][1] == answers[1][1]):
            return report(seed, history, "the answers differ", *answers)
    return True


def main():
    peer = Peer("memcached", "-V", " 1.6.", lambda port, _: ["-l", "127.0.0.1", "-p", str(port), "-u", "nobody"])

    def arguments(port, _):
        return ["--port", str(free_port()), "--memcached-port", str(port), "--max-argument", "1mb"]

    return run(__doc__.splitlines()[0], peer, arguments, run_round)


if __name__ == "__main__":
    sys.exit(main())
