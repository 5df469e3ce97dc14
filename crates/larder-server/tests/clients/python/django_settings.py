"""Settings under which Django's own tests use the server. They are the tests' usual ones, except for CACHES.

The address comes from LARDER_REDIS or LARDER_MEMCACHED.
"""

import os

if "LARDER_REDIS" in os.environ:
    default = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"redis://{os.environ['LARDER_REDIS']}",
    }
else:
    default = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": os.environ["LARDER_MEMCACHED"],
    }
CACHES = {"default": default}

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
SECRET_KEY = "not a secret"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
