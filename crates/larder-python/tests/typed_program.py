"""A program of a user, for `mypy --strict`: what its types say is written as assertions."""

import asyncio
from datetime import timedelta
from typing import Optional

import pyquickcache
from pyquickcache.exceptions import KeyNotFound
from typing_extensions import assert_type

import larder
from larder.cachetools import TTLCache
from larder.cachetools import cached as kept_in

cache: larder.Cache[str, int] = larder.Cache(10, ttl=timedelta(minutes=5), listener=lambda key, value, cause: None)
cache["a"] = 1
assert_type(cache["a"], int)
assert_type(cache.get("a"), Optional[int])
assert_type(cache.get_or_load("b", lambda: 5), int)
assert_type(cache.get_many(["a"]), dict[str, int])
cache.set("a", 2, ttl=1.5, tags=["user:1"])
cache.update([("c", 3)], d=4)


class Users(larder.Cache[str, bytes]):
    """A class of one's own."""


assert_type(Users(max_weight=100, weigher=lambda key, value: len(value)).setdefault("ada", b"value"), bytes)


@larder.cached
def text(number: int) -> str:
    return str(number)


@larder.lru_cache(maxsize=3)
def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


@larder.cached(ttl=timedelta(seconds=60), stale_if_error=timedelta(minutes=1), tags=lambda user: [f"user:{user}"])
async def profile(user: str) -> bytes:
    return user.encode()


class Account:
    @larder.cached(10)
    def plus(self, amount: int) -> int:
        return amount

    @larder.cached
    async def later(self, amount: int) -> int:
        return amount

    @classmethod
    @larder.cached(5)
    def of_class(cls, amount: int) -> int:
        return amount

    @staticmethod
    @larder.cached(5)
    def static(amount: int) -> int:
        return amount

    @larder.cached(5)
    @classmethod
    def above(cls, amount: int) -> int:
        return amount

    @larder.cached
    @classmethod
    def directly_above(cls, amount: int) -> int:
        return amount


async def load() -> int:
    return 1


async def main() -> None:
    assert_type(await profile("ada"), bytes)
    assert_type(await Account().later(1), int)
    assert_type(Account.above(1), int)
    assert_type(Account.directly_above(1), int)
    assert_type(await cache.get_or_load_async("c", load), int)


asyncio.run(main())
assert_type(text(1), str)
assert_type(fibonacci(20), int)
assert_type(Account().plus(1), int)
assert_type(Account.of_class(1), int)
assert_type(Account.static(1), int)
assert_type(text.cache_info().hits, int)
assert_type(Account().plus.invalidate(1), bool)

quick = pyquickcache.QuickCache(pyquickcache.QuickCacheConfig(max_size=5))
quick.set("a", 1, ttl_sec=5)
try:
    quick.get("b")
except KeyNotFound as error:
    assert_type(error.code, str)
quick.stop()

kept: TTLCache[str, int] = TTLCache(maxsize=5, ttl=60)
kept["a"] = 1


@kept_in(cache=kept, key=lambda word: word)
def length(word: str) -> int:
    return len(word)


assert_type(length("word"), int)
