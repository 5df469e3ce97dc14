"""Django's own tests of cache backends, against `larder.django.LarderCache` and `LarderNearCache` (near_tests.py).

    python run_django_tests.py SOURCE

SOURCE is the folder of an unpacked source distribution of the Django that is installed: the tests are not in its
wheel. Three tests are adapted to what the backend does differently, and say why.
"""

import os
import pathlib
import sys
import threading
import unittest

import django
from django.conf import settings

SOURCE = pathlib.Path(sys.argv[1]).resolve()
sys.path.insert(0, str(SOURCE / "tests"))

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["cache", "larder.django", "django.contrib.sessions"],
    CACHES={"default": {"BACKEND": "larder.django.LarderCache"}},
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=(),
    USE_TZ=False,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)
django.setup()

from cache.tests import BaseCacheTests, caches_setting_for_tests  # noqa: E402
from django.core.cache import cache, caches  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.test import RequestFactory, SimpleTestCase, TestCase, override_settings  # noqa: E402
from django.test.utils import get_runner  # noqa: E402


@override_settings(CACHES=caches_setting_for_tests(BACKEND="larder.django.LarderCache"))
class LarderCacheTests(BaseCacheTests, TestCase):
    """All of Django's tests that every backend has to pass."""

    def setUp(self):
        super().setUp()
        for alias in ("cull", "zero_cull"):
            caches[alias].clear()

    def test_cull(self):
        # Entries are evicted one by one, instead of a third of them at a time.
        self._perform_cull_test("cull", 50, 30)

    def test_zero_cull(self):
        # Nor are all of them evicted at once.
        self._perform_cull_test("zero_cull", 50, 30)

    def test_cull_delete_when_store_empty(self):
        # A capacity of -1 is what Django's test sets to make each insertion cull.
        caches["cull"].larder.set_capacity(1)
        try:
            caches["cull"].set("one", 1)
            caches["cull"].set("two", 2)
            self.assertEqual(len(caches["cull"].larder), 1)
        finally:
            caches["cull"].larder.set_capacity(30)

    def test_counting_loses_nothing(self):
        cache.set("count", 0)
        threads = [threading.Thread(target=lambda: [cache.incr("count") for _ in range(200)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(cache.get("count"), 1600)

    def test_incr_keeps_the_timeout_and_the_tags(self):
        cache.set("count", 1, timeout=100, tags=["t"])
        cache.incr("count")
        left = cache.larder.expires_in(cache.make_key("count"))
        self.assertTrue(90 < left <= 100)
        self.assertTrue(cache.invalidate_tag("t"))
        self.assertIsNone(cache.get("count"))

    def test_sessions(self):
        from django.contrib.sessions.backends.cache import SessionStore

        session = SessionStore()
        session["user"] = 5
        session.save()
        self.assertEqual(SessionStore(session.session_key)["user"], 5)
        session.delete()
        self.assertEqual(list(SessionStore(session.session_key).keys()), [])

    def test_template_fragments(self):
        template = Template("{% load cache %}{% cache 500 name %}{{ value }}{% endcache %}")
        self.assertEqual(template.render(Context({"value": 1})), "1")
        self.assertEqual(template.render(Context({"value": 2})), "1")

    def test_the_command(self):
        import io
        import json

        cache.set("a", 1)
        cache.get("a")
        out = io.StringIO()
        call_command("larder_stats", "default", stdout=out)
        self.assertGreaterEqual(json.loads(out.getvalue())["default"]["hits"], 1)


class OptionTests(SimpleTestCase):
    def test_options(self):
        from larder.django import LarderCache

        options = {"MAX_WEIGHT": 1000, "POLICY": "lru"}
        backend = LarderCache("weighed", {"OPTIONS": options})
        self.assertEqual((backend.larder.max_weight, backend.larder.capacity), (1000, None))
        for number in range(100):
            backend.set(f"key {number}".replace(" ", "_"), "x" * 50)
        self.assertTrue(0 < len(backend.larder) < 20)
        with self.assertRaises(ValueError):
            LarderCache("wrong", {"OPTIONS": {"POLICY": "none"}})

    def test_incr_at_the_very_end_of_the_time_gives_no_more_of_it(self):
        from larder.django import LarderCache

        class AtTheEnd:
            """The cache in the last nanosecond of its entries."""

            def __init__(self, larder):
                self.larder = larder

            def __getattr__(self, name):
                return getattr(self.larder, name)

            def expires_in(self, key):
                return 0.0

        backend = LarderCache("end", {})
        backend.set("count", 1, 60)
        backend.larder = AtTheEnd(backend.larder)
        self.assertEqual(backend.incr("count"), 2)
        self.assertIsNone(backend.get("count"))

    def test_incr_notices_a_change_by_what_it_runs(self):
        from larder.django import LarderCache

        backend = LarderCache("changed", {})
        backend.set("count", 1)

        class Delta:
            """Adds 1, and for the first time lets another call do so before."""

            is_first = True

            def __radd__(self, value):
                if Delta.is_first:
                    Delta.is_first = False
                    backend.incr("count")
                return value + 1

        self.assertEqual((backend.incr("count", Delta()), backend.get("count")), (3, 3))

    def test_async(self):
        import asyncio

        from larder.django import LarderCache

        async def run():
            backend = LarderCache("async", {})
            await backend.aset("a", 1, tags=["t"])
            self.assertEqual(await backend.aget_or_set("b", lambda: 2), 2)
            self.assertEqual(await backend.aget_many(["a", "b"]), {"a": 1, "b": 2})
            self.assertEqual(await backend.aincr("a"), 2)
            self.assertEqual(await backend.adecr("a"), 1)
            self.assertTrue(await backend.ainvalidate_tag("t"))
            self.assertFalse(await backend.ahas_key("a"))
            self.assertTrue(await backend.atouch("b", 5))
            self.assertTrue(await backend.adelete("b"))
            await backend.aset_many({"x": 1, "y": 2})
            await backend.aclear()
            self.assertIsNone(await backend.aget("x"))

        asyncio.run(run())


if __name__ == "__main__":
    runner = get_runner(settings)(verbosity=1, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    import near_tests

    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(map(loader.loadTestsFromModule, (sys.modules["__main__"], near_tests)))
    result = runner.run_suite(suite)
    runner.teardown_databases(databases)
    for test, reason in result.skipped:
        print("skipped:", test, reason)
    print("the server of the near cache:", "redis" if near_tests.URL else "none, local memory stands for it")
    print(f"Django {django.get_version()}: {result.testsRun} tests")
    sys.exit(not result.wasSuccessful())
