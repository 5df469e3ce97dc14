"""PyQuickCache's name for `larder.pyquickcache.quick_cache_config`."""

from larder.pyquickcache.quick_cache_config import *
