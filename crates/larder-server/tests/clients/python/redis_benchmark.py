"""redis-benchmark, for what it does and not for how fast: every request is answered, and the data is there.

usage: redis_benchmark.py HOST:PORT, where nothing else uses the server; redis-benchmark is on the PATH
"""

import csv
import io
import subprocess
import unittest

import redis

import harness

HOST, PORT = harness.address()
REQUESTS = 40_000


def benchmark(*arguments):
    """What redis-benchmark measured: requests in a second by the name of the test."""
    command = ["redis-benchmark", "-h", HOST, "-p", str(PORT), "--csv", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    if done.returncode != 0 or "rror" in done.stdout or "rror" in done.stderr or "WARNING" in done.stderr:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout} {done.stderr}")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    return {row["test"]: float(row["rps"]) for row in rows}


class Benchmark(unittest.TestCase):
    def setUp(self):
        self.r = redis.Redis(host=HOST, port=PORT)
        self.addCleanup(self.r.close)
        self.r.flushall()

    def test_the_usual_tests(self):
        for pipeline in (1, 16):
            measured = benchmark("-t", "ping,set,get,incr,hset,mset", "-n", REQUESTS // 4, "-P", pipeline)
            names = {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"}
            self.assertEqual(set(measured), names)
            self.assertTrue(all(rate > 0 for rate in measured.values()), measured)
        self.assertEqual(self.r.get("key:__rand_int__"), b"VXK")
        self.assertEqual(self.r.get("counter:__rand_int__"), b"%d" % (2 * (REQUESTS // 4)))

    def test_no_increment_of_any_client_is_lost(self):
        benchmark("-t", "incr", "-n", REQUESTS, "-P", 16, "-c", 100, "-r", 50)
        counters = self.r.keys("counter:*")
        self.assertEqual(len(counters), 50)
        self.assertEqual(sum(int(value) for value in self.r.mget(counters)), REQUESTS)

    def test_random_keys_and_large_values(self):
        benchmark("-t", "set", "-n", REQUESTS, "-P", 16, "-c", 50, "-r", 1_000, "-d", 4_096)
        self.assertEqual(self.r.dbsize(), 1_000)
        self.assertEqual(self.r.strlen("key:000000000999"), 4_096)
        before = self.r.info("stats")["keyspace_hits"]
        benchmark("-t", "get", "-n", REQUESTS, "-P", 16, "-c", 50, "-r", 1_000)
        self.assertEqual(self.r.info("stats")["keyspace_hits"] - before, REQUESTS)

    def test_many_clients(self):
        measured = benchmark("-t", "get,set", "-n", REQUESTS, "-c", 500)
        self.assertEqual(set(measured), {"GET", "SET"})
        harness.wait_until(lambda: self.r.info("clients")["connected_clients"] == 1, "all have gone")

    def test_resp3_threads_and_a_command_of_ones_own(self):
        self.assertEqual(set(benchmark("-3", "-t", "get", "-n", REQUESTS // 4, "--threads", 2)), {"GET"})
        benchmark("-n", REQUESTS // 4, "-P", 8, "-r", 100, "SET", "own:__rand_int__", "v", "EX", "100")
        self.assertEqual(len(self.r.keys("own:*")), 100)
        self.assertIn(self.r.ttl("own:000000000001"), range(90, 101))


if __name__ == "__main__":
    harness.main()
