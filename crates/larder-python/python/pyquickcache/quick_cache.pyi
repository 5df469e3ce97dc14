"""PyQuickCache's name for `larder.pyquickcache.quick_cache`."""

from larder.pyquickcache.quick_cache import *
