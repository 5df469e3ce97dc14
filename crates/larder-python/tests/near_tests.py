"""`larder.django.LarderNearCache`, by Django's own tests and by tests of what it promises.

`run_django_tests.py` runs them. The server is `redis-server`, or the one that `LARDER_REDIS_URL` names, for instance
larder's own; without either, Django's local-memory backend stands for it.
"""

import asyncio
import atexit
import importlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import threading

from cache.tests import BaseCacheTests, caches_setting_for_tests
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.template import Context, Template
from django.test import SimpleTestCase, TestCase, override_settings

from larder.django import LarderNearCache

LOCAL = "django.core.cache.backends.locmem.LocMemCache"


def start_redis():
    """The address of a server, or None."""
    if "LARDER_REDIS_URL" in os.environ:
        return os.environ["LARDER_REDIS_URL"]
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    try:
        import redis
    except ImportError:
        return None
    if program is None:
        return None
    folder = tempfile.mkdtemp(prefix="larder-")
    path = os.path.join(folder, "redis.sock")
    # It listens on a socket in a folder of its own, and on no port.
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    atexit.register(lambda: (server.terminate(), server.wait(), shutil.rmtree(folder)))
    client, pause = redis.Redis(unix_socket_path=path), threading.Event()
    for _ in range(600):
        try:
            client.ping()
            return f"unix://{path}"
        except redis.ConnectionError:
            # Until the server answers.
            pause.wait(0.05)
    raise RuntimeError("redis-server does not answer")


URL = start_redis()


def near_settings(**options):
    where = {"OPTIONS": {"BACKEND": LOCAL}} if URL is None else {"LOCATION": URL, "OPTIONS": {}}
    settings = caches_setting_for_tests(BACKEND="larder.django.LarderNearCache", **where)
    for alias in settings.values():
        # Those of Django's tests are for backends that bound the number of entries.
        alias["OPTIONS"] = {**where["OPTIONS"], **options}
    return settings


@override_settings(CACHES=near_settings(MAX_STALE=600))
class NearCacheTests(BaseCacheTests, TestCase):
    """All of Django's tests that every backend has to pass."""

    # A server bounds memory and not the number of entries, so Django leaves these out for Redis, too.
    test_cull = test_zero_cull = test_cull_delete_when_store_empty = None
    if URL is not None:
        # The server counts, and says by an error of its own that a value is no number.
        @property
        def incr_decr_type_error(self):
            return importlib.import_module("redis").ResponseError

    def tearDown(self):
        caches["default"].clear()
        super().tearDown()

    def test_sessions(self):
        from django.contrib.sessions.backends.cache import SessionStore

        session = SessionStore()
        session["user"] = 5
        session.save()
        self.assertEqual(SessionStore(session.session_key)["user"], 5)
        session["user"] = 6
        session.save()
        self.assertEqual(SessionStore(session.session_key)["user"], 6)
        session.flush()
        self.assertEqual(list(SessionStore(session.session_key).keys()), [])

    def test_template_fragments(self):
        template = Template("{% load cache %}{% cache 500 near user %}{{ value }}{% endcache %}")
        self.assertEqual(template.render(Context({"value": 1, "user": "a"})), "1")
        self.assertEqual(template.render(Context({"value": 2, "user": "a"})), "1")
        self.assertEqual(template.render(Context({"value": 2, "user": "b"})), "2")

    def test_the_command(self):
        caches["default"].set("a", 1)
        caches["default"].get("a")
        out = io.StringIO()
        call_command("larder_stats", stdout=out)
        self.assertGreaterEqual(json.loads(out.getvalue())["default"]["hits"], 1)


class Far(LocMemCache):
    """A server that counts what it is asked, and stops before and after it has answered."""

    asked = []
    on_get = on_set = staticmethod(lambda: None)

    def get(self, key, default=None, version=None):
        Far.asked.append(("get", key))
        value = super().get(key, default, version)
        Far.on_get()
        return value

    def set(self, key, value, timeout=None, version=None):
        Far.asked.append(("set", key))
        super().set(key, value, timeout, version)
        Far.on_set()


def backend(name, **options):
    return LarderNearCache(name, {"OPTIONS": {"BACKEND": f"{__name__}.Far", "MAX_STALE": 600, **options}})


class PromiseTests(SimpleTestCase):
    def setUp(self):
        Far.asked = []
        Far.on_get = Far.on_set = staticmethod(lambda: None)

    def test_backends_with_other_options_below_share_nothing(self):
        # As with two databases of one server.
        one, other = (backend("options", CULL_FREQUENCY=number) for number in (3, 4))
        again = backend("options", CULL_FREQUENCY=3)
        one.set("a", 1)
        self.assertIs(again.larder, one.larder)
        self.assertIsNot(other.larder, one.larder)
        Far.asked.clear()
        self.assertEqual((again.get("a"), Far.asked), (1, []))
        other.get("a")
        self.assertEqual(Far.asked, [("get", "a")])

    def test_a_second_read_does_not_ask_the_server(self):
        near = backend("reads")
        near.far.set("a", [1])
        Far.asked.clear()
        self.assertEqual([near.get("a"), near.get("a")], [[1], [1]])
        self.assertEqual(Far.asked, [("get", "a")])
        near.get("a").append(2)
        self.assertEqual(near.get("a"), [1])
        self.assertEqual(near.get_many(["a", "b"]), {"a": [1]})

    def test_a_missing_key_is_asked_for_each_time(self):
        near = backend("misses")
        self.assertIsNone(near.get("a"))
        near.far.set("a", None)
        self.assertEqual(near.get("a", 5), None)

    def test_a_write_of_another_process_is_seen_when_the_time_is_over(self):
        near = backend("stale", MAX_STALE=0.2)
        near.set("a", 1)
        near.far.set("a", 2)
        self.assertIn(near.get("a"), (1, 2))
        pause = threading.Event()
        pause.wait(0.25)
        self.assertEqual(near.get("a"), 2)

    def test_own_writes_are_seen_at_once(self):
        near = backend("own")
        other = backend("own")
        self.assertIs(near.larder, other.larder)
        near.set("n", 1)
        self.assertEqual(other.get("n"), 1)
        for change, expected in (
            (lambda: near.set("n", 5), 5), (lambda: near.incr("n", 2), 7), (lambda: near.decr("n"), 6),
            (lambda: near.set_many({"n": 8}), 8), (lambda: near.delete("n"), None), (lambda: near.add("n", 9), 9),
            (lambda: near.add("n", 1), 9), (lambda: near.delete_many(["n"]), None), (lambda: near.set("n", 1), 1),
            (lambda: near.clear(), None), (lambda: near.set("n", 3), 3), (lambda: near.set("n", 4, 0), None),
        ):
            change()
            self.assertEqual((near.get("n"), other.get("n")), (expected, expected))

    def test_a_read_that_was_under_way_does_not_put_the_old_value_back(self):
        near = backend("race")
        near.far.set("a", "old")

        def write_meanwhile():
            Far.on_get = staticmethod(lambda: None)
            near.set("a", "new")

        Far.on_get = staticmethod(write_meanwhile)
        self.assertEqual(near.get("a"), "old")
        self.assertEqual(near.get("a"), "new")

    def test_a_read_during_a_write_is_not_kept_beyond_it(self):
        near, seen = backend("during"), []
        near.set("a", "old")

        def read_meanwhile():
            Far.on_set = staticmethod(lambda: None)
            seen.append(near.get("a"))

        Far.on_set = staticmethod(read_meanwhile)
        near.set("a", "new")
        self.assertEqual((seen, near.get("a")), (["new"], "new"))

    def test_two_writes_at_the_same_time_leave_what_the_server_has(self):
        near = backend("writes")

        def write_meanwhile():
            Far.on_set = staticmethod(lambda: None)
            near.set("a", "second")

        Far.on_set = staticmethod(write_meanwhile)
        near.set("a", "first")
        self.assertEqual(near.get("a"), near.far.get("a"))

    def test_a_failed_write_leaves_nothing_here(self):
        near = backend("failed")
        near.set("a", 1)

        def fail():
            raise OSError("no connection")

        Far.on_set = staticmethod(fail)
        with self.assertRaises(OSError):
            near.set("a", 2)
        Far.on_set = staticmethod(lambda: None)
        self.assertEqual(near.get("a"), near.far.get("a"))

    def test_a_cleared_cache_keeps_no_read_that_was_under_way(self):
        near = backend("cleared")
        near.far.set("a", 1)

        def clear_meanwhile():
            Far.on_get = staticmethod(lambda: None)
            near.clear()

        Far.on_get = staticmethod(clear_meanwhile)
        self.assertEqual(near.get("a"), 1)
        self.assertIsNone(near.get("a"))

    def test_many_threads_see_their_own_writes(self):
        near, wrong = backend("threads"), []

        def work(name):
            for number in range(200):
                near.set(name, number)
                if near.get(name) != number:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(f"k{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_options(self):
        near = backend("options", NEAR_ENTRIES=2, NEAR_POLICY="lru", NEAR_WEIGHT=10_000)
        near.set_many({"a": 1, "b": 2, "c": 3})
        self.assertEqual((len(near.larder), near.larder.policy, near.larder.max_weight), (2, "lru", 10_000))
        self.assertEqual(near.get_many("abc"), {"a": 1, "b": 2, "c": 3})
        with self.assertRaises(ValueError):
            backend("options", MAX_STALE=0)

    def test_async(self):
        async def run():
            near = backend("async")
            await near.aset("a", 1)
            self.assertEqual(await near.aget("a"), 1)
            self.assertEqual(await near.aget("b", 2), 2)
            self.assertEqual(await near.aget_many(["a", "b"]), {"a": 1})
            self.assertTrue(await near.adelete("a"))
            self.assertIsNone(await near.aget("a"))

        asyncio.run(run())
