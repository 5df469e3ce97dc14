"""A cache that is filled before a server forks its workers: gunicorn --preload, and uwsgi."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

import larder

REQUESTS = 120

APPLICATION = """
import json, os, threading
import larder

cache = larder.Cache(1000, policy="lru")
for number in range(100):
    cache[number] = str(number)


@larder.cached
def square(x):
    return x * x


square(7)
filler = os.getpid()


def write():
    while os.getpid() == filler:
        for number in range(500):
            cache["parent", number % 50] = [number]


if "WRITES" in os.environ:
    # Then the forks happen while this thread is within the cache.
    threading.Thread(target=write, daemon=True).start()


def application(environ, start_response):
    number = int(environ["PATH_INFO"].strip("/"))
    misses = square.cache_info().misses
    answer = {
        "filler": filler,
        "pid": os.getpid(),
        "has_entries": all(cache.get(number) == str(number) for number in range(100)),
        "has_result": square(7) == 49 and square.cache_info().misses == misses,
        "writes": cache.set(("worker", number), number) and cache["worker", number] == number,
        "loads": cache.get_or_load(("loaded", number), lambda: number),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


def ask(url):
    """The answer to a request, which is sent again if the connection is reset.

    A worker of gunicorn 23 that has served its number of requests ends with those that it has accepted meanwhile.
    """
    for tries_left in reversed(range(20)):
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return json.load(response)
        except ConnectionError:
            if not tries_left:
                raise


def serve(command, folder, **settings):
    """Starts a server, sends it requests, lets it end, and returns its answers."""
    (folder / "served.py").write_text(APPLICATION)
    # Where the package is, for a server that brings an interpreter of its own.
    packages = os.path.dirname(os.path.dirname(larder.__file__))
    environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join([str(folder), packages])}
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    said, answers = [], []

    def listen():
        said.extend(server.stderr)

    rest = threading.Thread(target=listen)
    try:
        for line in server.stderr:
            said.append(line)
            address = re.search(r"(?:Listening at: http://|bound to TCP address )(127\.0\.0\.1:\d+)", line)
            if address is not None:
                break
        else:
            pytest.fail("the server has ended: " + "".join(said))
        rest.start()
        for number in range(REQUESTS):
            answers.append((number, ask(f"http://{address[1]}/{number}")))
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        finally:
            # Workers that are left, if the server did not end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            if rest.ident is not None:
                rest.join()
            server.stderr.close()
    return answers


def check(answers, workers):
    pids = {answer["pid"] for _, answer in answers}
    for number, answer in answers:
        assert answer["pid"] != answer["filler"], "the application was loaded before the fork"
        assert answer["has_entries"] and answer["has_result"] and answer["writes"] and answer["loads"] == number
    assert len(answers) == REQUESTS and len(pids) >= workers


def test_gunicorn_that_loads_the_application_before_it_forks(tmp_path):
    pytest.importorskip("gunicorn")
    # Each worker serves ten requests, so that others are forked.
    command = [
        sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "2", "--max-requests", "10",
        "--bind", "127.0.0.1:0", "--worker-tmp-dir", str(tmp_path), "served:application",
    ]
    check(serve(command, tmp_path, WRITES="yes"), 4)


def uwsgi():
    """The command of a uwsgi whose Python can import this package, or None."""
    beside = os.path.join(os.path.dirname(sys.executable), "uwsgi")
    if os.path.exists(beside):
        return [beside]
    found = shutil.which("uwsgi")
    plugin = "/usr/lib/uwsgi/plugins/python3_plugin.so"
    return [found, "--plugin", "python3"] if found and os.path.exists(plugin) else None


# By itself, uwsgi forks without the interpreter's lock. If a thread is running Python code then, the lock is held for
# ever in the worker, whatever the code is about. With the hooks, the interpreter knows of the fork.
@pytest.mark.parametrize("hooks", [(), ("--py-call-uwsgi-fork-hooks",)], ids=["alone", "with hooks and a thread"])
def test_uwsgi_that_loads_the_application_before_it_forks(tmp_path, hooks):
    command = uwsgi()
    if command is None:
        pytest.skip("there is no uwsgi for Python here")
    command += [
        "--http-socket", "127.0.0.1:0", "--master", "--processes", "2", "--threads", "2", "--enable-threads",
        "--max-requests", "10", "--die-on-term", "--wsgi-file", "served.py", *hooks,
    ]
    check(serve(command, tmp_path, **({"WRITES": "yes"} if hooks else {})), 2)
