"""PyQuickCache's name for `larder.pyquickcache.exceptions`."""

from larder.pyquickcache.exceptions import *
