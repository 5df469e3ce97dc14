"""PyQuickCache's name for `larder.pyquickcache.base_cache`."""

from larder.pyquickcache.base_cache import *
