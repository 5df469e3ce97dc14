"""PyQuickCache's name for `larder.pyquickcache.metrics`."""

from larder.pyquickcache.metrics import *
