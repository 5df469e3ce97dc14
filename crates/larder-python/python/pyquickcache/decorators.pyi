"""PyQuickCache's name for `larder.pyquickcache.decorators`."""

from larder.pyquickcache.decorators import *
from larder.pyquickcache.decorators import __all__ as __all__
