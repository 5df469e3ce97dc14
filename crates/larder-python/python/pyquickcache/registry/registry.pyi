"""PyQuickCache's name for `larder.pyquickcache.registry.registry`."""

from larder.pyquickcache.registry.registry import *
