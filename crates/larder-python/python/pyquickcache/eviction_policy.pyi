"""PyQuickCache's name for `larder.pyquickcache.eviction_policy`."""

from larder.pyquickcache.eviction_policy import *
