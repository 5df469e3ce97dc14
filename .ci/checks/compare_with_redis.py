#!/usr/bin/env python3
"""Sends random commands to larder and to redis-server and compares what they answer.

    python3 .ci/checks/compare_with_redis.py --larder target/debug/larder [--seconds 60] [--seed 1]

Both servers are started here, on free ports of this machine, unless --larder-port and --peer-port name ones
that run. Each round begins with empty databases and one seed, chooses a version of the protocol, and sends
some dozens of commands one by one. Compared are the replies with their types, the keyspace events of each
command, and the invalidations that a second client gets which has read the keys before. Without redis-server the
check says that it was skipped. Only redis-server 7.0 is compared with; others word their errors differently.
"""

import random
import socket
import sys
import time

from comparison import Peer, run

KEYS = ["a", "b", "c", "h", "k:1", "n"]
FIELDS = ["f", "g", "", "10"]
TEXTS = ["", "x", "hello", "10", "-3", "3.5", "0", "9223372036854775807", "-9223372036854775808", "1e3", "007",
         " 1", "1 ", "abcabc", "\x00\xff", "nan", "inf", "0x10", "1e400", "x" * 70]
NUMBERS = ["0", "1", "-1", "2", "-2", "5", "7", "-100", "100", "2147483648", "4294967295", "4294967296",
           "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1.5", "x", "", "+1", "01", "-0"]
FLOATS = ["1", "-1.5", "0.1", "3.0e2", "1e400", "nan", "inf", "-inf", "0x1p3", "", "x", "1e-20", "5e-324",
          "179769313486231570000", ".5", "5.", " 1", "1 ", "1e308", "+3", "0", "-0"]
# Long enough that none passes while a round runs, or over already.
TIMES = ["1000", "5000", "100000", "2000000", "0", "-1", "-100000", "9223372036854775807", "-9223372036854775808",
         "9223372036854775", "x", "1.5", ""]
OPTIONS = ["NX", "XX", "GT", "LT", "GET", "KEEPTTL", "PERSIST", "BYTE", "BIT", "REPLACE", "MATCH", "COUNT", "TYPE",
           "IDX", "LEN", "WITHMATCHLEN", "string", "hash", "ex", "px", "nonsense", "DB"]
SUBSCRIPTIONS = ["subscribe", "psubscribe", "unsubscribe", "punsubscribe"]
PATTERNS = ["*", "?", "k:*", "[a-c]", "[^a]", "h", "\\a", "[", "*:*", "k:[0-9]", "a*b", ""]


def text(rng):
    return rng.choice(TEXTS)


class Generator:
    """Makes commands at random."""

    def __init__(self, rng):
        self.rng = rng

    def key(self):
        return self.rng.choice(KEYS)

    def number(self):
        rng = self.rng
        return str(rng.randrange(-10, 20)) if rng.random() < 0.7 else rng.choice(NUMBERS)

    def offset(self):
        # Never so much that a string of hundreds of megabytes is made.
        value = self.number()
        return value if value not in ("2147483648", "4294967295") else "4294967296"

    def float(self):
        return self.rng.choice(FLOATS)

    def time(self, unit, passed=True):
        rng = self.rng
        if unit in ("EXAT", "PXAT") and (rng.random() < 0.7 or not passed):
            now = int(time.time()) + rng.choice([1000, 50000, -50000] if passed else [1000, 50000])
            return str(now if unit == "EXAT" else now * 1000)
        return rng.choice(TIMES[:4] if rng.random() < 0.6 else TIMES)

    def lifetime(self, passed=True):
        unit = self.rng.choice(["EX", "PX", "EXAT", "PXAT"])
        # By SET, redis-server stores a value whose time has passed, and larder does not.
        value = self.time(unit, passed)
        # Milliseconds of a round must not pass within it.
        if unit == "PX" and value == "1000":
            value = "1000000"
        return [unit, value]

    def some(self, make, least=1, most=3):
        return [item for _ in range(self.rng.randint(least, most)) for item in make()]

    def command(self):
        """One command, which is sometimes wrong."""
        rng = self.rng
        name = rng.choice(list(COMMANDS))
        args = COMMANDS[name](self)
        if rng.random() < 0.06:
            what = rng.random()
            if what < 0.4 and args:
                args.pop(rng.randrange(len(args)))
            elif what < 0.8:
                args.insert(rng.randrange(len(args) + 1), rng.choice(OPTIONS + TEXTS[:12]))
            elif args:
                args[rng.randrange(len(args))] = rng.choice(OPTIONS + NUMBERS)
        words = name.split("|")
        if rng.random() < 0.1:
            words = [word.lower() for word in words]
        return words + args


def maybe(g, chance, args):
    return args() if g.rng.random() < chance else []


def one_of(g, *choices):
    return [g.rng.choice(choices)]


COMMANDS = {
    "GET": lambda g: [g.key()],
    "SET": lambda g: [g.key(), text(g.rng)]
    + maybe(g, 0.3, lambda: g.lifetime(passed=False))
    + maybe(g, 0.2, lambda: one_of(g, "NX", "XX"))
    + maybe(g, 0.2, lambda: ["GET"])
    + maybe(g, 0.15, lambda: ["KEEPTTL"]),
    "SETNX": lambda g: [g.key(), text(g.rng)],
    "SETEX": lambda g: [g.key(), g.time("EX"), text(g.rng)],
    "PSETEX": lambda g: [g.key(), g.time("EX") + "000", text(g.rng)],
    "GETSET": lambda g: [g.key(), text(g.rng)],
    "GETDEL": lambda g: [g.key()],
    "GETEX": lambda g: [g.key()] + maybe(g, 0.6, lambda: g.lifetime() if g.rng.random() < 0.7 else ["PERSIST"]),
    "APPEND": lambda g: [g.key(), text(g.rng)],
    "STRLEN": lambda g: [g.key()],
    "GETRANGE": lambda g: [g.key(), g.number(), g.number()],
    "SUBSTR": lambda g: [g.key(), g.number(), g.number()],
    "SETRANGE": lambda g: [g.key(), g.offset(), text(g.rng)],
    "MGET": lambda g: g.some(lambda: [g.key()]),
    "MSET": lambda g: g.some(lambda: [g.key(), text(g.rng)]),
    "MSETNX": lambda g: g.some(lambda: [g.key(), text(g.rng)]),
    "INCR": lambda g: [g.key()],
    "DECR": lambda g: [g.key()],
    "INCRBY": lambda g: [g.key(), g.number()],
    "DECRBY": lambda g: [g.key(), g.number()],
    "INCRBYFLOAT": lambda g: [g.key(), g.float()],
    "SETBIT": lambda g: [g.key(), g.offset(), g.rng.choice(["0", "1", "1", "2", "x"])],
    "GETBIT": lambda g: [g.key(), g.number()],
    "BITCOUNT": lambda g: [g.key()]
    + maybe(g, 0.6, lambda: [g.number(), g.number()] + maybe(g, 0.5, lambda: one_of(g, "BIT", "BYTE"))),
    "BITPOS": lambda g: [g.key(), g.rng.choice(["0", "1", "2"])]
    + maybe(g, 0.6, lambda: [g.number()]
            + maybe(g, 0.6, lambda: [g.number()] + maybe(g, 0.5, lambda: one_of(g, "BIT", "BYTE")))),
    "LCS": lambda g: [g.key(), g.key()]
    + maybe(g, 0.3, lambda: ["LEN"])
    + maybe(g, 0.4, lambda: ["IDX"])
    + maybe(g, 0.3, lambda: ["WITHMATCHLEN"])
    + maybe(g, 0.3, lambda: ["MINMATCHLEN", g.number()]),
    "DEL": lambda g: g.some(lambda: [g.key()]),
    "UNLINK": lambda g: g.some(lambda: [g.key()]),
    "EXISTS": lambda g: g.some(lambda: [g.key()]),
    "TOUCH": lambda g: g.some(lambda: [g.key()]),
    "TYPE": lambda g: [g.key()],
    "RENAME": lambda g: [g.key(), g.key()],
    "RENAMENX": lambda g: [g.key(), g.key()],
    "COPY": lambda g: [g.key(), g.key()]
    + maybe(g, 0.3, lambda: ["DB", g.rng.choice(["0", "1", "99", "x"])])
    + maybe(g, 0.4, lambda: ["REPLACE"]),
    "MOVE": lambda g: [g.key(), g.rng.choice(["0", "1", "2", "99", "x"])],
    "SWAPDB": lambda g: [g.rng.choice(["0", "1", "2", "99", "x"]), g.rng.choice(["0", "1", "-1"])],
    "SELECT": lambda g: [g.rng.choice(["0", "0", "0", "1", "16", "-1", "x"])],
    "DBSIZE": lambda g: [],
    "FLUSHDB": lambda g: maybe(g, 0.3, lambda: one_of(g, "ASYNC", "SYNC", "x")),
    "FLUSHALL": lambda g: maybe(g, 0.3, lambda: one_of(g, "ASYNC", "SYNC", "x")),
    "KEYS": lambda g: one_of(g, *PATTERNS),
    "SCAN": lambda g: ["0", "COUNT", "1000"]
    + maybe(g, 0.4, lambda: ["MATCH"] + one_of(g, *PATTERNS))
    + maybe(g, 0.3, lambda: ["TYPE"] + one_of(g, "string", "hash", "STRING", "list", "x")),
    "EXPIRE": lambda g: [g.key(), g.time("EX")] + maybe(g, 0.5, lambda: one_of(g, "NX", "XX", "GT", "LT")),
    "PEXPIRE": lambda g: [g.key(), g.rng.choice(["1000000", "5000000", "0", "-1", "x", "9223372036854775807"])]
    + maybe(g, 0.5, lambda: one_of(g, "NX", "XX", "GT", "LT")),
    "EXPIREAT": lambda g: [g.key(), g.time("EXAT")]
    + maybe(g, 0.5, lambda: g.some(lambda: one_of(g, "NX", "XX", "GT", "LT"), 1, 2)),
    "PEXPIREAT": lambda g: [g.key(), g.time("PXAT")] + maybe(g, 0.5, lambda: one_of(g, "NX", "XX", "GT", "LT")),
    "TTL": lambda g: [g.key()],
    "PTTL": lambda g: [g.key()],
    "EXPIRETIME": lambda g: [g.key()],
    "PEXPIRETIME": lambda g: [g.key()],
    "PERSIST": lambda g: [g.key()],
    "HSET": lambda g: [g.key()] + g.some(lambda: [g.rng.choice(FIELDS), text(g.rng)]),
    "HMSET": lambda g: [g.key()] + g.some(lambda: [g.rng.choice(FIELDS), text(g.rng)]),
    "HSETNX": lambda g: [g.key(), g.rng.choice(FIELDS), text(g.rng)],
    "HGET": lambda g: [g.key(), g.rng.choice(FIELDS)],
    "HMGET": lambda g: [g.key()] + g.some(lambda: [g.rng.choice(FIELDS)]),
    "HGETALL": lambda g: [g.key()],
    "HKEYS": lambda g: [g.key()],
    "HVALS": lambda g: [g.key()],
    "HDEL": lambda g: [g.key()] + g.some(lambda: [g.rng.choice(FIELDS)]),
    "HEXISTS": lambda g: [g.key(), g.rng.choice(FIELDS)],
    "HLEN": lambda g: [g.key()],
    "HSTRLEN": lambda g: [g.key(), g.rng.choice(FIELDS)],
    "HINCRBY": lambda g: [g.key(), g.rng.choice(FIELDS), g.number()],
    "HINCRBYFLOAT": lambda g: [g.key(), g.rng.choice(FIELDS), g.float()],
    "HSCAN": lambda g: [g.key(), "0"] + maybe(g, 0.3, lambda: ["MATCH"] + one_of(g, *PATTERNS)),
    "MULTI": lambda g: [],
    "EXEC": lambda g: [],
    "DISCARD": lambda g: [],
    "WATCH": lambda g: g.some(lambda: [g.key()]),
    "UNWATCH": lambda g: [],
    "ECHO": lambda g: [text(g.rng)],
    "PING": lambda g: maybe(g, 0.5, lambda: [text(g.rng)]),
    "HELLO": lambda g: maybe(g, 0.7, lambda: one_of(g, "1", "4", "x")),
    "CLIENT|GETNAME": lambda g: [],
    "CLIENT|SETNAME": lambda g: one_of(g, "name", "a b", "", "other", "n\n"),
    "CLIENT|GETREDIR": lambda g: [],
    "CLIENT|TRACKINGINFO": lambda g: [],
    "CLIENT|TRACKING": lambda g: one_of(g, "ON", "OFF", "x")
    + g.some(lambda: one_of(g, "BCAST", "OPTIN", "OPTOUT", "NOLOOP"), 0, 2)
    + maybe(g, 0.3, lambda: ["PREFIX"] + one_of(g, "a", "ab", "k:", "")),
    "CLIENT|CACHING": lambda g: one_of(g, "YES", "NO", "x"),
    "CLIENT|NO-EVICT": lambda g: one_of(g, "ON", "OFF", "x"),
    "SUBSCRIBE": lambda g: g.some(lambda: one_of(g, "ch", "other")),
    "PSUBSCRIBE": lambda g: g.some(lambda: one_of(g, "c*", "*")),
    "UNSUBSCRIBE": lambda g: g.some(lambda: one_of(g, "ch", "other"), 1, 2),
    "PUNSUBSCRIBE": lambda g: g.some(lambda: one_of(g, "c*", "*"), 1, 2),
    "PUBSUB|NUMSUB": lambda g: g.some(lambda: one_of(g, "ch", "other")),
    "PUBSUB|NUMPAT": lambda g: [],
    "PUBSUB|CHANNELS": lambda g: maybe(g, 0.5, lambda: one_of(g, "c*", "x")),
    "RESET": lambda g: [],
    "NOSUCH": lambda g: g.some(lambda: one_of(g, "x", "hello", "", "x" * 70), 0, 3),
    "EVAL": lambda g: one_of(g, "return 1", "return redis.call('get',KEYS[1])", "return {1,'a',{ok='x'},false}",
                             "return redis.pcall('incr',KEYS[1])", "return redis.call('nosuch')",
                             "redis.call('set',KEYS[1],ARGV[1])", "return redis.call('hgetall',KEYS[1])",
                             "return 3.7", "return redis.error_reply('MY err')", "return", "error('x')",
                             "return redis.call('set',KEYS[1])", "return tostring(redis.call('get','none'))")
    + ["1", g.key(), text(g.rng)],
    "EVALSHA": lambda g: ["0" * 40, "0"],
    "SCRIPT|EXISTS": lambda g: ["0" * 40],
}

# Commands whose replies have no order.
UNORDERED = {"keys", "hgetall", "hkeys", "hvals", "pubsub"}
# Times that are off by what passes between two servers.
ABOUT = {"ttl": 1, "expiretime": 1, "pttl": 1500, "pexpiretime": 1500}


class Failure(Exception):
    pass


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)
        self.file = self.socket.makefile("rb")
        self.pushes = []

    def send(self, command):
        words = [word.encode("latin-1") if isinstance(word, str) else word for word in command]
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def read(self):
        """The next value, with its type in front where that is not clear."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Failure("the connection was closed")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:,#(":
            return (kind.decode(), rest)
        if kind in b"$=!":
            length = int(rest)
            if length < 0:
                return ("null",)
            value = self.file.read(length + 2)[:-2]
            return (kind.decode(), value)
        if kind in b"*~>":
            length = int(rest)
            if length < 0:
                return ("null array",)
            members = []
            while len(members) < length:
                member = self.read()
                # redis-server puts messages into the reply of EXEC, without counting them.
                if not self.keep_message(member):
                    members.append(member)
            return (kind.decode(), members)
        if kind == b"%":
            return ("%", [(self.read(), self.read()) for _ in range(int(rest))])
        if kind == b"_":
            return ("null",)
        raise Failure(f"a reply begins with {line!r}")

    def call(self, command, replies=1):
        self.send(command)
        return self.replies(replies)

    def replies(self, replies):
        """So many replies. Messages that come before them are kept."""
        answers = []
        while len(answers) < replies:
            value = self.read()
            if not self.keep_message(value):
                answers.append(value)
        return answers

    def keep_message(self, value):
        """Keeps a value that is a message, and says whether it is one."""
        is_message = value[0] == ">" and value[1][0][1] in (b"invalidate", b"message", b"pmessage", b"smessage")
        if is_message:
            self.pushes.append(value)
        return is_message

    def settle(self):
        """What others have sent so far. It may come after a reply, but not after the one that follows."""
        for _ in range(2):
            self.call(["PING"])
        pushes, self.pushes = self.pushes, []
        return pushes

    def close(self):
        self.socket.close()


def replies_of(command, state):
    """How many replies a command has, when it is sent by a client that is not within MULTI."""
    name = command[0].lower()
    return len(command) - 1 if name in SUBSCRIPTIONS and not state["multi"] else 1


def normalized(command, reply):
    name = command[0].lower()
    if reply[0] == "-":
        return reply
    if name in UNORDERED and isinstance(reply[-1], list):
        if name == "hgetall" and reply[0] == "*":
            values = reply[1]
            return ("*", sorted(map(repr, zip(values[::2], values[1::2]))))
        return (reply[0], sorted(map(repr, reply[1])))
    if name in ("scan", "hscan") and reply[0] == "*":
        cursor, found = reply[1]
        return (cursor, sorted(map(repr, found[1])))
    if name == "hello" and reply[0] in "*%":
        return "hello"
    if name == "client" and reply[0] == "%":
        return repr(sorted(map(repr, reply[1])))
    return reply


def is_same(command, ours, theirs):
    name = command[0].lower()
    if name in ABOUT and ours[0] == theirs[0] == ":":
        a, b = int(ours[1]), int(theirs[1])
        return a == b or (a > 0 and b > 0 and abs(a - b) <= ABOUT[name])
    return normalized(command, ours) == normalized(command, theirs)


def is_by_design(command, ours, theirs, state):
    """Whether a difference is one by design."""
    name = command[0].lower()
    if name == "exec" and ours[0] == theirs[0] == "*" and len(ours[1]) == len(theirs[1]) == len(state["queued"]):
        # Compared member by member, each with its own command.
        members = zip(state["queued"], ours[1], theirs[1])
        return all(is_same(queued, a, b) or is_by_design(queued, a, b, state) for queued, a, b in members)
    if name in ("ttl", "pttl", "expiretime", "pexpiretime") and ours[0] == theirs[0] == ":":
        # larder's lifetimes are at most 500 years.
        return int(ours[1]) > 10**10 and int(theirs[1]) > 10**10
    # redis-server reads cursors and numbers of databases as C does, with other limits.
    if name in ("scan", "hscan") and ours == ("-", b"ERR invalid cursor"):
        return True
    if name in ("swapdb", "select", "move", "copy") and ours[0] == theirs[0] == "-":
        return b"DB index" in ours[1] or b"DB index" in theirs[1]
    # Both are right: redis-server looks at the key first, larder at the options.
    if name == "hscan" and ours == ("-", b"ERR syntax error") and theirs[1].startswith(b"WRONGTYPE"):
        return True
    return (name == "pubsub" and ours[0] == theirs[0] == "-"
            and b"wrong number of arguments" in theirs[1])


class Pair:
    """The same on both servers."""

    def __init__(self, ports):
        self.members = [Connection(port) for port in ports]

    def call(self, command, replies=1):
        for member in self.members:
            member.send(command)
        return [member.replies(replies) for member in self.members]

    def settle(self):
        return [member.settle() for member in self.members]

    def close(self):
        for member in self.members:
            member.close()


def run_round(seed, ports, report):
    rng = random.Random(seed)
    generator = Generator(rng)
    main, events, cache = Pair(ports), Pair(ports), Pair(ports)
    history = []
    try:
        main.call(["FLUSHALL"])
        main.call(["CONFIG", "SET", "notify-keyspace-events", "KEA"])
        for pair in (events, cache):
            pair.call(["HELLO", "3"])
        events.call(["PSUBSCRIBE", "__key*__:*"])
        cache.call(["CLIENT", "TRACKING", "ON"])
        if rng.random() < 0.5:
            main.call(["HELLO", "3"])
            history.append(["HELLO", "3"])
        is_resp3 = bool(history)
        for key in KEYS:
            if rng.random() < 0.5:
                first = ["SET", key, text(rng)] if rng.random() < 0.7 else ["HSET", key, "f", text(rng), "g", "1"]
                history.append(first)
                main.call(first)
        state = {"multi": False, "queued": []}
        events.settle()
        for _ in range(40):
            command = generator.command()
            name = command[0].lower()
            if name in SUBSCRIPTIONS:
                # A reply for each topic, of which EXEC counts only the first; without topics, one for each that the
                # client has. Whoever reads one too few takes a reply for that of the next command.
                if not is_resp3 or len(command) == 1:
                    continue
                if state["multi"]:
                    command = command[:2]
            if name == "quit":
                continue
            if name == "reset" and (is_resp3 or state["multi"]):
                continue
            if name == "hello" and len(command) > 1 and command[1] in ("2", "3"):
                continue
            if name == "client" and is_resp3 is False and "tracking" in command[1].lower():
                # Without RESP3 there is nowhere to send the invalidations.
                continue
            for key in KEYS:
                cache.call(["GET", key])
            cache.settle()
            history.append(command)
            ours, theirs = main.call(command, replies_of(command, state))
            for a, b in zip(ours, theirs):
                if is_same(command, a, b):
                    continue
                if not is_by_design(command, a, b, state):
                    return report(seed, history, "the replies differ", a, b)
            sent = [[tuple(part[1] for part in push[1]) for push in pushes] for pushes in events.settle()]
            if sent[0] != sent[1]:
                return report(seed, history, "the keyspace events differ", *sent)
            told = cache.settle()
            def keys_of(pushes):
                return sorted({repr(push[1][1][1]) if len(push[1][1]) > 1 else "all" for push in pushes})

            # A flush tells all; so it does not matter what is told besides.
            queued = state["queued"] if name == "exec" else []
            if name == "swapdb" or any(command[0].lower() == "swapdb" for command in queued):
                # larder tells that all keys have changed, redis-server nothing.
                told = [[], []]
            told = [["all"] if "'all'" in repr(keys_of(t)) else keys_of(t) for t in told]
            if told[0] != told[1]:
                return report(seed, history, "the invalidations differ", *told)
            reply = theirs[0]
            if name == "multi" and reply == ("+", b"OK"):
                state.update(multi=True, queued=[])
            elif name == "exec" or name in ("discard", "reset") and reply[0] == "+":
                state.update(multi=False, queued=[])
            elif state["multi"] and reply == ("+", b"QUEUED"):
                state["queued"].append(command)
    except (Failure, OSError) as failure:
        return report(seed, history, f"failed: {failure!r}", None, None)
    finally:
        for pair in (main, events, cache):
            pair.close()
    return True


def main():
    peer = Peer("redis-server", "--version", "v=7.0.",
                lambda port, folder: ["--port", str(port), "--save", "", "--dir", folder])
    return run(__doc__.splitlines()[0], peer, lambda port, _: ["--port", str(port)], run_round)


if __name__ == "__main__":
    sys.exit(main())
