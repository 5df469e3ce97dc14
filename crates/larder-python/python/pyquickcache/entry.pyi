"""PyQuickCache's name for `larder.pyquickcache.entry`."""

from larder.pyquickcache.entry import *
