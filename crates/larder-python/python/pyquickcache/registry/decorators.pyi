"""PyQuickCache's name for `larder.pyquickcache.registry.decorators`."""

from larder.pyquickcache.registry.decorators import *
