"""redis-py's Lock, which runs three Lua scripts by their digests.

usage: redis_py_lock.py HOST:PORT, where nothing else uses the server
"""

import threading
import time
import unittest

import redis
from redis.exceptions import LockError, LockNotOwnedError

import harness

HOST, PORT = harness.address()


class Locks(unittest.TestCase):
    def setUp(self):
        self.r = redis.Redis(host=HOST, port=PORT)
        self.addCleanup(self.r.close)
        self.r.flushall()
        # Each test finds a server that knows no script yet, so the client has to load them.
        self.r.script_flush()

    def test_one_holder_at_a_time(self):
        first, second = self.r.lock("l", timeout=30), self.r.lock("l", timeout=30)
        self.assertTrue(first.acquire(blocking=False))
        self.assertEqual(self.r.get("l"), first.local.token)
        self.assertFalse(second.acquire(blocking=False))
        self.assertTrue(first.locked() and first.owned())
        self.assertFalse(second.owned())
        first.release()
        self.assertEqual(self.r.exists("l"), 0)
        self.assertTrue(second.acquire(blocking=False))
        second.release()

    def test_release_by_another_holder_is_refused(self):
        lock = self.r.lock("l", timeout=30)
        lock.acquire(blocking=False)
        self.r.set("l", "stolen")
        with self.assertRaises(LockNotOwnedError):
            lock.release()
        self.assertEqual(self.r.get("l"), b"stolen")
        with self.assertRaises(LockError):
            self.r.lock("other").release()

    def test_extend_adds_to_the_lifetime_or_replaces_it(self):
        lock = self.r.lock("l", timeout=10)
        lock.acquire(blocking=False)
        self.assertTrue(9_000 < self.r.pttl("l") <= 10_000)
        self.assertTrue(lock.extend(10))
        self.assertTrue(18_000 < self.r.pttl("l") <= 20_000)
        self.assertTrue(lock.extend(10, replace_ttl=True))
        self.assertTrue(9_000 < self.r.pttl("l") <= 10_000)
        self.assertTrue(lock.extend(0.5))
        self.assertTrue(9_000 < self.r.pttl("l") <= 10_500)
        self.r.set("l", "stolen", px=5_000)
        with self.assertRaises(LockNotOwnedError):
            lock.extend(100)
        self.assertLessEqual(self.r.pttl("l"), 5_000)
        # A lock that never expires cannot be extended.
        self.r.set("l", lock.local.token)
        with self.assertRaises(LockNotOwnedError):
            lock.extend(10)

    def test_reacquire_resets_the_lifetime(self):
        lock = self.r.lock("l", timeout=10)
        lock.acquire(blocking=False)
        self.r.pexpire("l", 5_000)
        self.assertTrue(lock.reacquire())
        self.assertTrue(9_000 < self.r.pttl("l") <= 10_000)
        self.r.delete("l")
        with self.assertRaises(LockNotOwnedError):
            lock.reacquire()

    def test_a_lock_expires(self):
        lock = self.r.lock("l", timeout=0.05)
        lock.acquire(blocking=False)
        second = self.r.lock("l", timeout=30, sleep=0.01)
        self.assertTrue(second.acquire(blocking_timeout=harness.PATIENCE_S))
        with self.assertRaises(LockNotOwnedError):
            lock.release()
        self.assertTrue(second.owned())

    def test_waiting_has_an_end(self):
        held = self.r.lock("l", timeout=30)
        held.acquire(blocking=False)
        begin = time.monotonic()
        self.assertFalse(self.r.lock("l", sleep=0.01).acquire(blocking_timeout=0.1))
        self.assertGreater(time.monotonic() - begin, 0.08)

    def test_scripts_are_loaded_again_after_a_flush(self):
        lock = self.r.lock("l", timeout=30)
        lock.acquire(blocking=False)
        self.assertTrue(lock.extend(1))
        self.r.script_flush()
        self.assertTrue(lock.extend(1))
        self.r.script_flush()
        lock.release()
        self.assertEqual(self.r.exists("l"), 0)

    def test_threads_exclude_each_other(self):
        inside, most, rounds = [], [], 25

        def work():
            client = redis.Redis(host=HOST, port=PORT)
            for _ in range(rounds):
                with client.lock("l", timeout=30, sleep=0.001):
                    inside.append(1)
                    most.append(len(inside))
                    count = int(client.get("n") or 0)
                    client.set("n", count + 1)
                    inside.pop()
            client.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(int(self.r.get("n")), 4 * rounds)
        self.assertEqual((len(most), max(most)), (4 * rounds, 1))


if __name__ == "__main__":
    harness.main()
