"""PyQuickCache's name for `larder.pyquickcache.serializer`."""

from larder.pyquickcache.serializer import *
