"""PyQuickCache's name for `larder.pyquickcache.registry`."""

from larder.pyquickcache.registry import *
from larder.pyquickcache.registry import __all__ as __all__
